"""What can go wrong around the node goes wrong here: peers that stop or die, clocks, stamps, disks, signals."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from peers import Peer
from ros_testing import DEACTIVATE, PATIENCE_S, NodeProcess, Robot, gray, wait_until
from tiny import write_tiny_engine

StartNode = Callable[..., NodeProcess]
StartPeer = Callable[..., Peer]
MakeRobot = Callable[..., Robot]


@pytest.fixture
def start_peer(context: object) -> Iterator[StartPeer]:
    """Starts other programs of a robot, see peers.py; ends them after the test."""
    started: list[Peer] = []

    def start(*arguments: object) -> Peer:
        started.append(Peer(*arguments))
        return started[-1]

    yield start
    for peer in started:
        peer.process.send_signal(signal.SIGCONT)
        peer.end()


# Peers


def test_a_subscriber_that_stalls_keeps_nobody_waiting(
    start_node: StartNode, start_peer: StartPeer, make_robot: MakeRobot, engine: Path
) -> None:
    start_node("/stall", engine=engine, diagnostics_period=0.1)
    robot = make_robot("/stall")
    robot.listen(Image, "depth/image")
    robot.ready()
    listener = start_peer("listener", "/stall/hybridnet/depth/image")

    def heard() -> bool:
        robot.answer(robot.send(gray(0.5)).header)
        return len(listener.lines) > 1

    wait_until(heard, "the listener to hear answers")
    listener.process.send_signal(signal.SIGSTOP)
    # 3.7 MB each: together more than the shared memory through which they go.
    for _ in range(40):
        robot.answer(robot.send(gray(0.5, 1280, 720)).header)
    robot.received["depth/image"].clear()
    listener.process.send_signal(signal.SIGCONT)

    def catches_up() -> bool:
        header = robot.send(gray(0.5)).header
        robot.answer(header)
        return f"{header.stamp.sec} {header.stamp.nanosec}" in listener.lines

    wait_until(catches_up, "the listener to hear the newest answer")


def test_a_camera_that_dies_and_comes_back_is_heard_again(
    start_node: StartNode, start_peer: StartPeer, make_robot: MakeRobot, engine: Path
) -> None:
    node = start_node("/dying", engine=engine, image_timeout=1, diagnostics_period=0.1)
    robot = make_robot("/dying")
    robot.listen(Image, "depth/image")
    robot.destroy(robot.node.destroy_publisher, robot.images)
    for life in range(2):
        camera = start_peer("camera", "/dying/image", "--rate", 20, "--reliable")
        wait_until(lambda camera=camera: camera.lines, "the camera to be heard")
        camera.go()
        robot.received["depth/image"].clear()
        wait_until(lambda: len(robot.received["depth/image"]) > 20, "answers")
        if life:
            node.says("images come on /dying/image")
            wait_until(lambda: robot.status().level == b"\x00", "a node without troubles")
        camera.kill()
        wait_until(lambda: robot.status_with("no image on /dying/image").level == b"\x03", "stale diagnostics")
    assert int(robot.values()["frames lost on the way here"]) == 0, "a camera that starts again counts from 1"
    assert node.alive()


# Clocks and stamps


def test_stamps_that_mean_nothing_are_explained(start_node: StartNode, make_robot: MakeRobot, engine: Path) -> None:
    node = start_node("/stamps", engine=engine, image_timeout=0, diagnostics_period=0.1)
    robot = make_robot("/stamps")
    robot.listen(Image, "depth/image")
    robot.ready()
    tomorrow = int(time.time()) + 86_400
    for seconds, text in ((tomorrow, "ahead of this node's clock"), (0, "the images have no stamp"), (5, "s behind")):
        header = Image().header
        header.stamp, header.frame_id = Time(sec=seconds), "camera_optical"
        robot.received["depth/image"].clear()
        robot.send(gray(0.5), header=header)
        assert robot.answer(header).header == header
        assert robot.status_with(text).level == b"\x01"
        node.says(text)

    def all_is_well() -> bool:
        header = robot.header()
        header.stamp = robot.node.get_clock().now().to_msg()
        robot.send_info(header, 192, 128, fx=100.0)
        robot.answer(robot.send(gray(0.5), header=header).header)
        return robot.status().level == b"\x00" and robot.values()["input age (ms)"] != "unknown"

    wait_until(all_is_well, "a node without troubles")


def test_simulated_time_may_be_missing_and_may_pause(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    node = start_node("/paused", engine=engine, use_sim_time=True, image_timeout=1, diagnostics_period=0.1)
    robot = make_robot("/paused")
    robot.listen(Image, "depth/image")
    robot.ready()
    robot.status_with("no time comes on /clock")
    node.says("play the bag with --clock")
    clock = robot.node.create_publisher(Clock, "/clock", 10)

    def play(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds

        def at_that_time() -> bool:
            clock.publish(message)
            return robot.node_seconds == seconds

        wait_until(at_that_time, f"the node's clock to be at {seconds} s")
        header = robot.header()
        header.stamp.sec = seconds
        robot.answer(robot.send(gray(0.5), header=header).header)

    play(100)
    # A bag that is paused sends neither images nor time; diagnostics and the watch go on.
    assert robot.status_with("is it paused?").level == b"\x03"
    assert robot.node_seconds == 100
    play(101)
    node.says("images come on /paused/image again")

    def all_is_well() -> bool:
        play(102)
        return "/clock" not in robot.status().message and robot.status().level == b"\x00"

    wait_until(all_is_well, "a node without troubles")


# Disks and terminals


@pytest.mark.parametrize(
    ("name", "shell"),
    [
        ("no_folder", 'ROS_LOG_DIR="$0_is_a_file/log" exec "$@"'),
        ("full_terminal", 'exec "$@" >/dev/full 2>&1'),
        ("no_terminal", 'exec "$@" <&- >&- 2>&-'),
        ("broken_pipe", 'exec "$@" > >(head -c 1 >/dev/null) 2>&1'),
    ],
    ids=lambda value: value if value.isidentifier() else "",
)
def test_a_node_that_cannot_write_its_log_still_sees(
    make_robot: MakeRobot, tmp_path: Path, engine: Path, name: str, shell: str
) -> None:
    (tmp_path / "file").touch()
    shell = shell.replace("$0_is_a_file", str(tmp_path / "file"))
    arguments = ["-r", f"__ns:=/{name}", "-p", f"engine:={engine}", "-p", "diagnostics_period:=0.1"]
    node = NodeProcess(tmp_path / "log", *arguments, shell=shell)
    try:
        robot = make_robot(f"/{name}")
        robot.listen(Image, "depth/image")
        robot.ready()
        if name == "no_folder":
            node.says("runs without a log file")
            assert "set ROS_LOG_DIR" in node.log()
        for _ in range(20):
            assert not robot.change_state(DEACTIVATE + 100), "refused, which is logged"
        robot.send(gray(0.5), "no such encoding")
        robot.answer(robot.send(gray(0.5)).header)
        assert node.stop(signal.SIGTERM) == 0
    finally:
        node.end()


def test_a_disk_that_fills_up_costs_the_log_only(
    make_robot: MakeRobot, tmp_path: Path, context: object, engine: Path
) -> None:
    logs = tmp_path / "logs"
    node = NodeProcess(tmp_path / "log", "-r", "__ns:=/full", "-p", f"engine:={engine}",
                       shell=f'ROS_LOG_DIR="{logs}" exec "$@"')  # fmt: skip
    try:
        robot = make_robot("/full")
        robot.listen(Image, "depth/image")
        robot.ready()
        (file,) = wait_until(lambda: list(logs.glob("*.log")), "a log file")
        # The kernel refuses each byte more, with an error as of a full disk.
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (file.stat().st_size + 512,) * 2)
        for _ in range(100):
            assert not robot.change_state(DEACTIVATE + 100), "refused, which is logged"
        robot.answer(robot.send(gray(0.5)).header)
        assert node.stop(signal.SIGTERM) == 0
        assert "Traceback" not in node.log()
    finally:
        node.end()


# Signals


def test_sigterm_ends_a_node_under_load(
    start_node: StartNode, start_peer: StartPeer, make_robot: MakeRobot, tmp_path: Path
) -> None:
    node = start_node("/loaded", engine=write_tiny_engine(tmp_path, "slow", work=30), diagnostics_period=0.1)
    robot = make_robot("/loaded")
    robot.listen(Image, "depth/image")
    robot.destroy(robot.node.destroy_publisher, robot.images)
    camera = start_peer("camera", "/loaded/image", "--rate", 200, "--size", "640x480")
    wait_until(lambda: camera.lines, "the camera to be heard")
    camera.go()
    wait_until(lambda: int(robot.values()["dropped: replaced by a newer one"]) > 20, "overload")
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(PATIENCE_S) == 0
    log = node.log()
    assert "Traceback" not in log
    assert "terminate called" not in log
