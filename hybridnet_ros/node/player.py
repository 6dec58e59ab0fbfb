"""Publishes recorded frames as a camera would, in step with the program that started it.

The two talk in lines of text: `ready` (somebody subscribes), then `go` on standard input, then `sent INDEX STAMP_NS`
for each frame, and `end`. It stays until standard input is closed, so that reliable subscribers get the last frame.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage


@dataclass(frozen=True)
class CameraFrame:
    """A recorded frame: its number, seconds since the first, and the CDR bytes of its two messages."""

    index: int
    offset_s: float
    image: bytes
    camera_info: bytes


class NobodyListens(Exception):
    """Nothing subscribed to the images in time."""


def play(frames: Sequence[CameraFrame], image_topic: str, info_topic: str, rate: float | None, loops: int) -> None:
    """Publish `frames` `loops` times, at `rate` Hz or as recorded; every stamp is the moment of publishing.

    Raises:
        NobodyListens: no node subscribed within 60 s.
    """
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node("hybridnet_player")
    try:
        # What `ros2 bag play` offers: heard by reliable and by best-effort subscribers.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        image_publisher = node.create_publisher(CompressedImage, image_topic, qos)
        info_publisher = node.create_publisher(CameraInfo, info_topic, qos)
        _wait_for_subscribers((image_publisher, info_publisher), timeout_s=60.0)
        _say("ready")
        if sys.stdin.readline().strip() != "go":
            return
        start = time.monotonic()
        for due_s, frame in schedule(frames, rate, loops):
            time.sleep(max(0.0, start + due_s - time.monotonic()))
            image = deserialize_message(frame.image, CompressedImage)
            info = deserialize_message(frame.camera_info, CameraInfo)
            now = node.get_clock().now()
            image.header.stamp = info.header.stamp = now.to_msg()
            info_publisher.publish(info)
            image_publisher.publish(image)
            _say(f"sent {frame.index} {now.nanoseconds}")
        _say("end")
        sys.stdin.read()
    finally:
        node.destroy_node()
        rclpy.shutdown()


def schedule(frames: Sequence[CameraFrame], rate: float | None, loops: int) -> Iterator[tuple[float, CameraFrame]]:
    """Each frame with the second at which it is due, over all loops."""
    last = frames[-1].offset_s
    gap = last / (len(frames) - 1) if len(frames) > 1 else 1.0
    for loop in range(loops):
        for number, frame in enumerate(frames):
            recorded = loop * (last + gap) + frame.offset_s
            yield (loop * len(frames) + number) / rate if rate else recorded, frame


def _wait_for_subscribers(publishers: Iterable[Publisher], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while missing := [p.topic_name for p in publishers if p.get_subscription_count() == 0]:
        if time.monotonic() > deadline:
            raise NobodyListens(f"nobody subscribed to {' and '.join(missing)} within {timeout_s:.0f} s")
        time.sleep(0.05)


def _say(line: str) -> None:
    print(line, flush=True)  # the protocol is standard output itself
