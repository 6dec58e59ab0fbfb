"""Depth images as ROS wants them (REP-117, REP-118): what is out of range, and millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP_PIXELS = 1 << 17


def limit_depth(
    depth: NDArray[np.float32],
    minimum: float,
    maximum: float,
    labels: NDArray[np.uint8] | None = None,
    beyond: Sequence[int] = (),
) -> NDArray[np.float32]:
    """Marks what is out of range: -Inf nearer than `minimum`, +Inf farther than `maximum` or of a class in `beyond`.

    Args:
        depth: float32, metres, any shape; changed in place and returned. NaN, no estimate, stays NaN.
        minimum: nearest depth to report, metres.
        maximum: farthest depth to report, metres.
        labels: uint8 class ids, same shape; needed for `beyond`.
        beyond: class ids that are out of range by nature, like sky.
    """
    if not depth.flags.c_contiguous:
        depth[...] = limit_depth(np.ascontiguousarray(depth), minimum, maximum, labels, beyond)
        return depth
    flat, flat_labels = depth.reshape(-1), None if labels is None else labels.reshape(-1)
    # In strips that stay in the processor's cache from one pass to the next: half the time for a 720p image.
    for start in range(0, flat.size, _STRIP_PIXELS):
        strip = slice(start, start + _STRIP_PIXELS)
        _limit(flat[strip], minimum, maximum, None if flat_labels is None else flat_labels[strip], beyond)
    return depth


def _limit(
    depth: NDArray[np.float32],
    minimum: float,
    maximum: float,
    labels: NDArray[np.uint8] | None,
    beyond: Sequence[int],
) -> None:
    """The same for a strip, float32 [pixels]; what is all in range is only read. Each pass over the pixels counts."""
    nearest = depth.min()  # NaN if one of them is
    far = depth > np.float32(maximum)
    if labels is not None:
        for label in beyond:
            np.logical_or(far, labels == label, out=far)
    if not nearest >= minimum:
        _set(depth, depth < np.float32(minimum), -np.inf)
        if nearest != nearest:
            far &= depth == depth  # NaN is not equal to itself
    _set(depth, far, np.inf)


def _set(depth: NDArray[np.float32], where: NDArray[np.bool_], value: float) -> None:
    if where.any():
        # NumPy goes through masked pixels one by one, up to 8 ms for half a 720p image of sky; OpenCV takes 0.3 ms.
        cv2.copyTo(_strip_of(value)[: depth.size], where.view(np.uint8), depth)


@lru_cache(maxsize=2)
def _strip_of(value: float) -> NDArray[np.float32]:
    return np.full(_STRIP_PIXELS, value, np.float32)


def depth_to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres to uint16 millimetres (16UC1); 0, which means invalid, where not finite, negative or over 65.535 m."""
    millimetres = np.rint(depth * np.float32(1000))
    valid = (millimetres >= 0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(valid, millimetres, np.float32(0)).astype(np.uint16)
