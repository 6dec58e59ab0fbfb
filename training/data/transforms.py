"""Augmentation that keeps metric depth true.

The network works at one canonical focal length. An image resized by s has a focal length s times as long, in which
things look s times nearer: true depth Z becomes the canonical depth Z * fx_canonical / (s * fx). So a resized or
cropped scene keeps its metres once depth is scaled back by the camera's own focal length: scale augmentation teaches
that.

A camera that turns about its own centre sees the same points, each along another ray, whatever their depth: a turned
image is a warped one, and its depth is what lies along the turned optical axis (Zhao, Kong and Fowlkes, CVPR 2021).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.scene.resize import whole_step
from training.config import DataConfig, EngineConfig
from training.data.sample import IGNORE, Sample

GREY = 127  # the middle of the network's input range


@dataclass(frozen=True)
class TrainingTransform:
    """Random scale, turn, crop, mirror and colour; targets at half the crop's size, where the losses look."""

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
        most = (self.data.roll, self.data.pitch, self.data.yaw)
        roll, pitch, yaw = (rng.uniform(-degrees, degrees) if degrees else 0.0 for degrees in most)
        view = View.draw(size, Turn(roll, pitch, yaw), sample.fx * scale, self.data.crop, rng)
        mirrored = rng.random() < self.data.flip

        image = view.image(sample.image)
        labels = np.full(view.grid, IGNORE, np.uint8)
        if sample.labels is not None:
            labels = view.labels(sample.labels)
        depth = np.full(view.grid, np.nan, np.float32)
        if sample.depth is not None:
            canonical = sample.depth * np.float32(self.engine.fx / (sample.fx * scale))
            depth = view.depth(canonical)
        if mirrored:
            image, labels, depth = image[:, ::-1], labels[:, ::-1], depth[:, ::-1]
        return {
            "image": vary_colour(np.ascontiguousarray(image), self.data.colour, rng),
            "labels": np.ascontiguousarray(labels),
            "depth": np.ascontiguousarray(depth),
        }


class Turn(NamedTuple):
    """How far a camera is turned about its own centre, degrees; in its optical frame (REP 103)."""

    roll: float = 0.0  # clockwise
    pitch: float = 0.0  # upwards
    yaw: float = 0.0  # to the right

    def matrix(self) -> NDArray[np.float64]:
        """From a direction in the camera's frame to the same in the frame of the turned camera."""
        (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in map(math.radians, self))
        about_z = np.array([(cr, sr, 0), (-sr, cr, 0), (0, 0, 1)])
        about_x = np.array([(1, 0, 0), (0, cp, sp), (0, -sp, cp)])
        about_y = np.array([(cy, 0, -sy), (0, 1, 0), (sy, 0, cy)])
        return np.asarray(about_z @ about_x @ about_y, np.float64)


@dataclass(frozen=True)
class View:
    """What a crop shows of a sample, which is resized, seen by a turned camera, and cut; beside it, padding.

    The optical axis goes through the middle of the image.

    Image and targets are each taken from the sample in one step. Of targets that are resized, turned and halved one
    after the other, each to the nearest, each step moves them by up to half a pixel, and a network learns to answer
    beside the edges that it sees; an image is blurred by each step, and cut by its own frame before it is turned.

    Attributes:
        size: width and height that the sample is resized to.
        turn: how the camera is turned then.
        focal_length: px at that size.
        crop: (height, width) px of what is cut from that.
        corner: (x, y) px of the crop's first pixel there; negative where it begins with padding.
    """

    size: tuple[int, int]
    turn: Turn
    focal_length: float
    crop: tuple[int, int]
    corner: tuple[int, int]

    @classmethod
    def draw(
        cls, size: tuple[int, int], turn: Turn, focal_length: float, crop: tuple[int, int], rng: np.random.Generator
    ) -> "View":
        """A crop somewhere in the image, or with the image somewhere in it where that is smaller."""
        spare = (size[0] - crop[1], size[1] - crop[0])
        x, y = (int(rng.integers(min(extra, 0), max(extra, 0) + 1)) for extra in spare)
        return cls(size, turn, focal_length, crop, (x, y))

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the targets."""
        return self.crop[0] // 2, self.crop[1] // 2

    def image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop of an image [H, W, 3], as sharp as `scene.resize` makes it for an engine; padding is grey."""
        across, down = image.shape[1], image.shape[0]
        step = whole_step((across, down), self.size)
        if step != (across, down):
            image = np.asarray(cv2.resize(image, step, interpolation=cv2.INTER_AREA), np.uint8)
        return self._warped(image, self.crop, 1, cv2.INTER_LINEAR, (GREY,) * 3)

    def labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels [H, W] at the middles of the targets' cells, none mixed with its neighbours; padding is ignored."""
        return self._warped(labels, self.grid, 2, cv2.INTER_NEAREST, IGNORE)

    def depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth [H, W], as `labels`, along the turned camera's axis; padding is NaN."""
        warped = self._warped(depth, self.grid, 2, cv2.INTER_NEAREST, np.nan)
        # Of what lies at depth 1 for the turned camera, the depth for the other.
        across, down, here = self._to_sample((depth.shape[1], depth.shape[0]), 2)[2]
        rows, columns = np.ogrid[: self.grid[0], : self.grid[1]]
        return np.asarray(warped / (across * columns + down * rows + here), np.float32)

    def _warped(self, values: NDArray, shape: tuple[int, int], cell: int, method: int, padding: Any) -> NDArray:
        to_sample = self._to_sample((values.shape[1], values.shape[0]), cell)
        flags = method | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(values, to_sample, shape[::-1], flags=flags, borderValue=padding))

    def _to_sample(self, sample: tuple[int, int], cell: int) -> NDArray[np.float64]:
        """From a cell (column, row, 1) of so many pixels of the crop to the pixel w * (x, y, 1) of the sample it shows.

        Whole numbers are the middles of pixels and cells; `sample` is its width and height. w is the depth, for the
        camera as it was, of what the turned one has at depth 1.
        """
        x, y = self.corner
        to_turned = np.array([(cell, 0, x + (cell - 1) / 2), (0, cell, y + (cell - 1) / 2), (0, 0, 1)])
        f, middle = self.focal_length, [(side - 1) / 2 for side in self.size]
        camera = np.array([(f, 0, middle[0]), (0, f, middle[1]), (0, 0, 1)])
        to_straight = camera @ self.turn.matrix().T @ np.linalg.inv(camera)
        across, down = sample[0] / self.size[0], sample[1] / self.size[1]
        to_sample = np.array([(across, 0, (across - 1) / 2), (0, down, (down - 1) / 2), (0, 0, 1)])
        return np.asarray(to_sample @ to_straight @ to_turned, np.float64)


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
