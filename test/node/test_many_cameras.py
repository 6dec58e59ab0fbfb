"""Several cameras on one node: each has its own stamps, intrinsics, outputs and health, and none costs another's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from hybridnet_ros.node.mailbox import Mailbox
from hybridnet_ros.node.names import CameraName, named_cameras
from ros_testing import NodeProcess, Robot, gray, image_of, wait_until
from tiny import TINY_FX, write_fragile_engine, write_tiny_engine

StartNode = Callable[..., NodeProcess]
MakeRobot = Callable[..., Robot]
SIDES = ("front", "rear")


def two_cameras(
    start_node: StartNode, make_robot: MakeRobot, namespace: str, engine: Path, **parameters: object
) -> tuple[NodeProcess, Robot, Robot]:
    """A node with the cameras front and rear, both heard and answered."""
    node = start_node(namespace, engine=engine, cameras="[front,rear]", diagnostics_period=0.1, **parameters)
    front, rear = (make_robot(namespace, camera=side) for side in SIDES)
    for robot in (front, rear):
        robot.listen(Image, "depth/image", "segmentation/mask")
        robot.ready()
    return node, front, rear


def test_each_camera_has_its_own_stamps_intrinsics_and_outputs_in_one_batch(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    node, front, rear = two_cameras(
        start_node, make_robot, "/batched", engine, max_depth=900.0, max_batch=4, batch_window=1000.0
    )
    for robot in (front, rear):
        robot.listen(CameraInfo, "depth/camera_info")
        robot.ready()

    def batched() -> bool:
        """Both cameras at once, as if they had one trigger; whether a batch of two was among the answers so far."""
        headers = [robot.header() for robot in (front, rear)]
        headers[1].frame_id = "rear_optical"
        for robot, header, ratio in ((front, headers[0], 1.0), (rear, headers[1], 3.0)):
            robot.send_info(header, 192, 128, fx=2 * TINY_FX * ratio)
            robot.answer(robot.send(gray(0.5), header=header).header)  # so that its CameraInfo is there
        headers = [robot.header() for robot in (front, rear)]
        headers[1].frame_id = "rear_optical"
        front.send(gray(0.25), header=headers[0])
        rear.send(gray(0.5), header=headers[1])
        for robot, header, depth in (
            (front, headers[0], 1 + 99 * 64 / 255),
            (rear, headers[1], 3 * (1 + 99 * 128 / 255)),
        ):
            answer = robot.answer(header)
            assert answer.header == header
            np.testing.assert_allclose(image_of(answer), depth, rtol=1e-4)
            assert robot.answer(header, "segmentation/mask").header == header
        assert front.received["depth/camera_info"][-1].k[0] == 2 * TINY_FX
        assert rear.received["depth/camera_info"][-1].k[0] == 6 * TINY_FX
        return float(front.values()["images in a batch (mean)"]) > 1

    wait_until(batched, "two images in one batch")
    stamps = [{message.header.stamp.nanosec for message in robot.received["depth/image"]} for robot in (front, rear)]
    assert not stamps[0] & stamps[1]
    assert rear.values()["input topic"] == "/batched/rear/image"
    assert rear.values()["focal length"] == f"{6 * TINY_FX:.2f} px from /batched/rear/camera_info"
    assert node.stop() == 0


def test_cameras_of_different_sizes_are_answered_one_after_another(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    _, front, rear = two_cameras(start_node, make_robot, "/sizes", engine, max_batch=4, batch_window=200.0)
    for width, height in ((192, 128), (97, 61), (640, 480)):
        sent = [(front, front.send(gray(0.5)).header), (rear, rear.send(gray(0.2, width, height)).header)]
        for robot, header in sent:
            robot.answer(header)
        answer = rear.answer(sent[1][1])
        assert (answer.width, answer.height) == (width, height)


def test_a_batch_that_the_engine_cannot_take_is_run_one_by_one(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    """The fragile engine takes one image of 96 x 64 px, and fails at two as at any other size."""
    fragile = write_fragile_engine(tmp_path)
    node, front, rear = two_cameras(
        start_node, make_robot, "/fragile2", fragile, max_batch=2, batch_window=1000.0, max_failures=3
    )
    for _ in range(5):
        sent = [(robot, robot.send(gray(0.5, 96, 64)).header) for robot in (front, rear)]
        for robot, header in sent:
            robot.answer(header)
    # A size it fails at costs that camera's image only, and not the node as long as the other one is answered.
    for count in range(1, 7):
        front.send(gray(0.5, 64, 96))
        wait_until(lambda count=count: front.values()["dropped: inference failed"] == str(count), "the image to fail")
        rear.answer(rear.send(gray(0.5, 96, 64)).header)
    assert "frames fail" in front.status().message
    assert "frames fail" not in rear.status().message
    assert rear.values()["dropped: inference failed"] == "0"
    assert front.state() == "active"
    assert "frames failed in a row" not in node.log()


def test_no_camera_starves_however_fast_the_other_sends(
    start_node: StartNode, make_robot: MakeRobot, tmp_path: Path
) -> None:
    slow = write_tiny_engine(tmp_path, "slow", work=20)
    _, front, rear = two_cameras(start_node, make_robot, "/flooded", slow, threads=1)
    before = rear.values()
    enough = threading.Event()

    def flood() -> None:
        while not enough.wait(0.005):
            front.send(gray(0.5))

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        for _ in range(10):
            rear.answer(rear.send(gray(0.5)).header)
    finally:
        enough.set()
        flooder.join()
    assert front.received["depth/image"], "the fast one is answered too"
    after = rear.values()
    assert after["frames dropped"] == before["frames dropped"]
    assert int(front.values()["dropped: replaced by a newer one"]) > 0


def test_a_bad_or_dead_camera_costs_the_other_nothing(
    start_node: StartNode, make_robot: MakeRobot, engine: Path
) -> None:
    node, front, rear = two_cameras(
        start_node, make_robot, "/halfdead", engine, max_batch=2, batch_window=100.0, image_timeout=5.0
    )
    before, said = rear.values(), len(node.log())
    for _ in range(5):
        bad = Image(header=front.header(), width=192, height=128, step=576, encoding="rgb9")
        bad._data = gray(0.5).reshape(-1)
        front.images.publish(bad)
        rear.answer(rear.send(gray(0.5)).header)
    wait_until(lambda: "rgb9" in front.status().message, "the bad image in the status of its camera")
    assert "rgb9" not in rear.status().message
    assert "camera front: image dropped" in node.log()
    front.close()

    def front_missed() -> bool:
        rear.answer(rear.send(gray(0.5)).header)
        return "no image on /halfdead/front/image" in node.log()[said:]

    wait_until(front_missed, "the silence of the front camera to be said")
    assert "no image on /halfdead/rear/image" not in node.log()[said:]
    assert rear.values()["frames dropped"] == before["frames dropped"]


def test_the_node_and_each_camera_have_a_status(
    start_node: StartNode, make_robot: MakeRobot, engine: Path, context: object
) -> None:
    _, front, _ = two_cameras(start_node, make_robot, "/health", engine)
    operator = make_robot("/health")
    values = operator.values()
    assert (values["state"], values["cameras"], values["network"]) == ("active", "front, rear", "tiny")
    assert "frames received" not in values
    assert front.status().hardware_id == "front"
    looker = Node("looker", context=context)
    topics = wait_until(lambda: dict(looker.get_publisher_names_and_types_by_node("hybridnet", "/health")), "topics")
    looker.destroy_node()
    assert {"/health/hybridnet/front/points", "/health/hybridnet/rear/depth/image"} <= topics.keys()
    assert "/health/hybridnet/depth/image" not in topics


def test_senders_take_turns_in_the_mailbox() -> None:
    box: Mailbox[str] = Mailbox()
    taken = []
    for number in range(12):
        box.put(f"fast {number}", "fast")
        if number % 3 == 0:
            box.put(f"slow {number}", "slow")
        taken += box.take()
    assert taken[:5] == ["fast 0", "slow 0", "fast 2", "slow 3", "fast 4"]
    assert [item for item in taken if "slow" in item] == ["slow 0", "slow 3", "slow 6", "slow 9"]


def test_the_mailbox_hands_out_what_fits_together_and_keeps_the_rest() -> None:
    box: Mailbox[int] = Mailbox()
    for sender, item in (("a", 1), ("b", 2), ("c", 3), ("d", 5)):
        box.put(item, sender)
    both_odd = [1, 3]
    assert box.take(2, lambda first, other: first % 2 == other % 2) == both_odd
    assert box.take(9, lambda first, other: first % 2 == other % 2) == [2]
    assert box.put(7, "d") == 5
    assert box.clear() == [7]
    assert box.take(9) == []


def test_the_mailbox_waits_for_those_who_send_and_not_for_who_stopped() -> None:
    now = 100.0
    box: Mailbox[int] = Mailbox(clock=lambda: now)
    box.put(1, "only")
    box.wait_for_others(1e6)
    late = threading.Timer(0.05, box.put, [2, "other"])
    assert box.take(2) == [1]
    box.put(2, "other")
    assert box.take(2) == [2]
    box.put(3, "only")
    late.start()
    box.wait_for_others(1e6)
    assert box.take(2) == [3, 2], "the one that was served longest ago first"
    now += 10
    box.put(4, "only")
    box.wait_for_others(1e6)
    assert box.take(2) == [4]


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([""], [("", "image", "camera_info")]),
        (["front", "r2"], [("front", "front/image", "front/camera_info"), ("r2", "r2/image", "r2/camera_info")]),
        (["/front/image_raw", "rig/left/image"], [
            ("front", "/front/image_raw", "/front/camera_info"), ("rig_left", "rig/left/image", "rig/left/camera_info"),
        ]),
        (["/image_raw"], [("image_raw", "/image_raw", "/camera_info")]),
    ],
)  # fmt: skip
def test_cameras_are_named_after_their_topics(entries: list[str], names: list[tuple[str, str, str]]) -> None:
    assert [(one.name, one.image, one.camera_info) for one in named_cameras(entries)] == names


def test_outputs_are_in_the_folder_of_their_camera() -> None:
    assert CameraName("front", "front/image").output("depth/image") == "~/front/depth/image"
    assert CameraName("", "image").output("depth/image") == "~/depth/image"


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ([], "at least one"),
        (["", "rear"], "may have no name"),
        (["2nd"], "neither a name"),
        (["front left"], "neither a name"),
        (["/front/image", "/front/image_rect"], "both called 'front'"),
        (["front", "perception"], "on /diagnostics"),
    ],
)
def test_cameras_that_cannot_be_told_apart_are_refused(entries: list[str], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        named_cameras(entries)
