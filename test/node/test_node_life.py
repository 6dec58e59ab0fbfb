"""The node process from start to stop: signals, lifecycle, missing and broken things, load, two side by side."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.node.camera import Camera
from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.mailbox import Mailbox
from hybridnet_ros.node.managed_node import PerceptionNode
from hybridnet_ros.node.troubles import Level
from hybridnet_ros.node.worker import Worker
from ros_testing import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess, Robot, gray, image_of, wait_until
from tiny import TINY_FX, write_fragile_engine, write_tiny_engine

StartNode = Callable[..., NodeProcess]
MakeRobot = Callable[..., Robot]


def frames(values: dict[str, str], what: str) -> int:
    return int(values[f"frames {what}"])


def test_sigterm_ends_the_node_cleanly(start_node: StartNode, engine: Path) -> None:
    node = start_node("/stopped", engine=engine)
    node.says("listening on")
    assert node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in node.log()


def test_a_signal_while_python_imports_ends_the_node_cleanly(start_node: StartNode, engine: Path) -> None:
    node = start_node("/hasty", engine=engine)
    maps = Path(f"/proc/{node.process.pid}/maps")
    wait_until(lambda: "_rclpy_pybind11" in maps.read_text(), "the process to import rclpy")
    assert node.stop() == 0
    assert "Traceback" not in node.log()


def test_a_signal_while_configuring_ends_the_node_cleanly(start_node: StartNode, engine: Path) -> None:
    node = start_node("/impatient", engine=engine)
    node.says("opening engine")
    assert node.stop() == 0
    assert "Traceback" not in node.log()


def test_a_slow_engine_gets_the_newest_frame_only_and_stops_under_load(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    slow = write_tiny_engine(tmp_path, "slow", work=60)
    node = start_node("/slow", engine=slow, threads=1, diagnostics_period=0.1)
    camera = make_robot("/slow")
    camera.listen(Image, "depth/image")
    camera.ready()
    before = camera.values()
    burst = [camera.send(gray(0.5)).header for _ in range(30)]
    camera.answer(burst[-1])  # the newest is always answered
    answered = [message.header.stamp.nanosec for message in camera.received["depth/image"]]
    assert answered == sorted(answered), "never an older frame after a newer one"
    assert len(answered) < 30

    def settled() -> dict[str, str] | None:
        values = camera.values()
        return values if frames(values, "in flight") == 0 else None

    after = wait_until(settled, "the burst to be done")
    replaced = "dropped: replaced by a newer one"
    taken = frames(after, "received") - frames(before, "received")
    assert taken == len(answered) + int(after[replaced]) - int(before[replaced])

    for _ in range(20):
        camera.send(gray(0.5))
    assert node.stop() == 0
    assert "Traceback" not in node.log()


def test_two_nodes_in_two_namespaces(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    sides = ("/front", "/rear")
    nodes = [start_node(side, engine=engine) for side in sides]
    robots = [make_robot(side) for side in sides]
    for robot in robots:
        robot.listen(Image, "depth/image", "segmentation/mask")
        robot.ready()
    headers = [robot.send(gray(brightness)).header for robot, brightness in zip(robots, (0.2, 0.6), strict=True)]
    depths = [image_of(robot.answer(header)).mean() for robot, header in zip(robots, headers, strict=True)]
    assert depths[0] < depths[1]
    for robot, header in zip(robots, headers, strict=True):
        robot.answer(header, "segmentation/mask")
        assert {message.header.stamp.nanosec for message in robot.received["depth/image"]} == {header.stamp.nanosec}
    assert [node.stop() for node in nodes] == [0, 0]


def test_a_bad_engine_fails_configure_and_a_good_one_can_be_set_afterwards(
    start_node: StartNode, make_robot: MakeRobot, engine: Path, tmp_path: Path
) -> None:
    corrupt = write_tiny_engine(tmp_path, "corrupt")
    corrupt.write_bytes(corrupt.read_bytes()[:-100])
    node = start_node("/repaired", engine=corrupt, diagnostics_period=0.1)
    robot = make_robot("/repaired")
    node.says("does not match its manifest")
    node.says("the node is up but not configured")
    assert robot.state() == "unconfigured"
    assert robot.status().level == b"\x02"
    assert "does not match its manifest" in robot.status().message

    assert robot.set_parameter("engine", str(tmp_path / "missing.onnx")).successful
    assert not robot.change_state(CONFIGURE)
    node.says("missing.onnx")
    assert not robot.change_state(ACTIVATE), "not configured yet: refused, and the node lives"
    assert robot.state() == "unconfigured"

    assert robot.set_parameter("engine", str(engine)).successful
    assert robot.change_state(CONFIGURE)
    assert robot.change_state(ACTIVATE)
    assert robot.state() == "active"
    robot.listen(Image, "depth/image")
    robot.ready()
    robot.answer(robot.send(gray(0.5)).header)

    for transition, state in ((DEACTIVATE, "inactive"), (CLEANUP, "unconfigured"), (CONFIGURE, "inactive")):
        assert robot.change_state(transition)
        assert robot.state() == state
    assert robot.change_state(ACTIVATE)
    robot.ready()
    assert node.stop() == 0


def test_without_camera_info_depth_is_published_and_the_reason_for_doubt_is_said_once(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    node = start_node("/uncalibrated", engine=engine, max_depth=200.0, diagnostics_period=0.1)
    camera = make_robot("/uncalibrated")
    camera.listen(Image, "depth/image")
    camera.ready(info=False)
    camera.listen(CameraInfo, "depth/camera_info")
    for _ in range(3):
        depth = image_of(camera.answer(camera.send(gray(0.25)).header))
        np.testing.assert_allclose(depth, 1 + 99 * 64 / 255, rtol=1e-4)
    assert node.log().count("training focal length") == 1
    status = camera.status()
    assert status.level == b"\x01"
    assert "training focal length" in status.message
    assert {pair.key: pair.value for pair in status.values}["focal length"].startswith("assumed")

    header = camera.header()
    camera.send_info(header, 192, 128, fx=0.0)
    camera.answer(camera.send(gray(0.25), header=header).header)
    node.says("not calibrated")
    assert not camera.received["depth/camera_info"]

    header = camera.header()
    camera.send_info(header, 192, 128, fx=2 * TINY_FX * 0.5)
    depth = image_of(camera.answer(camera.send(gray(0.25), header=header).header))
    np.testing.assert_allclose(depth, 0.5 * (1 + 99 * 64 / 255), rtol=1e-4)
    camera.answer(header, "depth/camera_info")
    node.says("depth is metric now")
    assert "training focal length" not in camera.status().message


def test_compressed_images_are_taken_and_raw_ones_preferred(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    start_node("/jpeg", engine=engine, diagnostics_period=0.1)
    camera = make_robot("/jpeg", raw=False)
    camera.compressed_camera()
    camera.listen(Image, "depth/image")
    camera.ready()
    pixels = np.random.default_rng(2).integers(0, 256, (128, 192, 3), np.uint8)
    decoded = image_of(camera.answer(camera.send(pixels).header))

    camera.images = camera.node.create_publisher(Image, "image", 1)
    wait_until(lambda: camera.images.get_subscription_count() == 1, "the node to subscribe to image")
    wait_until(lambda: camera.compressed.get_subscription_count() == 0, "the node to leave image/compressed")
    raw = image_of(camera.answer(camera.send(pixels).header))
    np.testing.assert_array_equal(raw, decoded)
    assert camera.values()["input topic"] == "/jpeg/image"

    camera.destroy(camera.node.destroy_publisher, camera.images)
    camera.images = None
    wait_until(lambda: camera.compressed.get_subscription_count() == 1, "the node to come back to image/compressed")
    camera.ready()


def test_missing_images_are_noticed_and_explained(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/lost", "-r", "image:=/cam/picture", engine=engine, image_timeout=3, diagnostics_period=0.1)
    camera = make_robot("/lost")  # publishes on /lost/image
    node.says("listening on /cam/picture and /cam/picture/compressed and /cam/camera_info")
    node.says("no image on /cam/picture and /cam/picture/compressed for 3 s: nothing publishes it; remap it to one of")
    assert "as in -r image:=/lost/image" in node.log()
    assert node.stop() == 0
    camera.close()

    node = start_node("/waiting", engine=engine, image_timeout=0.5, diagnostics_period=0.1)
    node.says("no image on /waiting/image and /waiting/image/compressed for 0.5 s: nothing publishes it")
    camera = make_robot("/waiting")
    node.says("it has a publisher, which sends nothing")
    assert camera.status().level == b"\x01"
    camera.listen(Image, "depth/image")
    camera.ready()
    node.says("images come on /waiting/image again")
    wait_until(lambda: camera.status().level == b"\x03", "diagnostics to be stale when the images end")


def test_a_compressed_topic_is_remapped_without_its_ending(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    make_robot("/jpegs", raw=False).node.create_publisher(CompressedImage, "image/compressed", 5)
    node = start_node("/jpegs", "-r", "image:=/cam/picture", engine=engine, image_timeout=3)
    node.says("as in -r image:=/jpegs/image\n")
    assert node.stop() == 0
    node = start_node("/jpegs", "-r", "image:=/jpegs/image/compressed", engine=engine, image_timeout=3)
    node.says("remap image to the topic without /compressed, which is added here")


def test_incompatible_qos_is_named(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    override = "qos_overrides./strict/image.subscription.reliability:=reliable"
    node = start_node("/strict", "-p", override, engine=engine, diagnostics_period=0.1)
    camera = make_robot("/strict")  # publishes images best effort, as most cameras do
    node.says("a publisher on /strict/image cannot be heard: its QoS policy RELIABILITY is incompatible")
    assert "RELIABILITY" in camera.status().message
    latched = QoSProfile(depth=1, durability=1, reliability=QoSReliabilityPolicy.RELIABLE)
    deaf = camera.node.create_subscription(Image, "hybridnet/depth/image", lambda message: None, latched)
    node.says("a subscriber on /strict/hybridnet/depth/image cannot hear us: its QoS policy DURABILITY")
    wait_until(lambda: "cannot hear us" in camera.status().message, "diagnostics to say so")
    # It is as deaf when the node comes back, and the middleware does not say so again.
    assert camera.change_state(DEACTIVATE)
    assert "cannot hear us" in camera.status().message
    assert camera.change_state(ACTIVATE)
    wait_until(lambda: "RELIABILITY" in camera.status().message, "the camera to be refused again")
    assert "cannot hear us" in camera.status().message
    # Whoever is gone is no trouble any more.
    camera.destroy(camera.node.destroy_subscription, deaf)
    wait_until(lambda: "cannot hear us" not in camera.status().message, "diagnostics to forget the subscriber")
    assert "RELIABILITY" in camera.status().message
    camera.destroy(camera.node.destroy_publisher, camera.images)
    camera.images = None
    wait_until(lambda: "RELIABILITY" not in camera.status().message, "diagnostics to forget the publisher")


@contextmanager
def idle_node() -> Iterator[PerceptionNode]:
    """A node in this process, which nobody spins, with the stand-in engine."""
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "-p", "engine:=stand-in", "-p", "autostart:=false"], context=context)
    node = PerceptionNode(context=context)
    try:
        yield node
    finally:
        node.finish()
        node.destroy_node()
        rclpy.shutdown(context=context)


def test_publishers_send_before_the_first_image_can_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered while they do not is lost without a word, and counted as answered."""
    enabled: list[bool] = []
    subscribe = Camera.subscribe

    def noted(self: Camera, mailbox: Mailbox[Frame]) -> None:
        enabled.extend(publisher.is_activated for publisher in self.outputs._publishers.values())
        subscribe(self, mailbox)

    monkeypatch.setattr(Camera, "subscribe", noted)
    with idle_node() as node:
        for _ in range(2):
            assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_deactivate() == node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert len(enabled) >= 10 and all(enabled)


def test_what_the_last_frame_says_does_not_outlive_the_deactivation(monkeypatch: pytest.MonkeyPatch) -> None:
    detach = Worker.detach
    with idle_node() as node:

        def last_frame_fails(self: Worker) -> list[Frame]:
            for camera in node._cameras.values():
                camera.health.trouble("inference", Level.WARN, "frames fail")
            return detach(self)

        monkeypatch.setattr(Worker, "detach", last_frame_fails)
        assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert [camera.health.troubles() for camera in node._cameras.values()] == [[]]


def test_simulated_time_may_jump_back(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/simulated", engine=engine, use_sim_time=True, diagnostics_period=0.1)
    camera = make_robot("/simulated")
    clock = camera.node.create_publisher(Clock, "/clock", 10)
    camera.listen(Image, "depth/image")
    camera.ready()
    for seconds in (1000, 1001, 5, 6):  # a bag, and its second round

        def ticked(seconds: int = seconds) -> bool:
            message = Clock()
            message.clock.sec = seconds
            clock.publish(message)
            return camera.node_seconds == seconds

        def answered(seconds: int = seconds) -> float | None:
            header = camera.header()
            header.stamp.sec = seconds
            camera.answer(camera.send(gray(0.5), header=header).header)
            age_ms = camera.values()["input age (ms)"]
            return None if age_ms == "unknown" else float(age_ms) + 1000

        wait_until(ticked, f"the node's clock to be at {seconds} s")
        # Ages of before are forgotten a moment after the clock has come, and one of after it with them.
        assert 0 <= wait_until(answered, "the age of an image") < 2000
    node.says("the ROS clock jumped")


def test_an_engine_that_keeps_failing_deactivates_the_node(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    process = start_node("/fragile", engine=write_fragile_engine(tmp_path), max_failures=3, diagnostics_period=0.1)
    camera = make_robot("/fragile")
    camera.listen(Image, "depth/image")
    camera.ready()
    due = 0.0

    def failed() -> bool:
        nonlocal due
        if time.monotonic() > due:
            camera.send(gray(0.5, 64, 96))
            due = time.monotonic() + 0.1
        return "frames failed in a row" in process.log()

    wait_until(failed, "the node to give up")
    assert camera.state() == "inactive"
    status = camera.status()
    assert status.level == b"\x02"
    assert "3 frames failed in a row" in status.message
    assert int({pair.key: pair.value for pair in status.values}["dropped: inference failed"]) == 3
    assert camera.change_state(ACTIVATE)
    camera.ready()
    assert process.stop() == 0
