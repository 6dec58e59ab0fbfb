"""Resizing between a camera's size and a network's, as every engine does it: images there, depth and labels back."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_images(images: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Images uint8 [N, H, W, 3] as [N, height, width, 3], contiguous; the same memory if nothing is to be done."""
    if images.shape[1:3] == (height, width):
        return np.ascontiguousarray(images)
    if images.shape[1:3] == (1, 1):  # OpenCV 4.5 cannot resize one pixel
        return np.repeat(np.repeat(images, height, 1), width, 2)
    resized = np.empty((len(images), height, width, 3), np.uint8)
    size = images.shape[2], images.shape[1]
    step = whole_step(size, (width, height))
    for source, target in zip(images, resized, strict=True):
        if step != size:
            source = cv2.resize(source, step, interpolation=cv2.INTER_AREA)
        cv2.resize(source, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
    return resized


def whole_step(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) px to which an image is shrunk by averaging, before it is interpolated to `target`."""
    # Bilinear interpolation reads 2 x 2 px: where it shrinks by more than 2 it skips pixels, and edges flicker.
    # Shrinking by a whole factor first averages every pixel, at a fraction of the cost of INTER_AREA all the way.
    factor = max(1, min(size[0] // target[0], size[1] // target[1]))
    return size[0] // factor, size[1] // factor


def resize_depth(depth: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Depth float32 [N, H, W] as [N, height, width], bilinear, in fresh memory."""
    return _resize_maps(depth, width, height, cv2.INTER_LINEAR)


def resize_labels(labels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Labels, or anything that must not be mixed, uint8 [N, H, W] as [N, height, width], nearest, in fresh memory."""
    # Not INTER_NEAREST, which measures from the pixels' corners and so moves everything by half an output pixel.
    return _resize_maps(labels, width, height, cv2.INTER_NEAREST_EXACT)


def _resize_maps(maps: NDArray, width: int, height: int, interpolation: int) -> NDArray:
    resized = np.empty((len(maps), height, width), maps.dtype)
    for source, target in zip(maps, resized, strict=True):
        cv2.resize(source, (width, height), dst=target, interpolation=interpolation)
    return resized
