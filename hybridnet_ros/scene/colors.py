"""Pictures of depth and labels for people."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

SHOWN_DEPTH = (1.0, 80.0)
"""Metres at the near and the far end of the depth colours, where nothing better is known."""

# Codes of a depth picture: three for what is not a depth, the others from far to near.
_NONE, _BEYOND, _TOO_NEAR, _FARTHEST = 0, 1, 2, 3
_NONE_COLOR, _BEYOND_COLOR, _TOO_NEAR_COLOR = (0, 0, 0), (38, 50, 64), (255, 255, 255)


def colorize_labels(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels uint8 [H, W] in the colours of `palette` uint8 [256, 3] rgb, as uint8 [H, W, 3] rgb."""
    return _look_up(labels, palette)


def colorize_depth(
    depth: NDArray[np.float32], minimum: float = SHOWN_DEPTH[0], maximum: float = SHOWN_DEPTH[1]
) -> NDArray[np.uint8]:
    """Depth float32 [H, W] in metres as uint8 [H, W, 3] rgb: near is bright yellow, far is dark violet.

    Equal ratios of depth are equal steps of colour, from `minimum` to `maximum` metres; depths outside are shown as the
    nearest of the two. NaN is black, +Inf (beyond range) slate, -Inf (too near) white.
    """
    nearness = np.log(np.float32(maximum) / np.clip(depth, np.float32(minimum), np.float32(maximum)))
    nearness *= np.float32((255 - _FARTHEST) / np.log(maximum / minimum))
    nearness += np.float32(_FARTHEST + 0.5)
    infinite = np.isinf(depth)
    codes = np.nan_to_num(nearness, copy=False, nan=_NONE).astype(np.uint8)
    if infinite.any():
        codes[infinite] = np.where(depth[infinite] > 0, _BEYOND, _TOO_NEAR)
    return _look_up(codes, _depth_palette())


def overlay(rgb: NDArray[np.uint8], color: NDArray[np.uint8], alpha: float = 0.5) -> NDArray[np.uint8]:
    """`color` laid over `rgb`, both uint8 [H, W, 3]; `alpha` 0 shows only `rgb`, 1 only `color`."""
    return np.asarray(cv2.addWeighted(rgb, 1 - alpha, color, alpha, 0), np.uint8)


@lru_cache(maxsize=1)
def _depth_palette() -> NDArray[np.uint8]:
    # Inferno brightens evenly; its darkest part is left out, so that far away is not taken for black, no depth.
    levels = np.linspace(48, 255, 256 - _FARTHEST).round().astype(np.uint8)
    palette = np.empty((256, 3), np.uint8)
    palette[_NONE], palette[_BEYOND], palette[_TOO_NEAR] = _NONE_COLOR, _BEYOND_COLOR, _TOO_NEAR_COLOR
    palette[_FARTHEST:] = cv2.applyColorMap(levels[:, np.newaxis], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    return palette


def _look_up(codes: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # A look-up table of three channels: several times faster than palette[codes].
    return np.asarray(cv2.LUT(cv2.cvtColor(codes, cv2.COLOR_GRAY2RGB), palette[np.newaxis]), np.uint8)
