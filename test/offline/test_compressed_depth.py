"""Depth as image_transport's compressedDepth writes it, in bytes that are put together here, without OpenCV.

compressed_depth_image_transport: 12 bytes (the kind of compression as int32, two float32 parameters a and b), then a
PNG of 16 bit grey. 16UC1 is millimetres as they are. 32FC1 is the inverse of depth: stored = a / depth + b, cut off to
a whole number, with a = q (q + 1) and b = 1 - a / farthest for the quantisation q; 0 is no depth.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recordings import DEPTH, FRAME, IMAGE, INFO, Recording, picture, true_depth

QUANTISATION, FARTHEST = 100.0, 100.0
A = QUANTISATION * (QUANTISATION + 1)
B = 1 - A / FARTHEST


def png16(values: np.ndarray) -> bytes:
    """A PNG of uint16 [H, W] by the standard: signature, IHDR, IDAT with unfiltered rows, IEND."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def compressed_depth(depth: np.ndarray, encoding: str) -> tuple[bytes, np.ndarray]:
    """The bytes, and the depth that a reader is to find in them, float64 with NaN for none."""
    stored = np.zeros(depth.shape, np.uint16)
    known = np.isfinite(depth) & (depth < FARTHEST)
    if encoding == "16UC1":
        known &= depth < 65.5
        stored[known] = np.rint(depth[known] * 1000)
        found = stored / 1000.0
    else:
        stored[known] = (A / depth[known] + B).astype(np.uint16)
        found = np.zeros(depth.shape)
        found[stored > 0] = A / (stored[stored > 0] - B)
    return struct.pack("<iff", 0, A, B) + png16(stored), np.where(stored > 0, found, np.nan)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_compressed_depth_is_a_reference(evaluate_bag: Callable[..., Any], tmp_path: Path, encoding: str) -> None:
    for name in ("packed", "plain"):
        with Recording(tmp_path / name) as bag:
            for n in range(3):
                bag.info(INFO, n / 10, fx=160.0)
                bag.image(IMAGE, n / 10, picture(n), "rgb8")
                data, found = compressed_depth(true_depth(n).astype(np.float64), encoding)
                if name == "plain":
                    bag.image(DEPTH, n / 10, found.astype(np.float32), "32FC1")
                else:
                    fields = {"format": f"{encoding}; compressedDepth png", "data": np.frombuffer(data, np.uint8)}
                    bag.write(f"{DEPTH}/compressedDepth", n / 10, "sensor_msgs/msg/CompressedImage", FRAME, **fields)
    packed = evaluate_bag(tmp_path / "packed", "--depth-topic", f"{DEPTH}/compressedDepth", output="one")
    assert packed.code == 0, packed.said
    plain = evaluate_bag(tmp_path / "plain", "--depth-topic", DEPTH, output="two")
    got, expected = packed.evaluation.total.depth, plain.evaluation.total.depth
    assert got.pixels + got.missing > 3 * 20_000
    assert vars(got) == pytest.approx(vars(expected), rel=1e-5)


def test_compressed_depth_that_is_cut_off_is_a_reference_less(evaluate_bag: Callable[..., Any], tmp_path: Path) -> None:
    with Recording(tmp_path / "drive") as bag:
        for n, length in enumerate((None, 200, 7)):
            bag.info(INFO, n / 10, fx=160.0)
            bag.image(IMAGE, n / 10, picture(n), "rgb8")
            data = compressed_depth(true_depth(n).astype(np.float64), "16UC1")[0][:length]
            bag.write(DEPTH, n / 10, "sensor_msgs/msg/CompressedImage", FRAME, format="16UC1; compressedDepth png",
                      data=np.frombuffer(data, np.uint8))  # fmt: skip
    outcome = evaluate_bag(tmp_path / "drive", "--depth-topic", DEPTH)
    assert outcome.code == 0, outcome.said
    assert outcome.evaluation.total.depth_matches.unmatched == 2
    problems = " ".join(outcome.evaluation.streams[0].problems)
    assert "cut off: 7 bytes" in problems
    assert "16-bit grey PNG expected" in problems
