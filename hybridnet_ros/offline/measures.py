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
from hybridnet_ros.offline.evaluation import (
    BandFigures,
    ClassFigures,
    DepthFigures,
    FrameFigures,
    SegmentationFigures,
    Settings,
    known,
)
from hybridnet_ros.offline.references import at_size
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DEPTH_TERMS, SegmentationMetrics, depth_figures, depth_terms

_STEADY_WIDTH = 320  # px, about; optical flow on more costs as much as a network
_LEAST_SIDE = 16  # px; optical flow finds nothing in less
_SAME_PLACE = 12  # grey levels that a pixel may differ from where flow says it was; beyond it was hidden
_LEAST_DEPTH = 1e-3  # metres, as in DepthMetrics


@dataclass
class DepthSums:
    """Sums of DEPTH_TERMS of groups of pixels: float64 [groups, 8], with their pixels and missing pixels int64."""

    sums: NDArray[np.float64]
    pixels: NDArray[np.int64]
    missing: NDArray[np.int64]

    @classmethod
    def zeros(cls, groups: int) -> DepthSums:
        """Nothing yet."""
        return cls(np.zeros((groups, len(DEPTH_TERMS))), np.zeros(groups, np.int64), np.zeros(groups, np.int64))

    def add(self, other: DepthSums) -> None:
        """Adds another's."""
        self.sums += other.sums
        self.pixels += other.pixels
        self.missing += other.missing

    def figures(self, group: int) -> DepthFigures:
        """The measures of one group."""
        values = depth_figures(self.sums[group], int(self.pixels[group]))
        plain = {name: known(value) for name, value in values.items()}
        return DepthFigures(**plain, pixels=int(self.pixels[group]), missing=int(self.missing[group]))


@dataclass
class Tally:
    """All sums over some frames.

    Attributes:
        pixels, finite: of all images; with a finite depth.
        class_pixels, class_confidence: int64 [classes], by predicted class; confidence in 255ths.
        depth: groups: all, the bands, the classes; None without a reference.
        confusion: int64 [true classes, true classes + 1]; None without a reference.
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
        edges = np.array(settings.bands)
        valid = np.isfinite(truth) & (truth > 0) & (truth <= settings.cap)
        true, seen, classes = truth[valid].astype(np.float64), predicted[valid].astype(np.float64), labels[valid]
        present = np.isfinite(seen)
        # Band b has edges[b] < depth <= edges[b + 1]; what is outside all bands goes to a group that is cut off.
        bands = np.searchsorted(edges, true, side="left") - 1
        bands = np.where((bands < 0) | (bands >= self.bands), self.bands, bands)
        sums = DepthSums.zeros(1 + self.bands + self.classes)
        terms = depth_terms(np.clip(seen[present], _LEAST_DEPTH, settings.cap), true[present])
        sums.sums[0] = terms.sum(axis=1)
        sums.pixels[0], sums.missing[0] = terms.shape[1], len(true) - terms.shape[1]
        start = 1
        for groups, size in ((bands, self.bands), (classes.astype(np.int64), self.classes)):
            rows = slice(start, start + size)
            shown, hidden = groups[present], groups[~present]
            for term in range(len(DEPTH_TERMS)):
                sums.sums[rows, term] = np.bincount(shown, terms[term], size)[:size]
            sums.pixels[rows] = np.bincount(shown, minlength=size)[:size]
            sums.missing[rows] = np.bincount(hidden, minlength=size)[:size]
            start += size
        if self.depth is None:
            self.depth = DepthSums.zeros(len(sums.pixels))
        self.depth.add(sums)
        return sums.figures(0)

    def add_labels(
        self, mask: NDArray[np.uint8], truth: NDArray[np.uint8], labels: LabelSet
    ) -> tuple[float | None, float | None]:
        """Measures one frame's labels (already in the classes of `truth`); returns its global accuracy and mean IoU."""
        metrics = SegmentationMetrics(len(labels), labels.ignore)
        metrics.add(at_size(mask, truth.shape, "label"), truth)
        self.confusion = metrics.confusion if self.confusion is None else self.confusion + metrics.confusion
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

    def segmentation_figures(self, labels: LabelSet | None) -> SegmentationFigures | None:
        """Labels against the reference, whose classes are `labels`."""
        if labels is None or self.confusion is None:
            return None
        metrics = SegmentationMetrics(len(labels), labels.ignore)
        metrics.confusion = self.confusion
        return SegmentationFigures(
            label_set=labels.name,
            class_names=labels.names,
            class_colors=labels.colors,
            global_accuracy=known(metrics.global_accuracy),
            class_accuracy=known(metrics.class_accuracy),
            mean_iou=known(metrics.mean_iou),
            accuracy=tuple(known(value) for value in metrics.class_accuracies.tolist()),
            iou=tuple(known(value) for value in metrics.class_iou.tolist()),
            confusion=tuple(tuple(row) for row in self.confusion.tolist()),
            pixels=int(self.confusion.sum()),
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


class Steadiness:
    """Compares each frame with the one before, moved along with the image by optical flow."""

    def __init__(self) -> None:
        """The first frame has none before it."""
        self._flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._before: tuple[NDArray, NDArray, NDArray] | None = None

    def add(self, rgb: NDArray[np.uint8], view: View) -> tuple[float | None, float | None]:
        """Share of labels that stayed and median |ln| of the change of depth; None for what cannot be compared."""
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
        rows, columns = np.indices(grey.shape, np.float32)
        from_x, from_y = columns + flow[..., 0], rows + flow[..., 1]
        moved = cv2.remap(before[0], from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
        same_place = inside & (cv2.absdiff(grey, moved) < _SAME_PLACE)
        if not same_place.any():
            return None, None
        x, y = np.rint(from_x[same_place]).astype(int), np.rint(from_y[same_place]).astype(int)
        steady = float(np.mean(labels[same_place] == before[1][y, x]))
        now, then = depth[same_place], before[2][y, x]
        both = np.isfinite(now) & np.isfinite(then) & (now > 0) & (then > 0)
        change = float(np.median(np.abs(np.log(now[both] / then[both])))) if both.any() else None
        return steady, change
