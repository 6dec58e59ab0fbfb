"""Publishes recorded frames as a camera would, in step with the program that started it.

The two talk in lines of text: `ready` (somebody subscribes), then `go` on standard input, then `sent INDEX STAMP_NS`
for each frame, and `end`. It stays until standard input is closed, so that reliable subscribers get the last frame.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage

from hybridnet_ros.node.direct_images import publish


@dataclass(frozen=True)
class CameraFrame:
    """A recorded frame: its number, seconds since the first, and the CDR bytes of its two messages."""

    index: int
    offset_s: float
    image: bytes
    camera_info: bytes


class NobodyListens(Exception):
    """Nothing subscribed to the images in time."""


class Camera:
    """A camera's two publishers, in a ROS node of their own; a context manager that takes them down again."""

    def __init__(self, kind: Any, image_topic: str, info_topic: str, reliable: bool = True) -> None:
        """Publishers of images of the message type `kind` and of CameraInfo.

        Reliable ones, as those of `ros2 bag play`, are heard by reliable and by best-effort subscribers.
        """
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("hybridnet_player")
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT)
        self._images = self._node.create_publisher(kind, image_topic, qos)
        self._infos = self._node.create_publisher(CameraInfo, info_topic, qos)

    def wait_for_subscribers(self, timeout_s: float, infos: bool = True) -> None:
        """Waits until somebody subscribes to the images and, with `infos`, to the CameraInfo.

        Raises:
            NobodyListens: nobody did.
        """
        deadline = time.monotonic() + timeout_s
        publishers = (self._images, self._infos) if infos else (self._images,)
        while missing := [p.topic_name for p in publishers if p.get_subscription_count() == 0]:
            if time.monotonic() > deadline:
                raise NobodyListens(f"nobody subscribed to {' and '.join(missing)} within {timeout_s:.0f} s")
            time.sleep(0.05)

    def publish(self, image: Any, info: Any) -> int:
        """Sends an image and its CameraInfo, stamped with this moment; returns the stamp in ns."""
        now = self._node.get_clock().now()
        image.header.stamp = info.header.stamp = now.to_msg()
        publish(self._images, image)  # first, as image_transport's camera publisher does it
        self._infos.publish(info)
        return int(now.nanoseconds)

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._node.destroy_node()
        rclpy.shutdown()


def play(frames: Sequence[CameraFrame], image_topic: str, info_topic: str, rate: float | None, loops: int) -> None:
    """Publish `frames` `loops` times, at `rate` Hz or as recorded; every stamp is the moment of publishing.

    Raises:
        NobodyListens: no node subscribed within 60 s.
    """
    with Camera(CompressedImage, image_topic, info_topic) as camera:
        camera.wait_for_subscribers(timeout_s=60.0)
        say("ready")
        if sys.stdin.readline().strip() != "go":
            return
        start = time.monotonic()
        for due_s, frame in schedule(frames, rate, loops):
            time.sleep(max(0.0, start + due_s - time.monotonic()))
            image = deserialize_message(frame.image, CompressedImage)
            stamp_ns = camera.publish(image, deserialize_message(frame.camera_info, CameraInfo))
            say(f"sent {frame.index} {stamp_ns}")
        say("end")
        sys.stdin.read()


def schedule(frames: Sequence[CameraFrame], rate: float | None, loops: int) -> Iterator[tuple[float, CameraFrame]]:
    """Each frame with the second at which it is due, over all loops."""
    last = frames[-1].offset_s
    gap = last / (len(frames) - 1) if len(frames) > 1 else 1.0
    for loop in range(loops):
        for number, frame in enumerate(frames):
            recorded = loop * (last + gap) + frame.offset_s
            yield (loop * len(frames) + number) / rate if rate else recorded, frame


def say(line: str) -> None:
    """Tells the program that started this one."""
    print(line, flush=True)  # the protocol is standard output itself
