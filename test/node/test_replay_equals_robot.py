"""What `hybridnet evaluate-bag` says about a recorded message is what the node said about it on the robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, Image

from hybridnet_ros import cli
from hybridnet_ros.offline.bag import typestore
from recordings import START_NS, Recording
from ros_testing import NodeProcess, Robot, image_of

OUTPUTS = ("depth/image", "segmentation/mask", "segmentation/confidence")
INFOS = ("depth/camera_info", "segmentation/camera_info")


@pytest.mark.parametrize(("namespace", "raw"), [("/replay_raw", True), ("/replay_compressed", False)])
def test_replay_equals_robot(
    start_node: Callable[..., NodeProcess],
    make_robot: Callable[..., Robot],
    engine: Path,
    tmp_path: Path,
    namespace: str,
    raw: bool,
) -> None:
    start_node(namespace, engine=engine, min_confidence=0.6, max_depth=60.0)
    robot = make_robot(namespace, raw=raw)
    if not raw:
        robot.compressed_camera()
    robot.listen(Image, *OUTPUTS)
    robot.listen(CameraInfo, *INFOS)
    robot.ready()

    random = np.random.default_rng(3)
    kind = "sensor_msgs/msg/Image" if raw else "sensor_msgs/msg/CompressedImage"
    topic = "/camera/image_rect" if raw else "/camera/image_rect/compressed"
    headers = []
    with Recording(tmp_path / "bag") as bag:
        # Sizes and encodings that need decoding and resizing; the camera of a car and a small one.
        for number, (width, height, encoding) in enumerate([(1242, 375, "bgr8"), (640, 480, "rgb8"), (97, 61, "rgb8")]):
            coarse = random.integers(0, 256, (5, 7, 3), np.uint8)
            pixels = np.ascontiguousarray(np.kron(coarse, np.ones((height // 5 + 1, width // 7 + 1, 1), np.uint8)))
            pixels = np.ascontiguousarray(pixels[:height, :width])
            header = robot.header()
            info = robot.send_info(header, width, height, fx=0.6 * width)
            # A frame never waits for its CameraInfo on the robot, so the frame before makes sure that it is there.
            robot.answer(robot.send(pixels[:30, :30], header=robot.header()).header)
            message = robot.send(pixels, encoding, header=header)
            stamp_ns = START_NS + number * 100_000_000
            bag.raw("/camera/camera_info", stamp_ns, "sensor_msgs/msg/CameraInfo", serialize_message(info))
            bag.raw(topic, stamp_ns, kind, serialize_message(message))
            headers.append(header)
            for output in (*OUTPUTS, *INFOS):
                robot.answer(header, output)

    words = ["evaluate-bag", tmp_path / "bag", "--engine", engine, "--output", tmp_path / "out", "--workers", 1]
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, words), "--min-confidence", "0.6", "--max-depth", "60"])
    assert ended.value.code == 0
    replayed: dict[tuple[str, int], Any] = {}
    with Reader(tmp_path / "out" / "predictions" / "0_bag") as reader:
        for connection, _, data in reader.messages():
            message = typestore().deserialize_cdr(data, connection.msgtype)
            replayed[connection.topic, message.header.stamp.nanosec] = message
    for header in headers:
        for output in OUTPUTS:
            on_robot, offline = robot.answer(header, output), replayed[f"/hybridnet/{output}", header.stamp.nanosec]
            assert (offline.encoding, offline.step) == (on_robot.encoding, on_robot.step)
            assert offline.header.frame_id == on_robot.header.frame_id
            np.testing.assert_array_equal(image_of(offline), image_of(on_robot))
        for output in INFOS:
            on_robot, offline = robot.answer(header, output), replayed[f"/hybridnet/{output}", header.stamp.nanosec]
            np.testing.assert_array_equal(offline.k, on_robot.k)
            np.testing.assert_array_equal(offline.p, on_robot.p)
