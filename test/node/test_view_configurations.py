"""The RViz configuration and the Foxglove layout show topics that the node really has, with the types they expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.node import Node

from hybridnet_ros.node.outputs import LabelInfo
from hybridnet_ros.processes import free_domain
from ros_testing import NodeProcess, wait_until

CONFIG = Path(__file__).resolve().parents[2] / "config"
IMAGE, POINTS, CAMERA_INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CameraInfo"
RVIZ_TYPES = {"rviz_default_plugins/Image": IMAGE, "rviz_default_plugins/PointCloud2": POINTS}


@pytest.fixture(scope="module")
def node_topics(context: Any, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Type of each topic of a node that was started without any remapping, by its name."""
    # In a domain of their own, since Fast DDS does not always find a new process that gets the ports of a killed one.
    domain = free_domain()
    process = NodeProcess(
        tmp_path_factory.mktemp("node") / "log", "-p", f"engine:={engine}", shell=f'ROS_DOMAIN_ID={domain} exec "$@"'
    )
    own_context = rclpy.Context()
    rclpy.init(context=own_context, domain_id=domain, signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    looker = Node("looker", context=own_context)

    def topics() -> dict[str, str]:
        pairs = [
            *looker.get_publisher_names_and_types_by_node("hybridnet", "/"),
            *looker.get_subscriber_names_and_types_by_node("hybridnet", "/"),
        ]
        return {name: types[0] for name, types in pairs}

    def all_there() -> bool:
        names = dict(looker.get_node_names_and_namespaces())
        return "hybridnet" in names and {"/image", "/hybridnet/points", "/camera_info"} <= topics().keys()

    try:
        wait_until(all_there, "the node's topics")
        yield topics()
    finally:
        looker.destroy_node()
        rclpy.shutdown(context=own_context)
        process.end()


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
