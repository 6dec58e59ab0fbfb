"""Every camera encoding gives the right rgb; fields that contradict each other give a MessageError that says so."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybridnet_ros.messages import (
    ENCODINGS,
    MAX_PIXELS,
    MessageError,
    depth_from_image,
    image_to_rgb,
    labels_from_image,
)

# Channel order of the encodings that lose nothing: index of the rgb channel, 3 for alpha.
LOSSLESS = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "8UC3": (2, 1, 0),
    "rgba8": (0, 1, 2, 3),
    "bgra8": (2, 1, 0, 3),
    "8UC4": (2, 1, 0, 3),
    "rgb16": (0, 1, 2),
    "bgr16": (2, 1, 0),
    "rgba16": (0, 1, 2, 3),
    "bgra16": (2, 1, 0, 3),
}
GREY = ("mono8", "8UC1", "mono16")
SIDES = st.integers(1, 9)
# OpenCV 4.5 cannot convert an image of one single pixel.
RGB = hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))).filter(lambda rgb: rgb.size > 3)


def rows_with_padding(pixels: np.ndarray, padding: int) -> tuple[bytes, int]:
    """The data and step of an image whose rows are followed by `padding` bytes of rubbish."""
    rows = pixels.reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.concatenate([rows, np.full((rows.shape[0], padding), 0xA5, np.uint8)], axis=1)
    return padded.tobytes(), padded.shape[1]


def as_message(library: Any, pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Any:
    """`pixels` of 8 or 16 bit values as a received Image of this layout."""
    if pixels.dtype == np.uint16:
        pixels = pixels.astype(">u2" if big else "<u2")
    data, step = rows_with_padding(np.ascontiguousarray(pixels), padding)
    height, width = pixels.shape[:2]
    return library.image(data, width=width, height=height, encoding=encoding, step=step, is_bigendian=int(big))


@given(rgb=RGB, encoding=st.sampled_from(sorted(LOSSLESS)), padding=st.integers(0, 7), big=st.booleans())
def test_lossless_encodings_give_every_pixel_back(library, rgb, encoding, padding, big):
    alpha = np.full((*rgb.shape[:2], 1), 77, np.uint8)
    pixels = np.concatenate([rgb, alpha], axis=2)[..., LOSSLESS[encoding]]
    if encoding.endswith("16"):
        pixels = pixels.astype(np.uint16) * 257
    result = image_to_rgb(as_message(library, pixels, encoding, padding, big))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, rgb)


@given(
    grey=hnp.arrays(np.uint8, st.tuples(SIDES, SIDES)),
    encoding=st.sampled_from(GREY),
    padding=st.integers(0, 7),
    big=st.booleans(),
)
def test_grey_encodings_give_equal_channels(library, grey, encoding, padding, big):
    pixels = grey.astype(np.uint16) * 257 if encoding == "mono16" else grey
    result = image_to_rgb(as_message(library, pixels, encoding, padding, big))
    np.testing.assert_array_equal(result, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bit_values_are_rounded_to_nearest(library):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    result = image_to_rgb(as_message(library, values, "mono16"))
    np.testing.assert_array_equal(result[..., 0], (values.astype(np.uint32) + 128) // 257)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("big", [False, True])
def test_bayer_pattern_is_read_as_ros_names_it(library, pattern, bits, big):
    # A mosaic of one colour: the name spells the first two rows of two pixels.
    color = {"r": 200, "g": 100, "b": 50}
    tile = np.array([[color[pattern[0]], color[pattern[1]]], [color[pattern[2]], color[pattern[3]]]])
    mosaic = np.tile(tile, (4, 5)).astype(np.uint8 if bits == 8 else np.uint16)
    if bits == 16:
        mosaic *= 257
    result = image_to_rgb(as_message(library, mosaic, f"bayer_{pattern}{bits}", padding=2, big=big))
    assert result.shape == (8, 10, 3)
    np.testing.assert_array_equal(result, np.broadcast_to([200, 100, 50], result.shape))


# Brightness and colour differences of ITU-R BT.601, as video cameras send them.
YUV = {
    "red": ((82, 90, 240), (255, 0, 0)),
    "blue": ((41, 240, 110), (0, 0, 255)),
    "white": ((235, 128, 128), (255, 255, 255)),
}


@pytest.mark.parametrize("color", sorted(YUV))
@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_video_encodings_give_the_color(library, encoding, color):
    (y, u, v), expected = YUV[color]
    width, height = 6, 4
    if encoding in ("nv12", "nv21"):
        chroma = (u, v) if encoding == "nv12" else (v, u)
        planes = np.concatenate([np.full((height, width), y), np.tile(chroma, (height // 2, width // 2))])
        data, step = rows_with_padding(planes.astype(np.uint8), 5)
    else:
        pair = (u, y, v, y) if encoding in ("yuv422", "uyvy") else (y, u, y, v)
        data, step = rows_with_padding(np.tile(pair, (height, width // 2)).astype(np.uint8), 4)
    msg = library.image(data, width=width, height=height, encoding=encoding, step=step)
    result = image_to_rgb(msg)
    assert result.shape == (height, width, 3)
    np.testing.assert_allclose(result.astype(int), np.broadcast_to(expected, result.shape), atol=3)


@pytest.mark.parametrize("padding", [0, 5])
def test_rgb8_is_a_view_of_the_message(library, padding):
    msg = as_message(library, np.zeros((4, 5, 3), np.uint8), "rgb8", padding)
    assert np.shares_memory(image_to_rgb(msg), np.frombuffer(msg.data, np.uint8))


def test_more_data_than_needed_is_accepted(library):
    msg = library.image(bytes(range(12)) + b"more", width=2, height=2, encoding="rgb8", step=6)
    assert image_to_rgb(msg).tobytes() == bytes(range(12))


GOOD = {"width": 4, "height": 2, "encoding": "rgb8", "step": 12}
REFUSED = {
    "unknown encoding": ({"encoding": "jpeg2000"}, r"'jpeg2000'.*Supported: rgb8, bgr8"),
    "depth as picture": ({"encoding": "32FC1"}, r"'32FC1'.*Supported"),
    "no encoding": ({"encoding": ""}, r"encoding ''"),
    "data too short": ({"height": 3}, r"4x3 'rgb8': data has 24 bytes.*12 bytes a row and 3 rows take 36"),
    "step too small": ({"step": 11}, r"4x2 'rgb8': step is 11 bytes.*at least 12"),
    "no width": ({"width": 0}, r"empty: 0x2"),
    "no height": ({"height": 0}, r"empty: 4x0"),
    "absurd size": ({"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1}, rf"{MAX_PIXELS} accepted"),
    "odd width": ({"width": 3, "encoding": "yuv422"}, r"3x2 'yuv422'.*2x1 pixels"),
    "odd height": ({"width": 2, "height": 3, "encoding": "nv12"}, r"2x3 'nv12'.*2x2 pixels"),
    "no second plane": ({"width": 12, "encoding": "nv12"}, r"data has 24 bytes.*3 rows take 36"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_contradicting_fields_are_refused_with_the_reason(library, case):
    fields, reason = REFUSED[case]
    with pytest.raises(MessageError, match=reason):
        image_to_rgb(library.image(bytes(24), **{**GOOD, **fields}))


def test_no_data_at_all_is_refused(library):
    with pytest.raises(MessageError, match="data has 0 bytes"):
        image_to_rgb(library.image(b"", **GOOD))


NUMBERS = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))


@given(
    width=NUMBERS,
    height=NUMBERS,
    step=NUMBERS,
    encoding=st.one_of(st.sampled_from([*sorted(ENCODINGS), "32FC1", "16UC1"]), st.text(max_size=12)),
    big=st.integers(0, 255),
    data=st.binary(max_size=4000),
)
def test_no_field_whatever_makes_anything_but_pixels_or_a_message_error(
    library, width, height, step, encoding, big, data
):
    encoding = encoding.replace("\0", "").encode("utf-8", "ignore").decode()
    msg = library.image(data, width=width, height=height, step=step, encoding=encoding, is_bigendian=big)
    for read, shape in (
        (image_to_rgb, (height, width, 3)),
        (depth_from_image, (height, width)),
        (labels_from_image, (height, width)),
    ):
        with contextlib.suppress(MessageError):
            assert read(msg).shape == shape


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 3, 4])
def test_depth_in_metres_is_passed_on(library, big, padding):
    depth = np.array([[1.5, np.nan, 0.0], [np.inf, -np.inf, 80.25]], np.float32)
    data, step = rows_with_padding(depth.astype(">f4" if big else "<f4"), padding)
    msg = library.image(data, width=3, height=2, encoding="32FC1", step=step, is_bigendian=int(big))
    result = depth_from_image(msg)
    assert result.dtype == np.float32
    assert result.dtype.isnative
    np.testing.assert_array_equal(result, depth)


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
@pytest.mark.parametrize("big", [False, True])
def test_depth_in_millimetres_becomes_metres_and_zero_becomes_nan(library, encoding, big):
    millimetres = np.array([[0, 1, 1500], [65535, 0, 20000]], np.uint16)
    msg = as_message(library, millimetres, encoding, padding=2, big=big)
    result = depth_from_image(msg)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[np.nan, 0.001, 1.5], [65.535, np.nan, 20.0]], rtol=1e-6)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_labels_are_passed_on(library, encoding):
    labels = np.array([[0, 18, 255], [7, 7, 1]], np.uint8)
    result = labels_from_image(as_message(library, labels, encoding, padding=1))
    np.testing.assert_array_equal(result, labels)


def test_a_picture_is_neither_depth_nor_labels(library):
    msg = as_message(library, np.zeros((2, 2, 3), np.uint8), "rgb8")
    with pytest.raises(MessageError, match="'rgb8' is no depth image: 32FC1"):
        depth_from_image(msg)
    with pytest.raises(MessageError, match="'rgb8' is no label image: mono8"):
        labels_from_image(msg)
