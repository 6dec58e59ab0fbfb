"""How steady predictions are from one frame to the next."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.perception import View

_STEADY_WIDTH = 320  # px, about; optical flow on more costs as much as a network
_LEAST_SIDE = 16  # px; optical flow finds nothing in less
_SAME_PLACE = 12  # grey levels that a pixel may differ from where flow says it was; beyond it was hidden
_WAY_BACK = 1.0  # px by which flow there and back again may miss the pixel it started from


class Steadiness:
    """Compares each frame with the one before, moved along with the image by optical flow."""

    def __init__(self) -> None:
        """The first frame has none before it."""
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: tuple[NDArray, NDArray, NDArray] | None = None

    def add(self, rgb: NDArray[np.uint8], view: View) -> tuple[float | None, float | None]:
        """Share of labels that stayed and median |ln| of the change of depth; None for what cannot be compared.

        The change of depth includes how the camera itself came nearer in between.
        """
        step = max(1, round(view.labels.shape[1] / _STEADY_WIDTH))
        height, width = (side // step for side in view.labels.shape)
        if min(height, width) < _LEAST_SIDE:
            self._before = None
            return None, None
        # Whole blocks of pixels are averaged several times faster than any others.
        grey = cv2.cvtColor(rgb[: height * step, : width * step], cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        middles = slice(step // 2, height * step, step), slice(step // 2, width * step, step)
        labels, depth = view.labels[middles], view.depth[middles]
        before, self._before = self._before, (grey, labels.copy(), depth.copy())
        if before is None or before[0].shape != grey.shape:
            return None, None
        flow = self._flow.calc(grey, before[0], None)
        places, none = flow + _places(width, height), cast(Any, None)
        from_x, from_y = places[..., 0], places[..., 1]
        moved = cv2.remap(before[0], places, none, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        same_place = cv2.absdiff(grey, moved) < _SAME_PLACE
        same_place &= (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
        back = cv2.remap(self._flow.calc(before[0], grey, None), places, none, cv2.INTER_LINEAR)
        same_place &= np.hypot(*np.moveaxis(flow + back, -1, 0)) < _WAY_BACK
        count = np.count_nonzero(same_place)
        if not count:
            return None, None
        labels_then, then = (
            cv2.remap(each, places, none, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE) for each in before[1:]
        )
        steady = np.count_nonzero(same_place & (labels == labels_then)) / count
        both = same_place & np.isfinite(depth) & np.isfinite(then) & (depth > 0) & (then > 0)
        change = float(np.median(np.abs(np.log(depth[both] / then[both])))) if both.any() else None
        return steady, change


@lru_cache(maxsize=4)
def _places(width: int, height: int) -> NDArray[np.float32]:
    """Column and row of each pixel: float32 [height, width, 2]."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
