"""Recorded frames as messages of another size, for cameras that play a recording at any size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hybridnet_ros.messages import camera_info_fields, compressed_to_rgb, fill_image

_JPEG_QUALITY = 90


def image_kind(jpeg: bool) -> Any:
    """The type of message that `resized` makes."""
    return CompressedImage if jpeg else Image


def resized(image: bytes, info: bytes, width: int, height: int, jpeg: bool) -> tuple[Any, CameraInfo]:
    """An image and its CameraInfo at `width` x `height` px, as raw rgb8 or as JPEG.

    Args:
        image: serialised CompressedImage.
        info: serialised CameraInfo.
        width: px.
        height: px.
        jpeg: whether the image is to be a CompressedImage again.
    """
    source = deserialize_message(image, CompressedImage)
    rgb = cv2.resize(compressed_to_rgb(source), (width, height), interpolation=cv2.INTER_LINEAR)
    camera_info = CameraInfo(**camera_info_fields(deserialize_message(info, CameraInfo), width, height))
    camera_info.header = source.header
    if not jpeg:
        return fill_image(Image(), rgb, "rgb8", source.header), camera_info
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    message = CompressedImage(header=source.header, format="rgb8; jpeg compressed bgr8")
    message.data = np.ascontiguousarray(data).tobytes()
    return message, camera_info
