"""Pictures, depth and labels from a sensor_msgs/Image or a CompressedImage, whichever it is."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from .compressed import compressed_to_rgb
from .images import depth_from_image, image_to_rgb, labels_from_image
from .layout import MessageError, data_bytes

_DEPTH_HEADER = struct.Struct("<iff")  # of compressed_depth_image_transport: format and two parameters


def is_compressed(msg: Any) -> bool:
    """Whether `msg` is a CompressedImage rather than an Image."""
    return hasattr(msg, "format")


def to_rgb(msg: Any) -> np.ndarray:
    """The picture: uint8 [H, W, 3] rgb; as `image_to_rgb` and `compressed_to_rgb`, with their errors."""
    return compressed_to_rgb(msg) if is_compressed(msg) else image_to_rgb(msg)


def to_depth(msg: Any) -> np.ndarray:
    """The depth: float32 [H, W] metres, NaN where there is none.

    Args:
        msg: Image (32FC1, 16UC1), or CompressedImage with a 16-bit PNG as image_transport's `compressed` (16UC1) and
            `compressedDepth` (16UC1 and 32FC1) write it.

    Raises:
        MessageError: it holds something else or is damaged.
    """
    if not is_compressed(msg):
        return depth_from_image(msg)
    data, format_name = data_bytes(msg.data), str(msg.format)
    if "compresseddepth" not in format_name.lower():
        return _metres(_png16(data, format_name))
    if data.size < _DEPTH_HEADER.size:
        raise MessageError(f"compressed depth image with format '{format_name}' is cut off: {data.size} bytes")
    _, a, b = _DEPTH_HEADER.unpack_from(data.tobytes())
    stored = _png16(data[_DEPTH_HEADER.size :], format_name)
    if not format_name.startswith("32FC1"):
        return _metres(stored)
    # The inverse of depth, quantised: stored = a / depth + b.
    depth = np.full(stored.shape, np.nan, np.float32)
    np.divide(np.float32(a), stored - np.float32(b), out=depth, where=stored > 0)
    return depth


def to_labels(msg: Any) -> np.ndarray:
    """The class ids: uint8 [H, W].

    Args:
        msg: Image (mono8, 8UC1), or CompressedImage with an 8-bit grey PNG.

    Raises:
        MessageError: it holds something else or is damaged.
    """
    if not is_compressed(msg):
        return labels_from_image(msg)
    labels = _decoded(data_bytes(msg.data))
    if labels is None or labels.dtype != np.uint8 or labels.ndim != 2:
        raise MessageError(f"compressed image with format '{msg.format}' is no label image: 8-bit grey PNG expected")
    return labels


def _metres(millimetres: np.ndarray) -> np.ndarray:
    depth = millimetres * np.float32(0.001)
    depth[millimetres == 0] = np.nan
    return depth


def _png16(data: np.ndarray, format_name: str) -> np.ndarray:
    stored = _decoded(data)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 2:
        raise MessageError(f"compressed image with format '{format_name}' is no depth image: 16-bit grey PNG expected")
    return stored


def _decoded(data: np.ndarray) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:  # nothing there to decode
        return None
