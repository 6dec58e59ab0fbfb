"""sensor_msgs/CompressedImage (JPEG, PNG) -> rgb, with the header read before anything is decoded.

Decoders fill what is missing of a truncated picture with grey; a robot must not drive on that. So the end of the
picture is looked for first, and a size that would exhaust memory is refused before memory is asked for.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from .images import to_eight_bit
from .jpeg import jpeg_pixels, jpeg_size, truncated
from .layout import MessageError, check_size, data_bytes

_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"


def compressed_to_rgb(msg: Any) -> np.ndarray:
    """The picture in a sensor_msgs/CompressedImage.

    Args:
        msg: CompressedImage with JPEG or PNG data, grey or colour, 8 or 16 bit. `format` is what image_transport
            writes, such as "jpeg" or "rgb8; jpeg compressed bgr8". An EXIF orientation is not applied, so that the
            size stays that of CameraInfo.

    Returns:
        uint8 [H, W, 3] rgb, new.

    Raises:
        MessageError: not JPEG or PNG, empty, truncated, damaged, or larger than `MAX_PIXELS`.
    """
    format_name = str(msg.format)
    if "compresseddepth" in format_name.lower():
        raise MessageError(
            f"compressed image with format '{format_name}' is a depth image, not a camera picture. "
            "Remap the input to the camera's compressed colour image"
        )
    data = data_bytes(msg.data)
    picture = data.tobytes()
    if not picture:
        raise MessageError(f"compressed image with format '{format_name}' has no data")
    if picture.startswith(_JPEG_START):
        kind = "JPEG"
        width, height = jpeg_size(picture)
    elif picture.startswith(_PNG_START):
        kind = "PNG"
        width, height = _png_size(picture)
    else:
        raise MessageError(
            f"compressed image with format '{format_name}' starts with the bytes {picture[:8].hex(' ')}, which is "
            "neither JPEG nor PNG. Set the camera's compressed transport to jpeg or png"
        )
    check_size(width, height, f"compressed {kind} image")
    stored_as_rgb = "compressed rgb" in format_name
    try:
        pixels = jpeg_pixels(picture, rgb=not stored_as_rgb) if kind == "JPEG" else _png_pixels(data, stored_as_rgb)
    except ValueError as error:
        raise MessageError(
            f"the {width}x{height} {kind} image of {data.size} bytes is damaged and cannot be decoded: {error}"
        ) from error
    if pixels.shape[:2] != (height, width):
        raise MessageError(
            f"the {kind} image of {data.size} bytes is damaged: it says {width}x{height} pixels, and has "
            f"{pixels.shape[1]}x{pixels.shape[0]}"
        )
    return pixels


def _png_pixels(data: np.ndarray, stored_as_rgb: bool) -> np.ndarray:
    """uint8 [H, W, 3] rgb; raises ValueError where OpenCV cannot read it."""
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(str(error)) from error
    if pixels is None:
        raise ValueError("OpenCV cannot read it")
    if pixels.dtype == np.uint16:
        pixels = to_eight_bit(pixels)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if channels == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB if stored_as_rgb else cv2.COLOR_BGRA2RGB)
    return pixels if stored_as_rgb else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _png_size(picture: bytes) -> tuple[int, int]:
    """Width and height from the header chunk; refuses a picture whose chunks do not reach the end chunk."""
    size = len(picture)
    position = len(_PNG_START)
    while position + 12 <= size:
        length, chunk = struct.unpack_from(">I4s", picture, position)
        if chunk == b"IEND" and picture[12:16] == b"IHDR":
            width, height = struct.unpack_from(">II", picture, 16)
            return width, height
        position += 12 + length
    raise truncated("PNG", size)
