"""Whether an engine's metres hold when the same scene is resized or cropped.

    python -m training.focal driving --data DATA
    python -m training.focal indoor --data DATA --output focal.json

An image that is enlarged, shrunk or cropped was taken, as it were, by another camera in the same place: its focal
length in pixels is known, so the metres have to stay. Each view of a frame is seen by itself and compared, pixel by
pixel, with what the engine sees in the whole frame; no truth is needed. The frames are some of the config's
`validation.sequence`, or where it has none, of the images that its depth is scored on.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.perception import View, perceive
from training.command import reports
from training.config import ConfigError, ValidationConfig
from training.data.sample import DataError, image_names, read_image
from training.data.sources import open_truth
from training.panel import spread
from training.sequence import FARTHEST, NEAREST, look_at_sequence

FRAMES = 10


class Sight(NamedTuple):
    """A part of an image at another size: the camera that it looks as if taken by."""

    name: str
    part: tuple[float, float, float, float]  # top, bottom, left, right, of the image's sides
    scale: float


SIGHTS = (
    Sight("1.5 times as large", (0, 1, 0, 1), 1.5),
    Sight("half as large", (0, 1, 0, 1), 0.5),
    Sight("middle two thirds", (1 / 6, 5 / 6, 1 / 6, 5 / 6), 1.0),
    Sight("left two thirds", (0, 1, 0, 2 / 3), 1.0),
    Sight("right two thirds", (0, 1, 1 / 3, 1), 1.0),
)


def focal(engine: Engine, data: Path, validation: ValidationConfig) -> dict[str, dict[str, float]]:
    """Medians over FRAMES frames, evenly spread, for each of SIGHTS that shows anything within 80 m, by its name.

    Returns:
        depth_ratio: median over the pixels of the depth there / the depth in the whole frame.
        depth_differs: median over the pixels of |ln| of it.
        labels_same: share of the pixels with the same label.

    Raises:
        ConfigError: the config names no frames.
        DataError: the frames are missing or cannot be read.
    """
    compared: dict[str, list[dict[str, float]]] = {sight.name: [] for sight in SIGHTS}
    for image, fx in _frames(validation, data):
        whole = perceive(engine, image, fx, NEAREST, FARTHEST)
        for sight in SIGHTS:
            found = _compare(engine, image, fx, whole, sight)
            if found is not None:
                compared[sight.name].append(found)
    return {
        name: {key: float(np.median([one[key] for one in found])) for key in found[0]}
        for name, found in compared.items()
        if found
    }


def _frames(validation: ValidationConfig, data: Path) -> Iterator[tuple[NDArray[np.uint8], float]]:
    """Images uint8 [H, W, 3] and their focal lengths in px."""
    sequence, truth = validation.sequence, validation.depth
    if sequence is not None:
        folder = data / sequence.path / "image"
        names = image_names(folder)
        for name in names[:: max(1, len(names) // FRAMES)][:FRAMES]:
            yield read_image(folder / f"{name}.jpg"), sequence.fx
    elif truth is not None:
        for sample in spread(open_truth(truth, data, labels=False, depth=True), FRAMES):
            yield sample.image, sample.fx
    else:
        raise ConfigError("validation: the config names no frames: give a sequence or depth, or another --config")


def _compare(engine: Engine, image: NDArray[np.uint8], fx: float, whole: View, sight: Sight) -> dict[str, float] | None:
    height, width = image.shape[:2]
    top, bottom, left, right = (
        round(share * side) for share, side in zip(sight.part, (height, height, width, width), strict=True)
    )
    part = np.ascontiguousarray(image[top:bottom, left:right])
    size = part.shape[1], part.shape[0]
    seen = perceive(engine, _resized(part, sight.scale), fx * sight.scale, NEAREST, FARTHEST)
    depth, labels = (cv2.resize(one, size, interpolation=cv2.INTER_NEAREST) for one in (seen.depth, seen.labels))
    whole_depth, whole_labels = whole.depth[top:bottom, left:right], whole.labels[top:bottom, left:right]
    both = np.isfinite(depth) & np.isfinite(whole_depth)
    if not both.any():
        return None
    ratio = depth[both] / whole_depth[both]
    return {
        "depth_ratio": float(np.median(ratio)),
        "depth_differs": float(np.median(np.abs(np.log(ratio)))),
        "labels_same": float(np.mean(labels == whole_labels)),
    }


def _resized(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1:
        return image
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=way), np.uint8)


def _found(engine: Engine, data: Path, validation: ValidationConfig) -> dict[str, dict[str, float]]:
    figures = focal(engine, data, validation)
    if not figures:
        raise DataError(f"nothing in the config's frames is seen within {FARTHEST:g} m: give frames of a scene")
    return figures


def _lines(figures: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{name:20} metres {found['depth_ratio']:.2f} times those of the whole image, "
        f"apart by {100 * found['depth_differs']:.0f} %; {100 * found['labels_same']:.0f} % of the labels the same"
        for name, found in figures.items()
    ]


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return look_at_sequence("focal", __doc__, arguments, _found, _lines)


if __name__ == "__main__":
    sys.exit(main())
