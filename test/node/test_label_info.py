"""The names of the classes, latched on segmentation/label_info; where vision_msgs is installed, as with every ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from rclpy.qos import QoSDurabilityPolicy, QoSProfile

from ros_testing import ACTIVATE, DEACTIVATE, NodeProcess, Robot, wait_until
from tiny import TINY_LABELS, tiny_manifest, write_tiny_engine

vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs comes with ROS installations only")

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.parametrize(("cameras", "folder"), [("['']", ""), ("[front]", "front/")])
def test_the_classes_are_latched_and_follow_the_engine_and_the_threshold(
    start_node: Callable[..., NodeProcess],
    make_robot: Callable[..., Robot],
    engine: Path,
    tmp_path: Path,
    cameras: str,
    folder: str,
) -> None:
    namespace = f"/labels{len(folder)}"
    node = start_node(namespace, engine=engine, cameras=cameras, min_confidence=0.25)
    node.says("listening on")
    robot = make_robot(namespace)
    received = robot.received["label_info"]
    topic = f"hybridnet/{folder}segmentation/label_info"
    robot.node.create_subscription(vision_msgs.LabelInfo, topic, received.append, LATCHED)

    message = wait_until(lambda: received[-1:], "the names, by who came late")[0]
    assert message.threshold == pytest.approx(0.25)
    names = {one.class_id: one.class_name for one in message.class_map}
    assert names == {**dict(enumerate(TINY_LABELS.names)), 255: "unlabelled"}

    assert robot.set_parameter("min_confidence", 0.5).successful
    wait_until(lambda: received[-1].threshold == pytest.approx(0.5), "the new threshold")

    other = write_tiny_engine(tmp_path, "other")
    labels = dataclasses.replace(TINY_LABELS, name="other3", names=("ground", "vehicle", "sky"))
    dataclasses.replace(tiny_manifest(other), labels=labels).save(other.with_suffix(".json"))
    assert robot.set_parameter("engine", str(other)).successful
    wait_until(lambda: received[-1].class_map[0].class_name == "ground", "the names of the other engine's classes")

    count = len(received)
    assert robot.change_state(DEACTIVATE)
    assert robot.change_state(ACTIVATE)
    wait_until(lambda: len(received) > count, "the names at the next activation")
