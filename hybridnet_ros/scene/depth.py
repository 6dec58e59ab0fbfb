"""Depth images as ROS wants them (REP-117, REP-118): what is out of range, and millimetres."""

from __future__ import annotations

from collections.abc import Sequence

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
    if depth.ndim < 2 or not depth.flags.c_contiguous:
        _limit(depth, minimum, maximum, labels, beyond)
        return depth
    rows = depth.reshape(-1, depth.shape[-1])
    label_rows = None if labels is None else labels.reshape(rows.shape)
    # In strips that stay in the processor's cache from one pass to the next: half the time for a 720p image.
    height = max(1, _STRIP_PIXELS // max(1, rows.shape[1]))
    for top in range(0, len(rows), height):
        strip = slice(top, top + height)
        _limit(rows[strip], minimum, maximum, None if label_rows is None else label_rows[strip], beyond)
    return depth


def _limit(
    depth: NDArray[np.float32],
    minimum: float,
    maximum: float,
    labels: NDArray[np.uint8] | None,
    beyond: Sequence[int],
) -> None:
    far = depth > np.float32(maximum)
    if labels is not None:
        for label in beyond:
            beyond_range = labels == label
            beyond_range &= depth == depth  # NaN is not equal to itself
            far |= beyond_range
    if depth.size and not depth.min() >= minimum:  # hardly ever: or it is NaN, which says nothing of the others
        _set(depth, depth < np.float32(minimum), -np.inf)
    _set(depth, far, np.inf)


def _set(depth: NDArray[np.float32], where: NDArray[np.bool_], value: float) -> None:
    if not where.any():
        return
    if depth.ndim < 2 or not depth.flags.c_contiguous:
        depth[where] = value
        return
    # NumPy goes through masked pixels one by one, up to 8 ms for half a 720p image of sky; OpenCV takes 0.3 ms.
    cv2.copyTo(np.full_like(depth, value), where.view(np.uint8), depth)


def depth_to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres to uint16 millimetres (16UC1); 0, which means invalid, where not finite, negative or over 65.535 m."""
    millimetres = np.rint(depth * np.float32(1000))
    valid = (millimetres >= 0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(valid, millimetres, np.float32(0)).astype(np.uint16)
