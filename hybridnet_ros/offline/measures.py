"""Measures one frame and adds frames up; sums can be stored, and merged in any grouping that keeps the order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.perception import View
from hybridnet_ros.offline.depth_sums import DepthSums, added_up, band_numbers
from hybridnet_ros.offline.evaluation import Settings
from hybridnet_ros.offline.figures import (
    BandFigures,
    ClassFigures,
    DepthFigures,
    FrameFigures,
    LabelBandFigures,
    SegmentationFigures,
)
from hybridnet_ros.offline.plain import known
from hybridnet_ros.offline.references import at_size
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DEPTH_TERMS, SegmentationMetrics, depth_terms

_LEAST_DEPTH = 1e-3  # metres, as in DepthMetrics


@dataclass
class Tally:
    """All sums over some frames.

    Attributes:
        pixels, finite: of all images; with a finite depth.
        class_pixels, class_confidence: int64 [classes], by predicted class; confidence in 255ths.
        depth: groups: all, the bands, the classes; None without a reference.
        confusion: int64 [bands + 1, true classes, true classes + 1], the last along the first axis of what is in no
            band; None without a reference.
        depth_found, depth_missed, labels_found, labels_missed: frames with and without a reference.
    """

    classes: int
    bands: int
    pixels: int = 0
    finite: int = 0
    class_pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_confidence: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    depth: DepthSums | None = None
    confusion: NDArray[np.int64] | None = None
    depth_found: int = 0
    depth_missed: int = 0
    labels_found: int = 0
    labels_missed: int = 0

    def __post_init__(self) -> None:
        """Nothing seen yet."""
        if not self.class_pixels.size:
            self.class_pixels = np.zeros(self.classes, np.int64)
            self.class_confidence = np.zeros(self.classes, np.int64)

    def add_view(self, view: View) -> tuple[float, float, tuple[float, ...]]:
        """Counts one frame; returns its mean confidence, share of finite depth and share of each class."""
        both = _histogram(view.labels, view.confidence, self.classes)
        counts, weights = both.sum(axis=1), both @ np.arange(256)
        finite = int(np.count_nonzero(np.isfinite(view.depth)))
        pixels = view.labels.size
        self.pixels += pixels
        self.finite += finite
        self.class_pixels += counts
        self.class_confidence += weights
        return int(weights.sum()) / 255 / pixels, finite / pixels, tuple((counts / pixels).tolist())

    def add_depth(self, view: View, truth: NDArray[np.float32], settings: Settings) -> DepthFigures:
        """Measures one frame's depth against `truth`; MessageError where the sizes cannot be compared."""
        predicted = at_size(view.depth, truth.shape, "depth")
        labels = at_size(view.labels, truth.shape, "depth")
        with np.errstate(invalid="ignore"):
            valid = np.flatnonzero((truth > 0) & (truth <= settings.cap))
        true, seen = truth.ravel()[valid].astype(np.float64), predicted.ravel()[valid].astype(np.float64)
        classes, bands = labels.ravel()[valid], band_numbers(true, settings.bands)
        # Out of range (REP 117) is an answer, and counts as the range's end; only NaN is none.
        present = ~np.isnan(seen)
        terms = depth_terms(np.clip(seen[present], _LEAST_DEPTH, settings.cap), true[present])
        # Every pixel is in one group of (band or none) and class: added up once, and then along both.
        cells = bands.astype(np.uint16) * self.classes + classes
        shape = self.bands + 1, self.classes
        sums = DepthSums.zeros(1 + self.bands + self.classes)
        added = added_up(terms, cells[present], shape[0] * shape[1]).reshape(len(DEPTH_TERMS), *shape)
        sums.sums[:] = np.column_stack([added.sum((1, 2)), added.sum(2)[:, :-1], added.sum(1)]).T
        for pixels, chosen in ((sums.pixels, present), (sums.missing, ~present)):
            counts = np.bincount(cells[chosen], minlength=shape[0] * shape[1]).reshape(shape)
            pixels[:] = np.concatenate([[counts.sum()], counts.sum(1)[:-1], counts.sum(0)])
        if self.depth is None:
            self.depth = DepthSums.zeros(len(sums.pixels))
        self.depth.add(sums)
        return sums.figures(0)

    def add_labels(
        self,
        mask: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        labels: LabelSet,
        distance: NDArray[np.float32] | None,
        edges: Sequence[float],
    ) -> tuple[float | None, float | None]:
        """Measures one frame's labels; returns its global accuracy and mean IoU.

        Args:
            mask: predicted, already in the classes of `truth`.
            truth: ids of `labels`; it is never resampled.
            labels: the classes.
            distance: metres, of the same aspect ratio; None where it is not known.
            edges: of the distance bands.

        Raises:
            MessageError: the sizes cannot be compared.
        """
        classes = len(labels)
        kept = np.full(256, classes, np.uint8)
        kept[:classes] = np.arange(classes)
        columns, rows = cv2.LUT(at_size(mask, truth.shape, "label"), kept), cv2.LUT(truth, kept)
        if distance is None:
            bands = np.full(truth.shape, self.bands, np.uint8)
        else:
            bands = band_numbers(at_size(distance, truth.shape, "label"), edges)
        cells = (bands.astype(np.uint32) * (classes + 1) + rows) * (classes + 1) + columns
        counts = np.bincount(cells.ravel(), minlength=(self.bands + 1) * (classes + 1) ** 2)
        confusion = counts.reshape(self.bands + 1, classes + 1, classes + 1)[:, :classes].astype(np.int64)
        self.confusion = confusion if self.confusion is None else self.confusion + confusion
        metrics = _segmentation(confusion.sum(axis=0), labels)
        return known(metrics.global_accuracy), known(metrics.mean_iou)

    def merge(self, other: Tally) -> None:
        """Adds all that another has seen."""
        for name in ("pixels", "finite", "depth_found", "depth_missed", "labels_found", "labels_missed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.class_pixels = self.class_pixels + other.class_pixels
        self.class_confidence = self.class_confidence + other.class_confidence
        if other.depth is not None:
            if self.depth is None:
                self.depth = DepthSums.zeros(len(other.depth.pixels))
            self.depth.add(other.depth)
        if other.confusion is not None:
            self.confusion = other.confusion if self.confusion is None else self.confusion + other.confusion

    def class_figures(self, names: Sequence[str]) -> tuple[ClassFigures, ...]:
        """Of each class of the engine."""
        return tuple(
            ClassFigures(
                name=name,
                share=int(self.class_pixels[i]) / self.pixels if self.pixels else 0.0,
                confidence=int(self.class_confidence[i]) / 255 / int(self.class_pixels[i])
                if self.class_pixels[i]
                else None,
                depth=self.depth.figures(1 + self.bands + i) if self.depth is not None else None,
            )
            for i, name in enumerate(names)
        )

    def band_figures(self, edges: Sequence[float]) -> tuple[BandFigures, ...]:
        """Depth in each distance band; none without a reference."""
        if self.depth is None:
            return ()
        pairs = zip(edges[:-1], edges[1:], strict=True)
        return tuple(BandFigures(near, far, self.depth.figures(1 + i)) for i, (near, far) in enumerate(pairs))

    def segmentation_figures(
        self, labels: LabelSet | None, edges: Sequence[float], distance: str
    ) -> SegmentationFigures | None:
        """Labels against the reference, whose classes are `labels`; `distance` as in SegmentationFigures."""
        if labels is None or self.confusion is None:
            return None
        whole = self.confusion.sum(axis=0)
        metrics = _segmentation(whole, labels)
        return SegmentationFigures(
            label_set=labels.name,
            class_names=labels.names,
            class_colors=labels.colors,
            global_accuracy=known(metrics.global_accuracy),
            class_accuracy=known(metrics.class_accuracy),
            mean_iou=known(metrics.mean_iou),
            accuracy=tuple(known(value) for value in metrics.class_accuracies.tolist()),
            iou=tuple(known(value) for value in metrics.class_iou.tolist()),
            confusion=tuple(tuple(row) for row in whole.tolist()),
            pixels=int(whole.sum()),
            distance=distance,
            bands=tuple(
                _label_band(near, far, _segmentation(own, labels))
                for near, far, own in zip(edges[:-1], edges[1:], self.confusion, strict=False)
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; floats come back to the last bit."""
        plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}
        if self.depth is not None:
            plain["depth"] = {key: value.tolist() for key, value in vars(self.depth).items()}
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Tally:
        """What `to_dict` made."""
        integers = {
            key: np.array(plain[key], np.int64)
            for key in ("class_pixels", "class_confidence", "confusion")
            if plain[key] is not None
        }
        depth = plain["depth"]
        sums = None if depth is None else DepthSums(
            np.array(depth["sums"]), np.array(depth["pixels"], np.int64), np.array(depth["missing"], np.int64)
        )  # fmt: skip
        return cls(**{**plain, **integers, "depth": sums})


def _segmentation(confusion: NDArray[np.int64], labels: LabelSet) -> SegmentationMetrics:
    metrics = SegmentationMetrics(len(labels), labels.ignore)
    metrics.confusion = confusion
    return metrics


def _label_band(near: float, far: float, metrics: SegmentationMetrics) -> LabelBandFigures:
    return LabelBandFigures(
        near=near,
        far=far,
        global_accuracy=known(metrics.global_accuracy),
        class_accuracy=known(metrics.class_accuracy),
        mean_iou=known(metrics.mean_iou),
        iou=tuple(known(value) for value in metrics.class_iou.tolist()),
        pixels=int(metrics.confusion.sum()),
    )


def _histogram(labels: NDArray[np.uint8], confidence: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """How many pixels of each class have each confidence: int64 [classes, 256]."""
    counts = np.zeros((classes, 256), np.int64)
    # Many times faster than NumPy's; but it answers in float32, which counts to 2^24 only.
    rows = max(1, (1 << 24) // labels.shape[1])
    for start in range(0, len(labels), rows):
        part = [np.ascontiguousarray(each[start : start + rows]) for each in (labels, confidence)]
        counts += cv2.calcHist(part, [0, 1], None, [classes, 256], [0, classes, 0, 256]).astype(np.int64)
    return counts


def mean_of_images(frames: Sequence[FrameFigures]) -> DepthFigures | None:
    """Mean of the depth figures of single frames that have any; None where none has a reference."""
    measured = [frame.depth for frame in frames if frame.depth is not None]
    if not measured:
        return None
    names = [name for name in vars(measured[0]) if name not in ("pixels", "missing")]
    values = {name: mean([value for each in measured if (value := getattr(each, name)) is not None]) for name in names}
    return DepthFigures(
        **values, pixels=sum(each.pixels for each in measured), missing=sum(each.missing for each in measured)
    )


def mean(values: Sequence[float]) -> float | None:
    """Mean, exact to the last bit in whatever order the values are given; None of nothing."""
    return math.fsum(values) / len(values) if values else None
