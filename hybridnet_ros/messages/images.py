"""sensor_msgs/Image <-> numpy: rgb from every camera encoding, depth, labels; and arrays back into messages.

An image that already is rgb8 is not copied. Where pixels must be converted, cv_bridge does it if it is installed;
without it OpenCV gives the same pixels.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .layout import MessageError, check_size, fill, native, pixel_view
from .with_cv_bridge import cv_bridge_converter


@dataclass(frozen=True)
class Encoding:
    """How the pixels of an encoding lie in memory and how OpenCV turns them into rgb.

    Attributes:
        dtype: numpy type of one value.
        channels: values a pixel.
        code: OpenCV colour conversion to RGB; None where it is rgb already.
        cv_bridge: the name under which cv_bridge knows the encoding; None where it does not convert it.
        blocks: (columns, rows) of pixels that share one colour sample; the sides must be multiples of them.
        planes: the data holds a colour plane of half the height below the brightness plane.
    """

    dtype: type
    channels: int
    code: int | None
    cv_bridge: str | None = None
    blocks: tuple[int, int] = (1, 1)
    planes: bool = False


# ROS names a Bayer pattern by its first two rows, OpenCV by the second row's second and third pixel: rggb is BG.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

ENCODINGS: dict[str, Encoding] = {
    "rgb8": Encoding(np.uint8, 3, None),
    "bgr8": Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB, "bgr8"),
    "rgba8": Encoding(np.uint8, 4, cv2.COLOR_RGBA2RGB, "rgba8"),
    "bgra8": Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB, "bgra8"),
    "mono8": Encoding(np.uint8, 1, cv2.COLOR_GRAY2RGB, "mono8"),
    "rgb16": Encoding(np.uint16, 3, None, "rgb16"),
    "bgr16": Encoding(np.uint16, 3, cv2.COLOR_BGR2RGB, "bgr16"),
    "rgba16": Encoding(np.uint16, 4, cv2.COLOR_RGBA2RGB, "rgba16"),
    "bgra16": Encoding(np.uint16, 4, cv2.COLOR_BGRA2RGB, "bgra16"),
    "mono16": Encoding(np.uint16, 1, cv2.COLOR_GRAY2RGB, "mono16"),
    # Plain OpenCV types carry no colour order; cv_bridge refuses them, cameras that send them mean OpenCV's own.
    "8UC1": Encoding(np.uint8, 1, cv2.COLOR_GRAY2RGB, "mono8"),
    "8UC3": Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB, "bgr8"),
    "8UC4": Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB, "bgra8"),
    "yuv422": Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY, "yuv422", (2, 1)),
    "uyvy": Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY, "yuv422", (2, 1)),
    "yuv422_yuy2": Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2, "yuv422_yuy2", (2, 1)),
    "yuyv": Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2, "yuv422_yuy2", (2, 1)),
    "nv12": Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV12, None, (2, 2), True),
    "nv21": Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV21, None, (2, 2), True),
    "nv24": Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV12),
    **{f"bayer_{name}8": Encoding(np.uint8, 1, code, f"bayer_{name}8") for name, code in _BAYER.items()},
    **{f"bayer_{name}16": Encoding(np.uint16, 1, code, f"bayer_{name}16") for name, code in _BAYER.items()},
}
"""Every encoding that `image_to_rgb` takes."""


def image_to_rgb(msg: Any) -> np.ndarray:
    """The picture in a sensor_msgs/Image, whatever its encoding.

    Args:
        msg: sensor_msgs/Image with an encoding of `ENCODINGS`; `step` and `is_bigendian` are honoured.

    Returns:
        uint8 [H, W, 3] rgb. For rgb8 a view of the message's data (perhaps read-only, with padded rows), else new.

    Raises:
        MessageError: unknown encoding, or fields that contradict each other.
    """
    encoding = ENCODINGS.get(str(msg.encoding))
    if encoding is None:
        raise MessageError(
            f"encoding '{msg.encoding}' is no camera picture this package can read. Supported: {', '.join(ENCODINGS)}"
        )
    width, height = check_size(msg.width, msg.height, f"image with encoding '{msg.encoding}'")
    columns, lines = encoding.blocks
    if width % columns or height % lines:
        raise MessageError(
            f"image {width}x{height} '{msg.encoding}': this encoding shares colour among {columns}x{lines} pixels, so "
            "the sides must be multiples of them. Correct the size or the encoding in the camera driver"
        )
    if msg.encoding == "nv24":
        return _nv24_to_rgb(msg, width, height)
    pixels = pixel_view(msg, encoding.dtype, encoding.channels, height * 3 // 2 if encoding.planes else height)
    if encoding.code is None and encoding.dtype is np.uint8:
        return pixels
    pixels = native(pixels)
    convert = cv_bridge_converter(encoding.cv_bridge, pixels.dtype, encoding.channels) if encoding.cv_bridge else None
    try:
        if convert is None:
            return _convert_with_opencv(pixels, encoding.code)
        return convert(pixels)
    except (cv2.error, TypeError, RuntimeError) as error:
        raise MessageError(f"image {width}x{height} '{msg.encoding}' cannot be converted to rgb: {error}") from error


def _nv24_to_rgb(msg: Any, width: int, height: int) -> np.ndarray:
    """A colour sample for each pixel, in rows of twice the step below the brightness; unknown to OpenCV.

    It is what nv12 has for four pixels: so, every pixel made four, it is converted as nv12, to the very same colours.
    """
    rows = pixel_view(msg, np.uint8, 1, rows=3 * height)[..., 0]
    step = rows.strides[0]
    colors = np.lib.stride_tricks.as_strided(rows[height:], (height, 2 * width), (2 * step, 1), writeable=False)
    brightness = rows[:height].repeat(2, axis=0).repeat(2, axis=1)
    return cv2.cvtColor(np.vstack([brightness, colors]), cv2.COLOR_YUV2RGB_NV12)[::2, ::2].copy()


def to_eight_bit(pixels: np.ndarray) -> np.ndarray:
    """16-bit values scaled to 8 bit, 65535 becoming 255, rounded to nearest as cv_bridge does."""
    return cv2.convertScaleAbs(pixels, alpha=255.0 / 65535.0)


def _convert_with_opencv(pixels: np.ndarray, code: int | None) -> np.ndarray:
    rgb = pixels if code is None else cv2.cvtColor(pixels, code)
    return rgb if rgb.dtype == np.uint8 else to_eight_bit(rgb)


def depth_from_image(msg: Any) -> np.ndarray:
    """The depth in a sensor_msgs/Image.

    Args:
        msg: Image with encoding 32FC1 (metres) or 16UC1 or mono16 (millimetres, 0 = invalid).

    Returns:
        float32 [H, W] metres; a view of the data for 32FC1 as it is, else new, NaN where 16UC1 has no value.

    Raises:
        MessageError: another encoding, or fields that contradict each other.
    """
    if msg.encoding == "32FC1":
        return native(pixel_view(msg, np.float32, 1))[..., 0]
    if msg.encoding in ("16UC1", "mono16"):
        millimetres = native(pixel_view(msg, np.uint16, 1))[..., 0]
        depth = millimetres * np.float32(0.001)
        depth[millimetres == 0] = np.nan
        return depth
    raise MessageError(f"encoding '{msg.encoding}' is no depth image: 32FC1 (metres) or 16UC1 (millimetres) expected")


def labels_from_image(msg: Any) -> np.ndarray:
    """The class ids in a sensor_msgs/Image with encoding mono8 or 8UC1: uint8 [H, W], a view of its data.

    Raises:
        MessageError: another encoding, or fields that contradict each other.
    """
    if msg.encoding not in ("mono8", "8UC1"):
        raise MessageError(f"encoding '{msg.encoding}' is no label image: mono8 or 8UC1 expected")
    return pixel_view(msg, np.uint8, 1)[..., 0]


_OUTPUT: dict[str, tuple[type, int]] = {
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "16UC1": (np.uint16, 1),
    "mono16": (np.uint16, 1),
    "32FC1": (np.float32, 1),
}


def image_fields(array: np.ndarray, encoding: str) -> dict[str, Any]:
    """The fields of a sensor_msgs/Image that holds `array`, all but its header.

    Args:
        array: [H, W] or, for rgb8 and bgr8, [H, W, 3], of the type of the encoding.
        encoding: rgb8, bgr8, mono8, 8UC1, mono16, 16UC1 or 32FC1.

    Returns:
        height, width, encoding, is_bigendian, step and data; data is a flat uint8 view of `array` where its rows are
        packed. A rosbags message is made by `Image(header=header, **image_fields(array, encoding))`.

    Raises:
        MessageError: the array does not fit the encoding.
    """
    if encoding not in _OUTPUT:
        raise MessageError(f"images are not written as '{encoding}'. Supported: {', '.join(_OUTPUT)}")
    dtype, channels = _OUTPUT[encoding]
    shape = array.shape if channels > 1 else (*array.shape, 1)
    if array.dtype != dtype or len(shape) != 3 or shape[2] != channels or 0 in shape:
        wanted = "[H, W]" if channels == 1 else f"[H, W, {channels}]"
        raise MessageError(
            f"an array {array.dtype} {list(array.shape)} cannot be sent as '{encoding}': {np.dtype(dtype)} {wanted}, "
            "not empty, expected"
        )
    height, width = array.shape[:2]
    return {
        "height": height,
        "width": width,
        "encoding": encoding,
        "is_bigendian": int(sys.byteorder == "big"),
        "step": width * channels * array.dtype.itemsize,
        "data": np.ascontiguousarray(array).reshape(-1).view(np.uint8),
    }


def fill_image(msg: Any, array: np.ndarray, encoding: str, header: Any = None) -> Any:
    """Makes `msg` an image of `array`, without copying the pixels.

    The message refers to the array until it is serialised, which publish() does before it returns: do not write into
    the array before that.

    Args:
        msg: sensor_msgs/Image to fill.
        array: as for `image_fields`.
        encoding: as for `image_fields`.
        header: std_msgs/Header with the stamp and frame of the source; None leaves the header of `msg` alone.

    Returns:
        `msg`.

    Raises:
        MessageError: the array does not fit the encoding.
    """
    return fill(msg, image_fields(array, encoding), header)
