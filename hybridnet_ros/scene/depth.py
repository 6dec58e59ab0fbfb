"""Depth images as ROS wants them (REP-117, REP-118): what is out of range, and millimetres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
    np.copyto(depth, np.float32(-np.inf), where=depth < minimum)
    np.copyto(depth, np.float32(np.inf), where=depth > maximum)
    if labels is not None:
        for label in beyond:
            np.maximum(depth, np.float32(np.inf), out=depth, where=labels == label)  # maximum lets NaN pass
    return depth


def depth_to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres to uint16 millimetres (16UC1); 0, which means invalid, where not finite, negative or over 65.535 m."""
    millimetres = np.rint(depth * np.float32(1000))
    valid = (millimetres >= 0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(valid, millimetres, np.float32(0)).astype(np.uint16)
