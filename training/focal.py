"""Whether an engine's metres hold when the same scene is resized or cropped.

    python -m training.focal driving --data DATA
    python -m training.focal driving --data DATA --output focal.json

An image that is enlarged, shrunk or cropped was taken, as it were, by another camera in the same place: its focal
length in pixels is known, so the metres have to stay. Each view of a frame is seen by itself and compared, pixel by
pixel, with what the engine sees in the whole frame; no truth is needed. The frames are some of the config's
`validation.sequence`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.perception import View, perceive
from training.command import reports
from training.config import SequenceConfig
from training.data.sample import DataError, image_names, read_image
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


def focal(engine: Engine, data: Path, sequence: SequenceConfig) -> dict[str, dict[str, float]]:
    """Medians over frames that lie evenly in the sequence, for each of SIGHTS by its name.

    Returns:
        depth_ratio: median over the pixels of the depth there / the depth in the whole frame.
        depth_differs: median over the pixels of |ln| of it.
        labels_same: share of the pixels with the same label.

    Raises:
        DataError: the frames are missing or cannot be read, or nothing in them is within 80 m.
    """
    folder = data / sequence.path / "image"
    names = image_names(folder)
    compared: dict[str, list[dict[str, float]]] = {sight.name: [] for sight in SIGHTS}
    for name in names[:: max(1, len(names) // FRAMES)][:FRAMES]:
        image = read_image(folder / f"{name}.jpg")
        whole = perceive(engine, image, sequence.fx, NEAREST, FARTHEST)
        for sight in SIGHTS:
            found = _compare(engine, image, sequence.fx, whole, sight)
            if found is not None:
                compared[sight.name].append(found)
    if not all(compared.values()):
        raise DataError(f"nothing in the frames in {folder} is seen within {FARTHEST:g} m: give frames of a scene")
    return {
        name: {key: float(np.median([one[key] for one in found])) for key in found[0]}
        for name, found in compared.items()
    }


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


def _lines(figures: dict[str, dict[str, float]]) -> list[str]:
    return [
        f"{name:20} metres {found['depth_ratio']:.2f} times those of the whole image, "
        f"apart by {100 * found['depth_differs']:.0f} %; {100 * found['labels_same']:.0f} % of the labels the same"
        for name, found in figures.items()
    ]


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return look_at_sequence("focal", __doc__, arguments, focal, _lines)


if __name__ == "__main__":
    sys.exit(main())
