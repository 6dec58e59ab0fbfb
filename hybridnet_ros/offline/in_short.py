"""What the figures say, in sentences, for the head of a report."""

from __future__ import annotations

import math

from hybridnet_ros.offline.evaluation import Evaluation
from hybridnet_ros.offline.figures import DepthFigures, Figures, Matches, SegmentationFigures

_FACTOR = 1.05  # a common factor of less is no matter
_SHARE = 0.001  # of all pixels that a class must have to be named
_ENOUGH = 1000  # pixels that a distance band must have to be named


def in_short(evaluation: Evaluation) -> list[str]:
    """One sentence or two for each thing that is known."""
    total = evaluation.total
    said = []
    if total.depth is not None and total.depth.pixels:
        said += [_depth(total.depth), *_distances(total), *_factor(total.depth)]
    if total.segmentation is not None and total.segmentation.pixels:
        said.append(_labels(total.segmentation))
    if total.consistency.labels is not None:
        change = total.consistency.depth
        depth = "" if change is None else f", and depth changes by {_percent(math.expm1(change))}"
        said.append(f"From one frame to the next {_percent(total.consistency.labels)} of the labels stay{depth}.")
    for what, matches in (("depth", total.depth_matches), ("label", total.label_matches)):
        said += _unmatched(what, matches)
    return said


def _depth(depth: DepthFigures) -> str:
    assert depth.abs_rel is not None and depth.delta1 is not None
    missing = ""
    if depth.missing:
        share = depth.missing / (depth.missing + depth.pixels)
        missing = f" Where there is a truth, {_percent(share)} of the pixels got no depth."
    return (
        f"Depth is off by {_percent(depth.abs_rel)} on average; {_percent(depth.delta1)} of the pixels are right "
        f"within a factor of 1.25.{missing}"
    )


def _distances(total: Figures) -> list[str]:
    known = [band for band in total.bands if band.depth.pixels >= _ENOUGH and band.depth.abs_rel is not None]
    if len(known) < 2:
        return []
    errors = ", ".join(f"{_percent(band.depth.abs_rel or 0.0)} from {band.near:g} to {band.far:g} m" for band in known)
    return [f"By distance: {errors}."]


def _factor(depth: DepthFigures) -> list[str]:
    if depth.scale is None or 1 / _FACTOR < depth.scale < _FACTOR:
        return []
    where = "far" if depth.scale > 1 else "near"
    factor = max(depth.scale, 1 / depth.scale)
    return [
        f"On the whole depth is too {where}, by a factor of {factor:.2f}. A wrong focal length does that, and so does "
        "a scene of another kind than the network was trained on."
    ]


def _labels(segmentation: SegmentationFigures) -> str:
    assert segmentation.global_accuracy is not None
    rows = [sum(row) for row in segmentation.confusion]
    named = [
        (iou, name)
        for iou, name, pixels in zip(segmentation.iou, segmentation.class_names, rows, strict=True)
        if iou is not None and pixels >= _SHARE * segmentation.pixels
    ]
    ends = ""
    if len(named) > 1:
        (worst, worst_name), (best, best_name) = min(named), max(named)
        ends = f"; best is {best_name} (IoU {best:.2f}), worst {worst_name} ({worst:.2f})"
    return f"{_percent(segmentation.global_accuracy)} of the labelled pixels have the right class{ends}."


def _unmatched(what: str, matches: Matches | None) -> list[str]:
    if matches is None or not matches.unmatched:
        return []
    every = matches.matched + matches.unmatched
    return [f"{matches.unmatched} of {every} frames found no {what} reference near enough in time, or none that fits."]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
