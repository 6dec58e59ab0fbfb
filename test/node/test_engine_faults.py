"""What can go wrong with the engine goes wrong here: what it costs, what the user is told, how the node recovers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sensor_msgs.msg import Image

from faulty import ENDLESS, GOOD, RAISES, SLOW, write_raising_engine, write_stuck_engine
from ros_testing import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess, Robot, gray, image_of, wait_until
from tiny import write_tiny_engine

StartNode = Callable[..., NodeProcess]
MakeRobot = Callable[..., Robot]
WARN, ERROR = b"\x01", b"\x02"


def test_an_inference_that_raises_costs_its_frame(start_node: StartNode, make_robot: MakeRobot, tmp_path: Path) -> None:
    node = start_node(
        "/raising", engine=write_raising_engine(tmp_path), max_failures=2, image_timeout=0, diagnostics_period=0.1
    )
    robot = make_robot("/raising")
    robot.listen(Image, "depth/image")
    robot.ready()
    before = robot.values()
    for _ in range(4):
        robot.send(gray(RAISES))
        status = robot.status_with("frames fail: EngineError: ONNX Runtime failed on images [1, 64, 96, 3]")
        assert status.level == WARN
        robot.answer(robot.send(gray(GOOD)).header)
        wait_until(lambda: "frames fail" not in robot.status().message, "the trouble to be over")
    after = robot.values()
    for what, more in (("frames received", 8), ("frames answered", 4), ("dropped: inference failed", 4)):
        assert int(after[what]) - int(before[what]) == more
    assert "frame failed: EngineError: ONNX Runtime failed" in node.log()
    assert robot.state() == "active", "never two failures in a row"
    assert not any("ms old" in one.message for one in robot.diagnostics), "stamps of the past say nothing of the age"

    def given_up() -> bool:
        robot.send(gray(RAISES))
        return "2 frames failed in a row" in node.log()

    wait_until(given_up, "the node to give up")
    status = robot.status_with("activate the node to try again")
    assert status.level == ERROR
    assert "frames fail:" not in status.message, "said by the frame in work when the node was deactivated"
    for transition in (CLEANUP, CONFIGURE, ACTIVATE):
        assert robot.change_state(transition)
    robot.ready()
    assert "failed" not in robot.status().message


def test_an_engine_that_hangs_is_reported_and_goes_on_when_it_returns(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    engine = write_stuck_engine(tmp_path)
    node = start_node("/hanging", engine=engine, threads=1, inference_timeout=0.3, diagnostics_period=0.1)
    robot = make_robot("/hanging")
    robot.listen(Image, "depth/image")
    robot.ready()
    stuck = robot.send(gray(SLOW)).header
    assert robot.status_with("the engine has not returned from a frame for 0.3 s").level == ERROR
    late = robot.send(gray(GOOD)).header
    node.says("the engine that did not return is back")
    assert image_of(robot.answer(stuck)).max() == np.inf, "an answer that is late is an answer"
    robot.answer(late)
    wait_until(lambda: "not returned" not in robot.status().message, "the trouble to be over")
    assert node.log().count("has not returned") == 1
    assert node.stop() == 0


def test_a_node_whose_engine_never_returns_can_be_given_a_new_one(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    engine = write_stuck_engine(tmp_path)
    node = start_node("/hung", engine=engine, threads=1, inference_timeout=0.3, diagnostics_period=0.1)
    robot = make_robot("/hung")
    robot.listen(Image, "depth/image")
    robot.ready()
    before = robot.values()
    robot.send(gray(ENDLESS))
    robot.status_with("has not returned")
    for _ in range(3):
        robot.send(gray(GOOD))

    def replaced() -> bool:
        values = robot.values()
        return int(values["frames received"]) - int(before["frames received"]) == 4

    wait_until(replaced, "the newer frames to be received")
    assert robot.set_parameter("max_depth", 70.0).successful
    assert robot.change_state(DEACTIVATE)
    assert robot.state() == "inactive"
    assert robot.change_state(CLEANUP)
    node.says("the engine does not return, and is left behind")
    for transition in (CONFIGURE, ACTIVATE):
        assert robot.change_state(transition)
    robot.ready()
    assert "has not returned" not in robot.status().message
    after = robot.values()
    assert int(after["frames in flight"]) == 1, "the one that the old engine holds"
    assert node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in node.log()


def test_a_node_whose_engine_never_returns_ends_when_it_is_told_to(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    node = start_node("/wedged", engine=write_stuck_engine(tmp_path), inference_timeout=0.3, diagnostics_period=0.1)
    robot = make_robot("/wedged")
    robot.listen(Image, "depth/image")
    robot.ready()
    robot.send(gray(ENDLESS))
    robot.status_with("has not returned")
    assert node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in node.log()


def test_an_engine_file_may_be_replaced_while_it_runs(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    engine = write_tiny_engine(tmp_path)
    good = engine.read_bytes()
    node = start_node("/replaced", engine=engine, diagnostics_period=0.1)
    robot = make_robot("/replaced")
    robot.listen(Image, "depth/image")
    robot.ready()
    pixels = np.random.default_rng(5).integers(0, 256, (128, 192, 3), np.uint8)
    before = image_of(robot.answer(robot.send(pixels).header))
    engine.write_bytes(b"no network at all" * 100)
    np.testing.assert_array_equal(image_of(robot.answer(robot.send(pixels).header)), before)
    engine.unlink()
    np.testing.assert_array_equal(image_of(robot.answer(robot.send(pixels).header)), before)

    engine.write_bytes(good[:-1])
    assert robot.change_state(DEACTIVATE)
    assert robot.change_state(CLEANUP)
    assert not robot.change_state(CONFIGURE)
    node.says("does not match its manifest")
    assert robot.status_with("does not match its manifest").level == ERROR
    engine.write_bytes(good)
    assert robot.change_state(CONFIGURE)
    assert robot.change_state(ACTIVATE)
    robot.ready()
    np.testing.assert_array_equal(image_of(robot.answer(robot.send(pixels).header)), before)
