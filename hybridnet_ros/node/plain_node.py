"""A depth and label node written the usual way, for `hybridnet benchmark node` to compare ours with.

    python -m hybridnet_ros.node.plain_node --ros-args -r image:=/camera/image_raw -p engine:=driving

Everything that the usual node does, and nothing to its disadvantage: one callback on the spinning thread with a queue
of 10 does all of the work, cv_bridge's way of copying (which needs no cv_bridge to be copied) is between messages and
arrays, every output is published whether or not somebody listens, CameraInfo is the last one that came. The engine,
the resizing and the rules for depth are those of our node: the two differ by what is around them only.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.engine import open_engine
from hybridnet_ros.engine.perception import perceive

_QUEUE = 10
_MIN_DEPTH, _MAX_DEPTH = 0.1, 80.0  # the defaults of our node, metres


class PlainNode(Node):
    """Node `hybridnet`: our parameters `engine`, `runtime`, `threads`, and `compressed`; our five main outputs."""

    def __init__(self) -> None:
        super().__init__("hybridnet")
        defaults = {"engine": "driving", "runtime": "auto", "threads": 0}
        engine, runtime, threads = (self.declare_parameter(name, value).value for name, value in defaults.items())
        self.engine = open_engine(engine, runtime, threads or None)
        self.camera_info: CameraInfo | None = None
        self.depth_pub = self.create_publisher(Image, "~/depth/image", _QUEUE)
        self.depth_info_pub = self.create_publisher(CameraInfo, "~/depth/camera_info", _QUEUE)
        self.mask_pub = self.create_publisher(Image, "~/segmentation/mask", _QUEUE)
        self.confidence_pub = self.create_publisher(Image, "~/segmentation/confidence", _QUEUE)
        self.mask_info_pub = self.create_publisher(CameraInfo, "~/segmentation/camera_info", _QUEUE)
        self.create_subscription(CameraInfo, "camera_info", self.on_info, _QUEUE)
        if self.declare_parameter("compressed", False).value:
            self.create_subscription(CompressedImage, "image/compressed", self.on_compressed, _QUEUE)
        else:
            self.create_subscription(Image, "image", self.on_image, _QUEUE)

    def on_info(self, message: CameraInfo) -> None:
        """Remembers the camera."""
        self.camera_info = message

    def on_image(self, message: Image) -> None:
        """As cv_bridge's `imgmsg_to_cv2(message, "rgb8")`, which copies."""
        pixels = np.ndarray((message.height, message.width, 3), np.uint8, buffer=message.data)
        self.answer(
            message.header, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if message.encoding == "bgr8" else pixels.copy()
        )

    def on_compressed(self, message: CompressedImage) -> None:
        """As cv_bridge's `compressed_imgmsg_to_cv2(message, "rgb8")`."""
        pixels: Any = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        self.answer(message.header, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))

    def answer(self, header: Any, rgb: Any) -> None:
        """Infers and publishes."""
        if self.camera_info is None:
            return
        view = perceive(self.engine, rgb, self.camera_info.k[0], _MIN_DEPTH, _MAX_DEPTH)
        info = self.camera_info
        info.header = header
        self.depth_info_pub.publish(info)
        self.mask_info_pub.publish(info)
        self.depth_pub.publish(to_message(view.depth, "32FC1", header))
        self.mask_pub.publish(to_message(view.labels, "mono8", header))
        self.confidence_pub.publish(to_message(view.confidence, "mono8", header))


def to_message(array: NDArray[Any], encoding: str, header: Any) -> Image:
    """As cv_bridge's `cv2_to_imgmsg(array, encoding, header)` in Jazzy."""
    message = Image()
    message.height, message.width = array.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(array.dtype.byteorder == ">")
    message.data.frombytes(array.tobytes())
    message.step = len(message.data) // message.height
    message.header = header
    return message


def main() -> None:
    """Spins until a signal comes."""
    rclpy.init()
    try:
        rclpy.spin(PlainNode())
    except (KeyboardInterrupt, ExternalShutdownException):
        sys.exit(0)


if __name__ == "__main__":
    main()
