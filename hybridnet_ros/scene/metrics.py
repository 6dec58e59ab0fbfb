"""How good labels and depth are, by the field's formulas, added up image by image over a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


class MetricsError(ValueError):
    """A prediction and a truth that cannot be compared, or metrics that cannot be merged."""


class SegmentationMetrics:
    """Segmentation measured from one confusion matrix n_ij over all images (row i: truth, column j: prediction).

    Pixels whose truth is `ignore` do not count. A prediction that is no class on a pixel that has one is an error: it
    counts as missed for its true class and as a false alarm for none, as in cityscapesScripts. The scores agree with
    that evaluator to the last digit, with one exception: the IoU of a class that is predicted somewhere and is nowhere
    in the truth is 0 there and nan here, so that the mean is over the classes the data set has.

    Attributes:
        confusion: int64 [classes, classes + 1]; the last column counts predictions that are no class.
    """

    def __init__(self, classes: int, ignore: int = 255) -> None:
        """Metrics of class ids 0 to `classes` - 1; `ignore` is the truth of unlabelled pixels."""
        self.classes = classes
        self.ignore = ignore
        self.confusion = np.zeros((classes, classes + 1), np.int64)

    def add(self, prediction: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        """Adds one image or several; both arrays hold class ids and have the same shape."""
        prediction, truth = _same_shape(prediction, truth)
        valid = truth != self.ignore
        rows = truth[valid].astype(np.int64)
        columns = prediction[valid].astype(np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < self.classes):
            wrong = rows[(rows < 0) | (rows >= self.classes)][0]
            raise MetricsError(
                f"the truth has the label {wrong}: expected 0 to {self.classes - 1}, or {self.ignore} for unlabelled"
            )
        columns[(columns < 0) | (columns >= self.classes)] = self.classes
        counts = np.bincount(rows * (self.classes + 1) + columns, minlength=self.confusion.size)
        self.confusion += counts.reshape(self.confusion.shape)

    def merge(self, other: SegmentationMetrics) -> None:
        """Adds all that another instance has seen."""
        if (other.classes, other.ignore) != (self.classes, self.ignore):
            raise MetricsError("only metrics with the same number of classes and the same ignored label can be merged")
        self.confusion += other.confusion

    @property
    def global_accuracy(self) -> float:
        """G = sum_i n_ii / sum_ij n_ij: share of pixels that are right; nan without pixels."""
        return _ratio(int(np.trace(self.confusion)), int(self.confusion.sum()))

    @property
    def class_accuracies(self) -> NDArray[np.float64]:
        """n_ii / sum_j n_ij [classes]: share of each class's pixels that are right; nan where absent from truth."""
        return self._per_class(self.confusion.sum(1))

    @property
    def class_accuracy(self) -> float:
        """C: mean of `class_accuracies` over the classes present in the truth."""
        return _mean(self.class_accuracies)

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """n_ii / (sum_j n_ij + sum_j n_ji - n_ii) [classes]: intersection over union; nan where absent from truth."""
        diagonal = np.diagonal(self.confusion)
        return self._per_class(self.confusion.sum(1) + self.confusion.sum(0)[: self.classes] - diagonal)

    @property
    def mean_iou(self) -> float:
        """Mean of `class_iou` over the classes present in the truth."""
        return _mean(self.class_iou)

    def to_dict(self, names: Sequence[str]) -> dict[str, float | dict[str, float | None] | None]:
        """All scores for a JSON file, None where nan; `names` are the classes'."""
        return {
            "global_accuracy": _or_none(self.global_accuracy),
            "class_accuracy": _or_none(self.class_accuracy),
            "mean_iou": _or_none(self.mean_iou),
            "accuracy": {name: _or_none(value) for name, value in zip(names, self.class_accuracies, strict=True)},
            "iou": {name: _or_none(value) for name, value in zip(names, self.class_iou, strict=True)},
            "pixels": int(self.confusion.sum()),
        }

    def _per_class(self, denominator: NDArray[np.int64]) -> NDArray[np.float64]:
        present = self.confusion.sum(1) > 0
        scores = np.full(self.classes, np.nan)
        np.divide(np.diagonal(self.confusion), denominator, out=scores, where=present)
        return scores


DEPTH_TERMS = ("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "square", "log", "log_square")
"""What is added up over pixels; `depth_figures` makes the measures of the sums."""


class DepthMetrics:
    """Depth measured over valid pixels; y' prediction, y truth, in metres, d = ln y' - ln y.

    delta1, delta2, delta3   share of pixels with max(y'/y, y/y') < 1.25, 1.25^2, 1.25^3
    abs_rel                  mean |y' - y| / y
    sq_rel                   mean (y' - y)^2 / y
    rmse                     sqrt(mean (y' - y)^2)
    rmse_log                 sqrt(mean d^2)
    si_log                   sqrt(mean d^2 - (mean d)^2), the scale-invariant error
    si_var                   mean d^2 - (mean d)^2
    pixels                   number of pixels measured
    missing                  number of pixels that have a truth but no prediction; they are in no other figure

    A truth is valid where it is finite, positive and, with a cap, not beyond it. Predictions are clipped to
    [minimum, cap]: what is said to be out of range (REP 117: -Inf, +Inf) is an answer, and counts as the range's end.
    NaN is none, nor is +Inf without a cap. Other tool boxes multiply by 100, put factors before (mean d)^2 or leave the
    root out.
    """

    def __init__(self, cap: float | None = None, minimum: float = 1e-3) -> None:
        """Metrics up to `cap` metres (80 is usual for driving), or of all depths."""
        if not 0 < minimum < (math.inf if cap is None else cap):
            raise MetricsError(f"expected 0 < minimum < cap, got minimum {minimum} and cap {cap}")
        self.cap = cap
        self.minimum = minimum
        self._images: list[tuple[NDArray[np.float64], int, int]] = []  # sums, pixels and missing of each image

    def add(self, prediction: NDArray[np.floating], truth: NDArray[np.floating]) -> None:
        """Adds one image: depth in metres, both arrays of the same shape."""
        prediction, truth = _same_shape(prediction, truth)
        valid = np.isfinite(truth) & (truth > 0)
        if self.cap is not None:
            valid &= truth <= self.cap
        predicted = prediction[valid].astype(np.float64)
        true = truth[valid].astype(np.float64)
        present = predicted < np.inf if self.cap is None else ~np.isnan(predicted)
        predicted, true = predicted[present].clip(self.minimum, self.cap), true[present]

        sums = depth_terms(predicted, true).sum(axis=1)
        self._images.append((sums, len(true), int(present.size - len(true))))

    def merge(self, other: DepthMetrics) -> None:
        """Adds all images that another instance has seen."""
        if (other.cap, other.minimum) != (self.cap, self.minimum):
            raise MetricsError("only depth metrics with the same cap and minimum can be merged")
        self._images += other._images

    def pooled(self) -> dict[str, float]:
        """Figures over the pixels of all images together, nan without pixels."""
        sums = sum((sums for sums, _, _ in self._images), np.zeros(len(DEPTH_TERMS)))
        return {**depth_figures(sums, self._pixels), "pixels": self._pixels, "missing": self._missing}

    def per_image(self) -> dict[str, float]:
        """Mean of the figures of single images, over the images that have valid pixels; nan without any."""
        figures = [depth_figures(sums, pixels) for sums, pixels, _ in self._images if pixels]
        names = depth_figures(np.zeros(len(DEPTH_TERMS)), 0)
        means = {name: _mean([each[name] for each in figures]) for name in names}
        return {**means, "pixels": self._pixels, "missing": self._missing}

    @property
    def _pixels(self) -> int:
        return sum(pixels for _, pixels, _ in self._images)

    @property
    def _missing(self) -> int:
        return sum(missing for _, _, missing in self._images)


def depth_terms(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """DEPTH_TERMS of each pixel, float64 [8, pixels]; both depths in metres, finite and positive, [pixels]."""
    terms = np.empty((len(DEPTH_TERMS), len(true)))
    error = predicted - true
    ratio = np.maximum(predicted / true, true / predicted)
    for row, power in enumerate((1, 2, 3)):
        terms[row] = ratio < 1.25**power
    terms[3] = np.abs(error) / true
    terms[4] = error**2 / true
    terms[5] = error**2
    terms[6] = np.log(predicted) - np.log(true)
    terms[7] = terms[6] ** 2
    return terms


def depth_figures(sums: NDArray[np.float64], pixels: int) -> dict[str, float]:
    """The measures of DepthMetrics, nan without pixels, of sums [8] of DEPTH_TERMS over so many pixels."""
    means = sums / pixels if pixels else np.full(len(DEPTH_TERMS), np.nan)
    mean = dict(zip(DEPTH_TERMS, means.tolist(), strict=True))
    si_var = mean["log_square"] - mean["log"] ** 2
    si_var = si_var if math.isnan(si_var) else max(0.0, si_var)  # rounding can make it a little less than nothing
    return {
        **{name: mean[name] for name in ("delta1", "delta2", "delta3", "abs_rel", "sq_rel")},
        "rmse": math.sqrt(mean["square"]),
        "rmse_log": math.sqrt(mean["log_square"]),
        "si_log": math.sqrt(si_var),
        "si_var": si_var,
    }


def _same_shape(prediction: ArrayLike, truth: ArrayLike) -> tuple[NDArray, NDArray]:
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise MetricsError(f"the prediction is {list(prediction.shape)} and the truth {list(truth.shape)}: resize one")
    return prediction, truth


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(scores: ArrayLike) -> float:
    """Mean of what is not nan; added one after the other, as cityscapesScripts does, for the same last digit."""
    total, count = 0.0, 0
    for score in np.asarray(scores, np.float64).tolist():
        if not math.isnan(score):
            total, count = total + score, count + 1
    return total / count if count else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
