"""Pictures of what networks see: a row for each image, as in the paper's figure 2."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.scene.colors import SHOWN_DEPTH, colorize_depth, colorize_labels, overlay
from hybridnet_ros.scene.depth import limit_depth
from training.config import ValidationConfig
from training.data.sample import Sample, Samples
from training.data.sources import open_truth
from training.scores import LabelScores, passes

_WIDTH = 560  # px, of each picture of a panel
_SMALL = 132  # px, of each picture of a figure
_GAP = 6  # px
_TITLE = 18  # px
_GREY = 190  # where there is nothing to show


def draw_panel(engine: Engine, samples: Sequence[Sample]) -> NDArray[np.uint8]:
    """Rgb uint8 picture of what `engine` makes of `samples`, a row each; sky and what is beyond are dark."""
    palette, (nearest, farthest) = engine.manifest.labels.palette(), engine.manifest.shown_depth
    rows = []
    for sample in samples:
        prediction = engine.predict(sample.image[np.newaxis], sample.fx)
        depth, labels = prediction.depth[0], prediction.labels[0]
        limit_depth(depth, 0.0, farthest, labels, engine.manifest.beyond_labels)
        pictures = (
            sample.image,
            colorize_depth(depth, nearest, farthest),
            overlay(sample.image, colorize_labels(labels, palette), 0.6),
        )
        height = round(_WIDTH * sample.image.shape[0] / sample.image.shape[1])
        rows.append(_beside([_averaged(each, _WIDTH, height) for each in pictures]))
    return _below(rows)


@dataclass(frozen=True)
class Viewer:
    """A network in a figure.

    Attributes:
        name: above its columns.
        engine: that runs it.
        tasks: of `labels` and `depth`, what it says.
    """

    name: str
    engine: Engine
    tasks: frozenset[str]


def draw_figure(
    viewers: Sequence[Viewer], validation: ValidationConfig, data: Path, count: int = 4
) -> NDArray[np.uint8]:
    """The paper's figure 2, rgb uint8: image, depth of each network and the true one, labels of each and the true ones.

    Args:
        viewers: the networks.
        validation: datasets; `count` images of each, by their place alone and not by how they look.
        data: the data folder.
        count: of images.
    """
    rows: list[NDArray[np.uint8]] = []
    for labels, depth in passes(validation):
        truth = labels or depth
        assert truth is not None
        samples = open_truth(truth, data, labels=labels is not None, depth=depth is not None)
        rows += [_figure_row(viewers, samples, sample) for sample in spread(samples, count)]
    titles = ["image", *_titles(viewers, "depth"), *_titles(viewers, "labels")]
    return _below([_beside([_title(title) for title in titles]), *rows])


def spread(samples: Samples, count: int) -> list[Sample]:
    """At most `count` samples, evenly spread, the first and the last left out where there are enough."""
    positions = np.linspace(0, len(samples) - 1, count + 2)[1:-1].round().astype(int)
    return [samples[int(index)] for index in np.unique(positions)]


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an rgb picture as PNG, as small as it gets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def _titles(viewers: Sequence[Viewer], task: str) -> list[str]:
    names = [viewer.name for viewer in viewers if task in viewer.tasks]
    return [*(f"{task}, {name}" for name in names), f"true {task}"] if names else []


def _figure_row(viewers: Sequence[Viewer], samples: Samples, sample: Sample) -> NDArray[np.uint8]:
    depths: list[NDArray[np.uint8] | None] = []
    labels: list[NDArray[np.uint8] | None] = []
    near, far = _depth_ends(sample)
    for viewer in viewers:
        prediction = viewer.engine.predict(sample.image[np.newaxis], sample.fx)
        manifest = viewer.engine.manifest
        if "labels" in viewer.tasks:
            limit_depth(prediction.depth[0], 0.0, math.inf, prediction.labels[0], manifest.beyond_labels)
            scores = LabelScores(manifest.labels, samples) if sample.labels is not None else None
            seen = prediction.labels[0] if scores is None else scores.seen(prediction)
            palette = (manifest.labels if scores is None else scores.label_set).palette()
            labels.append(colorize_labels(seen, palette))
        if "depth" in viewer.tasks:
            depths.append(colorize_depth(prediction.depth[0], near, far))
    if depths:
        depths.append(None if sample.depth is None else colorize_depth(sample.depth, near, far))
    if labels:
        true = None
        if sample.labels is not None:
            scores = LabelScores(viewers[0].engine.manifest.labels, samples)
            true = colorize_labels(scores.true(sample.labels), scores.label_set.palette())
        labels.append(true)
    height = round(_SMALL * sample.image.shape[0] / sample.image.shape[1])
    photo = _averaged(sample.image, _SMALL, height)
    return _beside([photo, *(_shrunk(picture, height) for picture in (*depths, *labels))])


def _averaged(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _shrunk(picture: NDArray[np.uint8] | None, height: int) -> NDArray[np.uint8]:
    if picture is None:
        return np.full((height, _SMALL, 3), _GREY, np.uint8)
    return np.asarray(cv2.resize(picture, (_SMALL, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _depth_ends(sample: Sample) -> tuple[float, float]:
    """Nearest and farthest metres that are true in the image, the ends of its depth colours."""
    known = sample.depth[np.isfinite(sample.depth)] if sample.depth is not None else np.empty(0)
    return (float(known.min()), float(known.max())) if known.size and known.min() < known.max() else SHOWN_DEPTH


def _title(text: str) -> NDArray[np.uint8]:
    picture = np.full((_TITLE, _SMALL, 3), 255, np.uint8)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    size = 0.4 * min(1.0, (_SMALL - 4) / width)
    return np.asarray(
        cv2.putText(picture, text, (2, _TITLE - 6), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA), np.uint8
    )


def _beside(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([part for picture in pictures for part in (picture, gap)][:-1])


def _below(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.vstack([part for row in rows for part in (row, gap)][:-1])
