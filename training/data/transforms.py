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
        image = window.cut(rolled(np.asarray(image, np.uint8), roll), GREY)
        cells = _cells((height, width), size, roll, window)
        labels = np.full(window.grid, IGNORE, np.uint8)
        if sample.labels is not None:
            labels = window.pick(sample.labels, cells, IGNORE)
        depth = np.full(window.grid, np.nan, np.float32)
        if sample.depth is not None:
            canonical = sample.depth * np.float32(self.engine.fx / (sample.fx * scale))
            depth = window.pick(canonical, cells, np.nan)
        if mirrored:
            image, labels, depth = image[:, ::-1], labels[:, ::-1], depth[:, ::-1]
        return {
            "image": vary_colour(np.ascontiguousarray(image), self.data.colour, rng),
            "labels": np.ascontiguousarray(labels),
            "depth": np.ascontiguousarray(depth),
        }


@dataclass(frozen=True)
class _Window:
    """Where a crop lies: in the image where that is larger, with padding round the image where it is smaller.

    Attributes:
        crop: (height, width) px.
        source: (top, left) px of what is cut, in the image.
        target: (top, left) px of where that goes, in the crop.
    """

    crop: tuple[int, int]
    source: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def draw(cls, size: tuple[int, int], crop: tuple[int, int], rng: np.random.Generator) -> "_Window":
        spare = (size[1] - crop[0], size[0] - crop[1])
        top, left = (int(rng.integers(max(extra, 0) + 1)) for extra in spare)
        y, x = (int(rng.integers(max(-extra, 0) + 1)) for extra in spare)
        return cls(crop, (top, left), (y, x))

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the targets."""
        return self.crop[0] // 2, self.crop[1] // 2

    def pick(self, values: NDArray, cells: NDArray[np.float64], padding: float) -> NDArray:
        """Labels or depth [H, W] at the middles of the targets' cells, none mixed with its neighbours."""
        method = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(values, cells[:2], self.grid[::-1], flags=method, borderValue=padding))

    def cut(self, values: NDArray, padding: float) -> NDArray:
        result = np.full(self.crop + values.shape[2:], padding, values.dtype)
        (top, left), (y, x) = self.source, self.target
        part = values[top : top + self.crop[0] - y, left : left + self.crop[1] - x]
        result[y : y + part.shape[0], x : x + part.shape[1]] = part
        return result


def rolled(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """An image [H, W, 3] as the camera sees it, rolled about its optical axis.

    That goes through the middle of the image. Depth is measured along it, so it does not change.
    """
    if degrees == 0:
        return image
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, _roll(size, degrees)[:2], size, borderValue=(GREY,) * 3), np.uint8)


def _roll(size: tuple[int, int], degrees: float) -> NDArray[np.float64]:
    """From a pixel (x, y, 1) of an image of (width, height) to where it is once the camera is rolled."""
    turn = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), degrees, 1.0)
    return np.vstack([turn, (0, 0, 1)])


def _cells(sample: tuple[int, int], size: tuple[int, int], roll: float, window: _Window) -> NDArray[np.float64]:
    """From a cell (column, row, 1) of the targets' grid to the pixel (x, y, 1) of the sample that its middle shows.

    Whole numbers are the middles of pixels and cells. Every step from sample to crop is taken back at once: of targets
    that are resized, rolled and halved one after the other, each to the nearest, each step moves them by up to half a
    pixel, and a network learns to answer beside the edges that it sees.

    Args:
        sample: its height and width.
        size: width and height that it is resized to.
        roll: degrees that it is then rolled by.
        window: what is cut from that.
    """
    (top, left), (y, x) = window.source, window.target
    to_rolled = np.array([(2, 0, left - x + 0.5), (0, 2, top - y + 0.5), (0, 0, 1)])
    across, down = sample[1] / size[0], sample[0] / size[1]
    to_sample = np.array([(across, 0, (across - 1) / 2), (0, down, (down - 1) / 2), (0, 0, 1)])
    return np.asarray(to_sample @ np.linalg.inv(_roll(size, roll)) @ to_rolled, np.float64)


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
