"""The RViz configuration and the Foxglove layout show topics that the node really has, with the types they expect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hybridnet_ros.node.outputs import LabelInfo
from hybridnet_ros.processes import free_domain
from ros_testing import PATIENCE_S, NodeProcess

CONFIG = Path(__file__).resolve().parents[2] / "config"
IMAGE, POINTS, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo"
RVIZ_TYPES = {"rviz_default_plugins/Image": IMAGE, "rviz_default_plugins/PointCloud2": POINTS}


LOOKER = """
import json, time
import rclpy
rclpy.init()
looker = rclpy.create_node("looker")
found = {}
while not {"/image", "/hybridnet/points", "/camera_info"} <= found.keys():
    time.sleep(0.1)
    if "hybridnet" in dict(looker.get_node_names_and_namespaces()):
        ends = [looker.get_publisher_names_and_types_by_node, looker.get_subscriber_names_and_types_by_node]
        found = {name: types[0] for end in ends for name, types in end("hybridnet", "/")}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def node_topics(context: Any, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Type of each topic of a node that was started without any remapping, by its name."""
    # In a domain of its own and seen by a new process: of the many that the one of the tests has met, some were killed,
    # and Fast DDS does not always find a new one that gets their ports.
    domain = str(free_domain())
    node = NodeProcess(
        tmp_path_factory.mktemp("node") / "log", "-p", f"engine:={engine}", shell=f'ROS_DOMAIN_ID={domain} exec "$@"'
    )
    try:
        looker = [sys.executable, "-c", LOOKER]
        environment = {**os.environ, "ROS_DOMAIN_ID": domain}
        looked = subprocess.run(looker, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        yield json.loads(looked.stdout)
    finally:
        node.end()


def test_rviz_shows_the_node(node_topics: dict[str, str]) -> None:
    manager = yaml.safe_load((CONFIG / "rviz" / "hybridnet.rviz").read_text())["Visualization Manager"]
    shown = {
        display["Topic"]["Value"]: RVIZ_TYPES[display["Class"]] for display in manager["Displays"] if "Topic" in display
    }
    assert set(shown) == {
        "/image", "/hybridnet/points", "/hybridnet/depth/color", "/hybridnet/depth/image",
        "/hybridnet/segmentation/color", "/hybridnet/segmentation/confidence",
    }  # fmt: skip
    assert shown == {name: node_topics.get(name) for name in shown}


def test_foxglove_shows_the_node(node_topics: dict[str, str]) -> None:
    layout = json.loads((CONFIG / "foxglove" / "hybridnet.json").read_text())
    shown: dict[str, str] = {}
    for name, panel in layout["configById"].items():
        kind = name.split("!")[0]
        if kind == "Image":
            shown[panel["imageMode"]["imageTopic"]] = IMAGE
            shown[panel["imageMode"]["calibrationTopic"]] = CAMERA_INFO
        elif kind == "3D":
            shown.update(dict.fromkeys(panel["topics"], POINTS))
        elif kind == "DiagnosticSummary":
            shown[panel["topicToRender"]] = "diagnostic_msgs/msg/DiagnosticArray"
        elif kind == "RawMessages":
            assert panel["topicPath"] == "/hybridnet/segmentation/label_info"
            if LabelInfo is not None:  # the node publishes it only where vision_msgs is installed
                shown[panel["topicPath"]] = "vision_msgs/msg/LabelInfo"
    assert len(shown) >= 10
    assert shown == {name: node_topics.get(name) for name in shown}


def test_every_panel_of_the_foxglove_layout_has_a_place() -> None:
    layout = json.loads((CONFIG / "foxglove" / "hybridnet.json").read_text())
    placed: list[str] = []

    def walk(place: Any) -> None:
        if isinstance(place, str):
            placed.append(place)
            for tab in layout["configById"][place].get("tabs", []):
                walk(tab["layout"])
        else:
            walk(place["first"])
            walk(place["second"])

    walk(layout["layout"])
    assert sorted(placed) == sorted(layout["configById"])
