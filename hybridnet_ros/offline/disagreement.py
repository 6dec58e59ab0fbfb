"""Compares what two evaluations predicted, pixel by pixel, from the bags that they wrote; no reference is needed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import depth_from_image, labels_from_image
from hybridnet_ros.offline.bag import open_bag

_DEPTH, _MASK = "/hybridnet/depth/image", "/hybridnet/segmentation/mask"
_MOST_WAITING = 32
"""Frames that wait for the other bag; the bags have the same order, so few do, unless one of them lacks frames."""


class Key(NamedTuple):
    """An image: its stream in A, and its stamp."""

    stream: int
    stamp_ns: int


@dataclass(frozen=True)
class Predicted:
    """What one engine said about one image: depth float32 [H, W] metres and labels uint8 [H, W]."""

    depth: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Disagreement:
    """How far two predictions of one image are apart.

    Attributes:
        key: the image.
        labels: share of pixels with different labels, 0 to 1.
        depth: median |ln(depth B / depth A)| where both are finite; None where there is no such pixel.
        a, b: the predictions, kept only of frames that are to be shown.
    """

    key: Key
    labels: float
    depth: float | None
    a: Predicted | None = None
    b: Predicted | None = None


@dataclass(frozen=True)
class Disagreements:
    """Over all frames that both bags have.

    Attributes:
        frames: compared.
        labels: mean share of pixels with different labels.
        depth: mean of the frames' medians of |ln(depth B / depth A)|; None without any.
        shown: the frames that differ most, and those that were asked for.
    """

    frames: int
    labels: float
    depth: float | None
    shown: dict[Key, Disagreement]


def disagreements(
    bags: Mapping[int, tuple[Path, Path]], wanted: Set[Key] = frozenset(), most: int = 3
) -> Disagreements | None:
    """Compare bags of predictions; None if they have no frame in common.

    Args:
        bags: those of A and B, by the number of the stream in A.
        wanted: frames to be shown in any case.
        most: how many of the frames with the most different labels, and with the most different depth, are shown.

    Raises:
        BagError: one of them is not there or damaged.
    """
    count, label_sum, depths = 0, 0.0, [0.0, 0]
    by_labels: list[tuple[float, Key, Disagreement]] = []
    by_depth: list[tuple[float, Key, Disagreement]] = []
    shown: dict[Key, Disagreement] = {}
    for each in _each(bags):
        key = each.key
        count += 1
        label_sum += each.labels
        _keep(by_labels, each.labels, each, most)
        if each.depth is not None:
            depths = [depths[0] + each.depth, depths[1] + 1]
            _keep(by_depth, each.depth, each, most)
        if key in wanted:
            shown[key] = each
    if not count:
        return None
    for score, key, each in (*by_labels, *by_depth):
        if score > 0:
            shown[key] = each
    mean_depth = depths[0] / depths[1] if depths[1] else None
    return Disagreements(count, label_sum / count, mean_depth, dict(sorted(shown.items())))


def _each(bags: Mapping[int, tuple[Path, Path]]) -> Iterator[Disagreement]:
    for stream, (a, b) in bags.items():
        for stamp_ns, left, right in _together(a, b):
            yield _measure(Key(stream, stamp_ns), left, right)


def _measure(key: Key, a: Predicted, b: Predicted) -> Disagreement:
    finite = np.isfinite(a.depth) & np.isfinite(b.depth) & (a.depth > 0) & (b.depth > 0)
    depth = float(np.median(np.abs(np.log(b.depth[finite] / a.depth[finite])))) if finite.any() else None
    return Disagreement(key, float(np.mean(a.labels != b.labels)), depth, a, b)


def _keep(heap: list[tuple[float, Key, Disagreement]], score: float, each: Disagreement, most: int) -> None:
    (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, (score, each.key, each))


def _together(a: Path, b: Path) -> Iterator[tuple[int, Predicted, Predicted]]:
    """Predictions of the same images in both bags, as far as they have the same size."""
    waiting: tuple[dict[int, Predicted], dict[int, Predicted]] = ({}, {})
    sources = (_predictions(a), _predictions(b))
    open_sides = {0, 1}
    while open_sides:
        for side in sorted(open_sides):
            found = next(sources[side], None)
            if found is None:
                open_sides.discard(side)
                continue
            stamp_ns, predicted = found
            other = waiting[1 - side].pop(stamp_ns, None)
            if other is None:
                waiting[side][stamp_ns] = predicted
                if len(waiting[side]) > _MOST_WAITING:
                    del waiting[side][next(iter(waiting[side]))]
            elif other.depth.shape == predicted.depth.shape:
                yield (stamp_ns, other, predicted) if side else (stamp_ns, predicted, other)


def _predictions(bag: Path) -> Iterator[tuple[int, Predicted]]:
    with open_bag(bag) as opened:
        topics = [topic.name for topic in opened.topics if topic.name.endswith((_DEPTH, _MASK))]
        depths: dict[int, Any] = {}
        # The mask of a frame is written after its depth.
        for _, topic, message in opened.messages(*topics):
            stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
            if topic.endswith(_DEPTH):
                depths[stamp_ns] = message
            elif stamp_ns in depths:
                yield stamp_ns, Predicted(depth_from_image(depths.pop(stamp_ns)), labels_from_image(message))
