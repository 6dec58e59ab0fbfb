"""What the node makes of images: over DDS, between two processes, with a real if tiny engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from ros_testing import NodeProcess, Robot, gray, image_of, wait_until
from tiny import TINY_FX, TINY_LABELS

KITTI = (1242, 375)


@pytest.fixture(scope="module")
def node(context: object, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node process for all tests of this file."""
    arguments = ["-p", f"engine:={engine}", "-p", "max_depth:=200", "-p", "diagnostics_period:=0.1"]
    process = NodeProcess(tmp_path_factory.mktemp("node") / "log", *arguments)
    yield process
    process.end()


@pytest.fixture(scope="module")
def listening_robot(node: NodeProcess, context: Any) -> Iterator[Robot]:
    """A robot that hears the outputs that most tests look at."""
    robot = Robot(context)
    robot.listen(CameraInfo, "depth/camera_info", "segmentation/camera_info")
    robot.listen(Image, "depth/image", "segmentation/mask", "segmentation/confidence")
    robot.ready()
    yield robot
    robot.close()


@pytest.fixture
def camera(node: NodeProcess, listening_robot: Robot) -> Iterator[Robot]:
    """The robot, whose CameraInfo leaves the tiny engine's depth at 192 x 128 px as it is."""
    header = listening_robot.header()
    listening_robot.send_info(header, 192, 128, fx=2 * TINY_FX)
    listening_robot.answer(listening_robot.send(gray(0.5), header=header).header)
    yield listening_robot
    for messages in listening_robot.received.values():
        messages.clear()
    print(node.log())
    assert node.alive()


def tiny_depth(brightness: float) -> float:
    """What the tiny engine says at its training focal length."""
    return 1 + 99 * round(brightness * 255) / 255


def test_every_frame_at_10_hz_is_answered_with_its_own_stamp(camera: Robot) -> None:
    width, height = KITTI
    for messages in camera.received.values():
        messages.clear()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    sent = []
    due = wait_until(lambda: camera.node.get_clock().now().nanoseconds, "a clock")
    for _ in range(30):
        wait_until(lambda due=due: camera.node.get_clock().now().nanoseconds >= due, "the next frame")
        due += 100_000_000
        sent.append(camera.header())
        camera.send_info(sent[-1], width, height, fx=721.5)
        camera.send(pixels, header=sent[-1])
        camera.answer(sent[-1])  # on a slow machine: at the rate it can
    topics = ("depth/image", "segmentation/mask", "segmentation/confidence")
    topics += ("depth/camera_info", "segmentation/camera_info")
    for topic in topics:
        camera.answer(sent[-1], topic)
        assert [message.header for message in camera.received[topic]] == sent, topic
    depth, mask, confidence, *infos = (camera.received[topic][-1] for topic in topics)
    assert (depth.encoding, mask.encoding, confidence.encoding) == ("32FC1", "mono8", "mono8")
    assert (mask.step, depth.step) == (width, 4 * width)
    for message in (depth, mask, confidence, *infos):
        assert (message.width, message.height) == KITTI
    for info in infos:
        assert info.k[0] == 721.5


@pytest.mark.parametrize("focal_ratio", [1.0, 2.0])
def test_depth_is_metric_for_the_focal_length_of_the_camera(camera: Robot, focal_ratio: float) -> None:
    header = camera.header()
    # At 192 x 128 the image is twice the network's size, and so is its focal length in pixels.
    camera.send_info(header, 192, 128, fx=2 * TINY_FX * focal_ratio)
    camera.send(gray(0.25), header=header)
    depth = image_of(camera.answer(header))
    np.testing.assert_allclose(depth, tiny_depth(0.25) * focal_ratio, rtol=1e-4)
    assert (image_of(camera.answer(header, "segmentation/mask")) == TINY_LABELS.index("road")).all()


def test_sky_is_beyond_range_and_too_near_is_minus_infinity(camera: Robot) -> None:
    assert camera.set_parameter("min_depth", 20.0).successful
    message = camera.send(np.vstack([gray(0.9, height=64), gray(0.1, height=64)]))
    depth = image_of(camera.answer(message.header))
    assert (depth[:48] == np.inf).all()
    assert (depth[-48:] == -np.inf).all()
    assert camera.set_parameter("min_depth", 0.1).successful


def test_encodings(camera: Robot) -> None:
    color = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    color = cv2.resize(color[::16, ::16], (96, 64), interpolation=cv2.INTER_LINEAR)
    variants = {
        "rgb8": color,
        "bgr8": color[..., ::-1],
        "rgba8": np.dstack([color, gray(1.0, 96, 64)[..., 0]]),
        "bgra8": np.dstack([color[..., ::-1], gray(1.0, 96, 64)[..., 0]]),
    }
    first = camera.send(variants["rgb8"])
    expected = image_of(camera.answer(first.header))
    for encoding, pixels in variants.items():
        message = camera.send(pixels, encoding)
        np.testing.assert_array_equal(image_of(camera.answer(message.header)), expected, encoding)
    for encoding, pixels in {
        "mono8": color[..., 0],
        "mono16": color[..., 0].astype(np.uint16) * 256,
        "bayer_rggb8": color[..., 0],
        "yuv422": color[..., :2],
        "yuv422_yuy2": color[..., :2],
    }.items():
        message = camera.send(pixels, encoding)
        answer = camera.answer(message.header)
        assert (answer.width, answer.height, answer.encoding) == (96, 64, "32FC1"), encoding


def test_the_same_pixels_give_the_same_bytes_however_they_are_sent(camera: Robot) -> None:
    """A sample through the real node; test/messages/test_same_pixels.py has every encoding."""
    color = np.random.default_rng(4).integers(0, 256, (64, 96, 3), np.uint8)
    topics = ("depth/image", "segmentation/mask", "segmentation/confidence")
    sent = camera.send(color).header
    expected = {topic: bytes(camera.answer(sent, topic).data) for topic in topics}
    sixteen = color.astype(np.uint16) * 257
    for encoding, pixels, padding, big_endian in (
        ("rgb8", color, 7, False),
        ("bgr8", color[..., ::-1], 1, True),
        ("rgb16", sixteen, 0, False),
        ("rgb16", sixteen.byteswap(), 5, True),
        ("bgr16", sixteen[..., ::-1].byteswap(), 0, True),
    ):
        lines = np.ascontiguousarray(pixels).view(np.uint8).reshape(64, -1)
        message = Image(header=camera.header(), width=96, height=64, encoding=encoding, is_bigendian=int(big_endian))
        message.step = lines.shape[1] + padding
        message._data = np.pad(lines, ((0, 0), (0, padding)), constant_values=0xA5).reshape(-1)
        camera.images.publish(message)
        for topic in topics:
            assert bytes(camera.answer(message.header, topic).data) == expected[topic], (encoding, padding, topic)


def test_resolution_and_encoding_change_in_mid_stream(camera: Robot) -> None:
    for width, height, encoding in ((96, 64, "rgb8"), (640, 480, "bgr8"), (33, 77, "mono8"), (1242, 375, "rgb8")):
        pixels = gray(0.5, width, height)
        message = camera.send(pixels[..., 0] if encoding == "mono8" else pixels, encoding)
        for topic in ("depth/image", "segmentation/mask"):
            answer = camera.answer(message.header, topic)
            assert (answer.width, answer.height) == (width, height)


def broken(name: str) -> tuple[Callable[[Image], None], str]:
    """A way to break a 96 x 64 rgb8 image, and a word of what the node says."""

    def cut(message: Image) -> None:
        message._data = message._data[:-1]

    return {
        "unknown encoding": (lambda message: setattr(message, "encoding", "rgb9"), "rgb9"),
        "short data": (cut, "data has"),
        "zero size": (lambda message: setattr(message, "width", 0), "empty"),
        "short step": (lambda message: setattr(message, "step", 17), "step is 17"),
        "absurd size": (lambda message: setattr(message, "width", 2**31), "pixels"),
    }[name]


@pytest.mark.parametrize("name", ["unknown encoding", "short data", "zero size", "short step", "absurd size"])
def test_a_bad_image_costs_that_image_and_is_explained(camera: Robot, node: NodeProcess, name: str) -> None:
    spoil, word = broken(name)
    dropped = int(camera.values()["dropped: bad image"])
    message = Image(header=camera.header(), width=96, height=64, step=288, encoding="rgb8")
    message._data = gray(0.5, 96, 64).reshape(-1)
    spoil(message)
    camera.images.publish(message)
    status = wait_until(
        lambda: next((s for s in camera.diagnostics[-1:] if word in s.message), None), f"{word!r} on /diagnostics"
    )
    assert status.level == b"\x01"
    camera.answer(camera.send(gray(0.5)).header)
    assert int(camera.values()["dropped: bad image"]) == dropped + 1
    assert "image dropped: " in node.log()
    assert "bad image" not in camera.status().message


def test_the_mask_is_unlabelled_where_the_network_is_not_sure(camera: Robot) -> None:
    between = gray(1 / 3)  # half way between road and car
    assert (image_of(camera.answer(camera.send(between).header, "segmentation/mask")) != 255).all()
    assert camera.set_parameter("min_confidence", 0.9).successful
    header = camera.send(np.vstack([between[:64], gray(0.5, height=64)])).header
    mask = image_of(camera.answer(header, "segmentation/mask"))
    confidence = image_of(camera.answer(header, "segmentation/confidence"))
    assert camera.set_parameter("min_confidence", 0.0).successful
    assert (mask[:48] == 255).all()
    assert (mask[-48:] == TINY_LABELS.index("car")).all()
    np.testing.assert_array_equal(mask == 255, confidence < 0.9 * 255)


def test_depth_in_millimetres(camera: Robot) -> None:
    assert camera.set_parameter("depth_encoding", "16UC1").successful
    bright = camera.answer(camera.send(gray(0.9)).header)
    dark = camera.answer(camera.send(gray(0.25)).header)
    assert camera.set_parameter("depth_encoding", "32FC1").successful
    assert dark.encoding == "16UC1"
    np.testing.assert_allclose(image_of(dark), 1000 * tiny_depth(0.25), atol=1)
    assert (image_of(bright) == 0).all(), "sky has no depth"


def test_pictures_and_points_for_who_subscribes(camera: Robot) -> None:
    camera.listen(Image, "segmentation/color", "depth/color")
    camera.listen(PointCloud2, "points")
    camera.ready()
    header = camera.header()
    camera.send_info(header, 192, 128, fx=2 * TINY_FX)
    camera.send(gray(0.25), header=header)
    color, depth_color, cloud = (
        camera.answer(header, name) for name in ("segmentation/color", "depth/color", "points")
    )
    camera.ignore("segmentation/color", "depth/color", "points")
    assert (image_of(color) == TINY_LABELS.colors[TINY_LABELS.index("road")]).all()
    assert depth_color.encoding == "rgb8"
    assert (cloud.width, cloud.height, [field.name for field in cloud.fields][:3]) == (192, 128, ["x", "y", "z"])
    assert cloud.header == header
    centre = np.frombuffer(cloud.data, np.float32).reshape(128, 192, -1)[64, 96, :3]
    np.testing.assert_allclose(centre, [0, 0, tiny_depth(0.25)], rtol=1e-3, atol=1e-3)


def test_parameters_are_checked_and_take_effect_on_the_next_frame(camera: Robot) -> None:
    for name, value, reason in (
        ("max_depth", -1.0, "range"),
        ("max_depth", float("nan"), "range"),
        ("min_depth", 500.0, "less than max_depth"),
        ("min_confidence", 1.5, "range"),
        ("depth_encoding", "64FC1", "one of 32FC1, 16UC1"),
        ("engine", "other", "no engine is called 'other'"),
        ("cameras", ["left", "right"], "deactivate the node first"),
        ("input_transport", "raw", "deactivate the node first"),
        ("autostart", False, "read-only"),
    ):
        result = camera.set_parameter(name, value)
        assert not result.successful, name
        assert reason in result.reason, name
    assert camera.set_parameter("max_depth", 10.0).successful
    beyond = image_of(camera.answer(camera.send(gray(0.25)).header))
    assert camera.set_parameter("max_depth", 200.0).successful
    assert (beyond == np.inf).all()
    assert np.isfinite(image_of(camera.answer(camera.send(gray(0.25)).header))).all()


def test_diagnostics_tell_who_runs_and_account_for_every_frame(camera: Robot, node: NodeProcess, engine: Path) -> None:
    camera.answer(camera.send(gray(0.5)).header)
    status = camera.status()
    values = {pair.key: pair.value for pair in status.values}
    assert status.hardware_id == str(engine)
    assert values["state"] == "active"
    assert values["input topic"] == "/image"
    assert values["network"] == "tiny"
    assert "ONNX Runtime" in values["runtime"]
    assert len(values["engine sha256"]) == 12
    assert values["focal length"] == f"{2 * TINY_FX:.2f} px from /camera_info"
    for stage in ("transport", "wait", "decode", "infer", "publish", "age"):
        assert len(values[f"{stage} p50/p95/p99 (ms)"].split(" / ")) == 3
    # The stamps of these tests lie in the past, as a bag's do.
    assert "behind this node's clock" in status.message
    received, answered, dropped = (int(values[f"frames {what}"]) for what in ("received", "answered", "dropped"))
    assert dropped == sum(int(value) for key, value in values.items() if key.startswith("dropped: "))
    assert received == answered + dropped + int(values["frames in flight"])


def test_nothing_is_computed_for_nobody(camera: Robot) -> None:
    kinds = {topic: Image for topic in ("depth/image", "segmentation/mask", "segmentation/confidence")}
    kinds |= {topic: CameraInfo for topic in ("depth/camera_info", "segmentation/camera_info")}
    camera.ignore(*kinds)

    def unanswered() -> bool:
        before = camera.values()
        camera.send(gray(0.5))
        after = camera.values()
        return before["frames answered"] == after["frames answered"] and (
            int(after["dropped: no subscriber"]) > int(before["dropped: no subscriber"])
        )

    wait_until(unanswered, "frames that nobody asked for to be dropped")
    for topic, kind in kinds.items():
        camera.listen(kind, topic)
    camera.ready()
