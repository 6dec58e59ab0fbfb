"""Puts two evaluations side by side: figure by figure, and frame by frame where they saw the same recording.

Frames belong together when they have the same stamp on the same topic of the same recording, told by its fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hybridnet_ros.offline.evaluation import Evaluation
from hybridnet_ros.offline.figures import DepthFigures, FrameFigures, SegmentationFigures
from hybridnet_ros.offline.wording import DEPTH, LABELS, NOTHING, OVERALL, STEADY, Wording, stream_text

MEASURES: dict[str, tuple[Wording, Callable[[FrameFigures], float | None]]] = {
    "depth AbsRel": (DEPTH["abs_rel"], lambda frame: None if frame.depth is None else frame.depth.abs_rel),
    "depth RMSE": (DEPTH["rmse"], lambda frame: None if frame.depth is None else frame.depth.rmse),
    "right labels": (LABELS["global_accuracy"], lambda frame: frame.accuracy),
    "mean IoU": (LABELS["mean_iou"], lambda frame: frame.mean_iou),
    "confidence": (OVERALL["confidence"], lambda frame: frame.confidence),
    "finite depth": (OVERALL["finite_depth"], lambda frame: frame.finite_depth),
    "steady labels": (STEADY["labels"], lambda frame: frame.steady_labels),
    "depth change": (STEADY["depth"], lambda frame: frame.steady_depth),
}
"""What single frames are compared by: how it is written, and where it is."""

MOST_CURVES = 12
"""How many recordings get curves on the page."""

_ENGINE_MS = Wording("engine, median a frame", "the engine alone, ms", -1, 1, " ms")


@dataclass(frozen=True)
class Row:
    """One figure of both; `better` is `A`, `B`, or empty where they are equal or neither is better."""

    name: str
    meaning: str
    a: str
    b: str
    change: str
    better: str


@dataclass(frozen=True)
class Group:
    """Figures that belong together."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Pair:
    """The same image in both evaluations."""

    a: FrameFigures
    b: FrameFigures


@dataclass(frozen=True)
class Paired:
    """One measure over all pairs that have it in both.

    Attributes:
        name: in MEASURES.
        pairs: compared.
        mean: of B - A, as text.
        a_better, b_better: in how many pairs; None where neither is better by nature.
        furthest: the pairs that differ most, the first most, with their values.
    """

    name: str
    pairs: int
    mean: str
    a_better: int | None
    b_better: int | None
    furthest: tuple[tuple[Pair, str, str], ...]


@dataclass(frozen=True)
class Comparison:
    """A and B side by side.

    Attributes:
        a, b: the evaluations.
        differences: what is not the same about engine, settings and data, as (what, A, B).
        groups: figures over all frames of each.
        pairs: frames that are in both.
        only_a, only_b: how many frames are in one only.
        paired: frame by frame.
    """

    a: Evaluation
    b: Evaluation
    differences: tuple[tuple[str, str, str], ...]
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    only_a: int
    only_b: int
    paired: tuple[Paired, ...]


def compare(a: Evaluation, b: Evaluation, most: int = 5) -> Comparison:
    """Compare two evaluations; at most `most` frames are named for each measure."""
    pairs = _pairs(a, b)
    return Comparison(
        a=a,
        b=b,
        differences=tuple(_differences(a, b)),
        groups=tuple(group for group in _groups(a, b) if group.rows),
        pairs=pairs,
        only_a=len(a.frames) - len(pairs),
        only_b=len(b.frames) - len(pairs),
        paired=tuple(paired for paired in (_paired(name, pairs, most) for name in MEASURES) if paired.pairs),
    )


def _pairs(a: Evaluation, b: Evaluation) -> tuple[Pair, ...]:
    def key(evaluation: Evaluation, frame: FrameFigures) -> tuple[str, str, int]:
        stream = evaluation.streams[frame.stream]
        return stream.fingerprint, stream.topic, frame.stamp_ns

    others = {key(b, frame): frame for frame in b.frames}
    found = ((frame, others.get(key(a, frame))) for frame in a.frames)
    return tuple(Pair(frame, other) for frame, other in found if other is not None)


def _differences(a: Evaluation, b: Evaluation) -> list[tuple[str, str, str]]:
    def facts(evaluation: Evaluation) -> dict[str, str]:
        engine, settings = evaluation.engine, evaluation.settings
        return {
            "status": evaluation.status,
            "engine": engine.description,
            "network file": f"{engine.name}, SHA-256 {engine.sha256[:16]}",
            "precision": engine.precision,
            "training focal length": f"{engine.fx:g} px",
            "runtime": f"{engine.runtime}, CPU threads: {engine.threads}",
            "labels": engine.label_set,
            "depth range": f"{settings.min_depth:g} to {settings.max_depth:g} m",
            "reference depth": f"up to {settings.cap:g} m",
            "label confidence": f"at least {settings.min_confidence:g}",
            "tolerance": f"{settings.tolerance_s:g} s",
            "recordings": ", ".join(map(stream_text, evaluation.streams)),
            "fingerprints": ", ".join(stream.fingerprint[:16] for stream in evaluation.streams),
            "depth references": ", ".join(str(stream.depth_reference or "none") for stream in evaluation.streams),
            "label references": ", ".join(str(stream.label_reference or "none") for stream in evaluation.streams),
            "machine": evaluation.run.machine,
            "program": evaluation.run.version,
        }

    left, right = facts(a), facts(b)
    return [(what, left[what], right[what]) for what in left if left[what] != right[what]]


def _groups(a: Evaluation, b: Evaluation) -> list[Group]:
    total_a, total_b = a.total, b.total
    overall = [_row(w, getattr(total_a, name), getattr(total_b, name)) for name, w in OVERALL.items()]
    overall += [
        _row(w, getattr(total_a.consistency, name), getattr(total_b.consistency, name)) for name, w in STEADY.items()
    ]
    overall.append(_row(_ENGINE_MS, a.run.engine_ms_p50, b.run.engine_ms_p50))
    groups = [Group("Depth", _depth_rows(total_a.depth, total_b.depth))]
    left, right = total_a.segmentation, total_b.segmentation
    if left is not None and right is not None:
        rows = [_row(w, getattr(left, name), getattr(right, name)) for name, w in LABELS.items()]
        if left.class_names == right.class_names:
            for name, iou_a, iou_b in zip(left.class_names, left.iou, right.iou, strict=True):
                rows.append(_row(Wording(f"IoU {name}", "intersection over union", 1), iou_a, iou_b))
        groups.append(Group("Labels", tuple(row for row in rows if row is not None)))
        if left.distance == right.distance:
            groups += _label_bands(left, right)
    bands = {(band.near, band.far): band.depth for band in total_b.bands}
    for band in total_a.bands:
        groups.append(
            Group(
                f"Depth from {band.near:g} to {band.far:g} m",
                _depth_rows(band.depth, bands.get((band.near, band.far)), ("abs_rel", "rmse", "delta1", "pixels")),
            )
        )
    groups.append(Group("All frames", tuple(row for row in overall if row is not None)))
    return groups


def _label_bands(a: SegmentationFigures, b: SegmentationFigures) -> list[Group]:
    """Labels by distance, in the bands that both have."""
    others = {(band.near, band.far): band for band in b.bands}
    groups = []
    for band in a.bands:
        other = others.get((band.near, band.far))
        if other is not None and (band.pixels or other.pixels):
            rows = (_row(w, getattr(band, name), getattr(other, name)) for name, w in LABELS.items())
            name = f"Labels from {band.near:g} to {band.far:g} m, by {a.distance} depth"
            groups.append(Group(name, tuple(row for row in rows if row is not None)))
    return groups


def _depth_rows(
    a: DepthFigures | None, b: DepthFigures | None, names: tuple[str, ...] = tuple(DEPTH)
) -> tuple[Row, ...]:
    if a is None or b is None or not (a.pixels or b.pixels):
        return ()
    rows = (_row(DEPTH[name], getattr(a, name), getattr(b, name)) for name in names)
    return tuple(row for row in rows if row is not None)


def _row(wording: Wording, a: float | None, b: float | None) -> Row | None:
    """None where neither has the figure."""
    if a is None and b is None:
        return None
    change, better = NOTHING, ""
    if a is not None and b is not None:
        change = _signed(wording, a, b)
        if wording.better and wording.text(a) != wording.text(b):
            better = "B" if (b > a) == (wording.better > 0) else "A"
    return Row(wording.name, wording.meaning, wording.text(a), wording.text(b), change, better)


def _signed(wording: Wording, a: float, b: float) -> str:
    """B - A; a difference too small to be seen in the figures is none."""
    return "=" if wording.text(a) == wording.text(b) else _with_sign(wording, b - a)


def _with_sign(wording: Wording, difference: float) -> str:
    size = wording.text(abs(difference))
    return size if size == wording.text(0.0) else f"{'+' if difference > 0 else '−'}{size}"


def _paired(name: str, pairs: tuple[Pair, ...], most: int) -> Paired:
    wording, value = MEASURES[name]
    both = [(pair, value(pair.a), value(pair.b)) for pair in pairs]
    known = [(pair, a, b) for pair, a, b in both if a is not None and b is not None]
    apart = (each for each in known if wording.text(each[1]) != wording.text(each[2]))
    furthest = sorted(apart, key=lambda each: -abs(each[2] - each[1]))[:most]
    lower = sum(b < a for _, a, b in known)
    higher = sum(b > a for _, a, b in known)
    mean = sum(b - a for _, a, b in known) / len(known) if known else 0.0
    return Paired(
        name=name,
        pairs=len(known),
        mean=_with_sign(wording, mean),
        a_better=None if not wording.better else lower if wording.better > 0 else higher,
        b_better=None if not wording.better else higher if wording.better > 0 else lower,
        furthest=tuple((pair, wording.text(a), wording.text(b)) for pair, a, b in furthest),
    )
