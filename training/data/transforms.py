"""Augmentation that keeps metric depth true.

The network works at one canonical focal length. An image resized by s has a focal length s times as long, in which
things look s times nearer: true depth Z becomes the canonical depth Z * fx_canonical / (s * fx). So a resized or
cropped scene keeps its metres once depth is scaled back by the camera's own focal length: scale augmentation teaches
that.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.config import DataConfig, EngineConfig
from training.data.sample import IGNORE, Sample

GREY = 127  # the middle of the network's input range


@dataclass(frozen=True)
class TrainingTransform:
    """Random scale, roll, crop, mirror and colour; targets at half the crop's size, where the losses look."""

    data: DataConfig
    engine: EngineConfig

    def __call__(self, sample: Sample, rng: np.random.Generator) -> dict[str, NDArray]:
        """Draw one variation of a sample.

        Returns:
            image uint8 [h, w, 3]; labels uint8 [h/2, w/2], 255 = ignore; depth float32 [h/2, w/2], canonical metres,
            NaN = unknown.
        """
        height, width = sample.image.shape[:2]
        smallest, largest = self.data.scale
        scale = math.sqrt(self.engine.pixels / (height * width)) * math.exp(
            rng.uniform(math.log(smallest), math.log(largest))
        )
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        roll = rng.uniform(-self.data.roll, self.data.roll) if self.data.roll else 0.0
        window = _Window.draw(size, self.data.crop, rng)
        mirrored = rng.random() < self.data.flip

        image = cv2.resize(sample.image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        image = window.cut(rolled(image, roll, GREY), GREY)
        labels = np.full(window.crop, IGNORE, np.uint8)
        if sample.labels is not None:
            resized = cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST)
            labels = window.cut(rolled(resized, roll, IGNORE), IGNORE)
        depth = np.full(window.crop, np.nan, np.float32)
        if sample.depth is not None:
            canonical = sample.depth * np.float32(self.engine.fx / (sample.fx * scale))
            canonical = cv2.resize(canonical, size, interpolation=cv2.INTER_NEAREST)
            depth = window.cut(rolled(canonical, roll, np.nan), np.nan)
        labels, depth = labels[::2, ::2], depth[::2, ::2]
        if mirrored:
            image, labels, depth = image[:, ::-1], labels[:, ::-1], depth[:, ::-1]
        return {
            "image": vary_colour(np.ascontiguousarray(image), self.data.colour, rng),
            "labels": np.ascontiguousarray(labels),
            "depth": np.ascontiguousarray(depth),
        }


@dataclass(frozen=True)
class _Window:
    """Where a crop lies: in the image where that is larger, with padding round the image where it is smaller."""

    crop: tuple[int, int]
    source: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def draw(cls, size: tuple[int, int], crop: tuple[int, int], rng: np.random.Generator) -> "_Window":
        spare = (size[1] - crop[0], size[0] - crop[1])
        top, left = (int(rng.integers(max(extra, 0) + 1)) for extra in spare)
        y, x = (int(rng.integers(max(-extra, 0) + 1)) for extra in spare)
        return cls(crop, (top, left), (y, x))

    def cut(self, values: NDArray, padding: float) -> NDArray:
        result = np.full(self.crop + values.shape[2:], padding, values.dtype)
        (top, left), (y, x) = self.source, self.target
        part = values[top : top + self.crop[0] - y, left : left + self.crop[1] - x]
        result[y : y + part.shape[0], x : x + part.shape[1]] = part
        return result


def rolled(values: NDArray, degrees: float, padding: float) -> NDArray:
    """An image [H, W, 3], labels or depth [H, W] as the camera sees them, rolled about its optical axis.

    That goes through the middle of the image. Depth is measured along it, so it does not change.
    """
    if degrees == 0:
        return values
    height, width = values.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    method = cv2.INTER_LINEAR if values.ndim == 3 else cv2.INTER_NEAREST
    return np.asarray(cv2.warpAffine(values, turn, (width, height), flags=method, borderValue=(padding,) * 3))


def vary_colour(image: NDArray[np.uint8], strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Saturation, then brightness, contrast and gamma as one look-up table, each up to `strength` either way."""
    if strength == 0:
        return image
    saturation, brightness, contrast, gamma = 1 + strength * rng.uniform(-1, 1, 4)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    saturated = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    levels = np.linspace(0, 1, 256) ** gamma
    levels = np.clip((levels - 0.5) * contrast + 0.5, 0, 1) * brightness
    return np.asarray(cv2.LUT(saturated, np.clip(np.round(255 * levels), 0, 255).astype(np.uint8)), np.uint8)
