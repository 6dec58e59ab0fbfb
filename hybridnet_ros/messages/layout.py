"""What every conversion here needs: the error, the header, and the bytes of a message as numpy views.

Messages are used by their fields only (`msg.width`, `msg.data`, ...), so that rclpy messages and the messages of the
`rosbags` library both work and nothing of ROS is imported.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

MAX_PIXELS = 32_000_000
"""Largest image accepted, in pixels; a larger size in a header is taken for a broken message.

More than robots' cameras have, and little enough that a few bytes of PNG which claim as much cannot exhaust the memory.
"""


class MessageError(ValueError):
    """A message cannot be converted; the text names the fields at fault and what to do about it."""


def set_header(msg: Any, header: Any) -> None:
    """Gives `msg` the stamp and frame of `header`, exactly. The header is shared, not copied."""
    if header is not None:
        msg.header = header


def data_bytes(data: Any) -> np.ndarray:
    """The `data` field of a message (array.array, uint8 ndarray or bytes) as a flat uint8 array, without a copy."""
    if isinstance(data, np.ndarray):
        return data.reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def check_size(width: int, height: int, what: str) -> tuple[int, int]:
    """Width and height of `what`, refused when zero or beyond `MAX_PIXELS`."""
    width, height = int(width), int(height)
    if width <= 0 or height <= 0:
        raise MessageError(f"{what} is empty: {width}x{height} pixels. Check that the camera driver delivers frames")
    if width * height > MAX_PIXELS:
        raise MessageError(
            f"{what} has {width}x{height} pixels, more than the {MAX_PIXELS} accepted. The message is damaged, or the "
            "camera must be set to a smaller size"
        )
    return width, height


def pixel_view(msg: Any, dtype: Any, channels: int, rows: int | None = None) -> np.ndarray:
    """The pixels of an Image message as a view of its data, row padding skipped.

    Args:
        msg: sensor_msgs/Image.
        dtype: numpy type of one value.
        channels: values a pixel.
        rows: rows in the data, where planes beneath each other make more of them than `msg.height`.

    Returns:
        [rows, W, channels] of `dtype` in the message's byte order, strided by `msg.step`.

    Raises:
        MessageError: the fields contradict each other.
    """
    encoding = str(msg.encoding)
    width, height = check_size(msg.width, msg.height, f"image with encoding '{encoding}'")
    value = np.dtype(dtype)
    step = int(msg.step)
    least = width * channels * value.itemsize
    if step < least:
        raise MessageError(
            f"image {width}x{height} '{encoding}': step is {step} bytes, but a row of {width} pixels takes at least "
            f"{least}. Set step to the bytes from one row to the next, or correct the encoding"
        )
    rows = height if rows is None else rows
    data = data_bytes(msg.data)
    if data.size < step * rows:
        raise MessageError(
            f"image {width}x{height} '{encoding}': data has {data.size} bytes, but {step} bytes a row and {rows} rows "
            f"take {step * rows}. The message was cut off, or its size, step or encoding is wrong"
        )
    if bool(msg.is_bigendian) != (sys.byteorder == "big"):
        value = value.newbyteorder()
    strides = (step, channels * value.itemsize, value.itemsize)
    return np.ndarray((rows, width, channels), value, data, 0, strides)


def native(pixels: np.ndarray) -> np.ndarray:
    """The same values in this machine's byte order and alignment; the very array where it has them already."""
    if pixels.dtype.isnative and pixels.flags.aligned:
        return pixels
    return pixels.astype(pixels.dtype.newbyteorder("="))


def set_data(msg: Any, array: np.ndarray) -> None:
    """Sets `msg.data` to the bytes of `array` without copying them.

    The setter of rclpy messages goes through them one by one (about 100 ms a megabyte), but the serialiser takes any
    contiguous buffer: the array goes straight into the field behind the setter.
    """
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if hasattr(msg, "_data"):
        msg._data = flat
    else:
        msg.data = flat


def fill(msg: Any, fields: dict[str, Any], header: Any) -> Any:
    """Gives `msg` the `fields`, among them `data` as an array, which is not copied, and the header; returns `msg`."""
    for name, value in fields.items():
        if name == "data":
            set_data(msg, value)
        else:
            setattr(msg, name, value)
    set_header(msg, header)
    return msg
