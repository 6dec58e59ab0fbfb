"""The same pixels give the same picture, and the same depth and labels, however an Image message carries them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridnet_ros.engine import Engine, open_engine
from hybridnet_ros.engine.perception import perceive
from hybridnet_ros.messages import ENCODINGS, to_rgb
from tiny import write_tiny_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(write_tiny_engine(tmp_path_factory.mktemp("engine")), threads=1) as opened:
        yield opened


def message(rows: np.ndarray, height: int, encoding: str, padding: int = 0, swap: bool = False) -> SimpleNamespace:
    """An Image of `rows` [R, W * C], each followed by `padding` bytes of rubbish, in this byte order or the other."""
    values = rows.astype(rows.dtype.newbyteorder()) if swap else rows
    lines = np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), -1)
    rubbish = np.full((len(rows), padding), 0xA5, np.uint8)
    width = rows.shape[1] // ENCODINGS[encoding].channels
    data = np.hstack([lines, rubbish]).reshape(-1)
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=int(swap), step=lines.shape[1] + padding, data=data
    )


def assert_same(engine: Engine, first: np.ndarray, second: np.ndarray, what: str) -> None:
    np.testing.assert_array_equal(first, second, what)
    views = [perceive(engine, rgb, 100.0, 0.1, 80.0) for rgb in (first, second)]
    for name in ("depth", "labels", "confidence"):
        np.testing.assert_array_equal(*(getattr(view, name) for view in views), f"{name} of {what}")


RELAXED = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
sizes = st.tuples(st.integers(1, 40), st.integers(1, 30))
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "nv24"])
@RELAXED
@given(half=sizes, padding=st.integers(0, 13), swap=st.booleans(), seed=seeds)
def test_padding_and_byte_order_do_not_matter(
    engine: Engine, encoding: str, half: tuple[int, int], padding: int, swap: bool, seed: int
) -> None:
    width, height = 2 * half[0], 2 * half[1]
    kind = ENCODINGS[encoding]
    lines = height * 3 // 2 if kind.planes else height
    limits = np.iinfo(kind.dtype)
    random = np.random.default_rng(seed)
    rows = random.integers(0, limits.max, (lines, width * kind.channels), kind.dtype, endpoint=True)
    plain = to_rgb(message(rows, height, encoding))
    assert plain.shape == (height, width, 3)
    wide = padding * np.dtype(kind.dtype).itemsize
    for odd in (wide, padding):
        assert_same(engine, plain, to_rgb(message(rows, height, encoding, odd, swap)), f"{encoding}, {odd} bytes more")


@RELAXED
@given(half=sizes, padding=st.integers(0, 13), seed=seeds)
def test_rgb_in_any_order_is_the_same_picture(engine: Engine, half: tuple[int, int], padding: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (half[1], half[0], 3), np.uint8)
    alpha = random.integers(0, 256, (half[1], half[0], 1), np.uint8)
    orders = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "8UC3": rgb[..., ::-1],
        "rgba8": np.dstack([rgb, alpha]),
        "bgra8": np.dstack([rgb[..., ::-1], alpha]),
        "8UC4": np.dstack([rgb[..., ::-1], alpha]),
    }
    # 16 bits of which the upper and the lower eight are alike are exactly as bright.
    orders |= {
        name.replace("8", "16"): pixels.astype(np.uint16) * 257 for name, pixels in orders.items() if "U" not in name
    }
    for encoding, pixels in orders.items():
        one = to_rgb(message(pixels.reshape(len(pixels), -1), half[1], encoding, padding))
        assert_same(engine, np.ascontiguousarray(one), rgb, encoding)
    png = cv2.imencode(".png", rgb[..., ::-1])[1].reshape(-1)
    assert_same(engine, to_rgb(SimpleNamespace(format="rgb8; png compressed bgr8", data=png)), rgb, "png")


@RELAXED
@given(half=sizes, seed=seeds)
def test_grey_in_any_encoding_is_the_same_picture(engine: Engine, half: tuple[int, int], seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, half, np.uint8)
    expected = np.repeat(grey[..., None], 3, axis=2)
    for encoding in ("mono8", "8UC1"):
        assert_same(engine, to_rgb(message(grey, half[0], encoding)), expected, encoding)
    assert_same(engine, to_rgb(message(grey.astype(np.uint16) * 257, half[0], "mono16")), expected, "mono16")


@RELAXED
@given(half=sizes, padding=st.integers(0, 13), seed=seeds)
def test_brightness_and_color_in_any_order_are_the_same_picture(
    engine: Engine, half: tuple[int, int], padding: int, seed: int
) -> None:
    width, height = 2 * half[0], 2 * half[1]
    random = np.random.default_rng(seed)
    pairs = random.integers(0, 256, (height, width, 2), np.uint8)  # uyvy
    swapped = pairs[..., ::-1]  # yuyv
    one = to_rgb(message(pairs.reshape(height, -1), height, "uyvy", padding))
    for encoding, pixels in (("yuv422", pairs), ("yuyv", swapped), ("yuv422_yuy2", swapped)):
        assert_same(engine, to_rgb(message(pixels.reshape(height, -1), height, encoding)), one, encoding)

    brightness = random.integers(0, 256, (height, width), np.uint8)
    colors = random.integers(0, 256, (height // 2, width // 2, 2), np.uint8)
    planes = [np.vstack([brightness, order.reshape(height // 2, width)]) for order in (colors, colors[..., ::-1])]
    nv12 = to_rgb(message(planes[0], height, "nv12", padding))
    assert_same(engine, to_rgb(message(planes[1], height, "nv21")), nv12, "nv21")
    # nv24 has a colour for each pixel: those of nv12 four times over. Its colour rows take two steps each.
    step = width + padding
    data = np.full((3 * height, step), 0xA5, np.uint8)
    data[:height, :width] = brightness
    data[height:].reshape(height, 2 * step)[:, : 2 * width] = colors.repeat(2, 0).repeat(2, 1).reshape(height, -1)
    image = SimpleNamespace(
        height=height, width=width, encoding="nv24", is_bigendian=0, step=step, data=data.reshape(-1)
    )
    assert_same(engine, to_rgb(image), nv12, "nv24")
