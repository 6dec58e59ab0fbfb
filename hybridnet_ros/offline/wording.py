"""How figures are named and written for people, the same in the terminal, in reports and in comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from hybridnet_ros.offline.evaluation import Evaluation, StreamRecord
from hybridnet_ros.offline.figures import PREDICTED, REFERENCE, Consistency, DepthFigures, Figures, FrameFigures

NOTHING = "–"
"""What stands for a figure that there is no data for."""


@dataclass(frozen=True)
class Wording:
    """How one figure is written.

    Attributes:
        name: short, for the head of a column.
        meaning: one line.
        better: 1 if more is better, -1 if less is, 0 if neither.
        digits: behind the point; None for a count.
        unit: behind the number.
    """

    name: str
    meaning: str
    better: int = 0
    digits: int | None = 3
    unit: str = ""

    def text(self, value: float | None) -> str:
        """The figure as text, NOTHING if there is none."""
        if value is None:
            return NOTHING
        if self.digits is None:
            return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") + self.unit
        return f"{value:.{self.digits}f}{self.unit}"


DEPTH = {
    "abs_rel": Wording("AbsRel", "mean |depth - truth| / truth", -1),
    "rmse": Wording("RMSE", "root of the mean squared error, m", -1, 2, " m"),
    "delta1": Wording("δ<1.25", "share of pixels off by less than a factor of 1.25", 1),
    "delta2": Wording("δ<1.25²", "share of pixels off by less than a factor of 1.25²", 1),
    "delta3": Wording("δ<1.25³", "share of pixels off by less than a factor of 1.25³", 1),
    "sq_rel": Wording("SqRel", "mean (depth - truth)² / truth, m", -1, 3, " m"),
    "rmse_log": Wording("RMSE log", "root of the mean squared ln(depth / truth)", -1),
    "si_log": Wording("SI log", "scale-invariant: sqrt(mean d² - (mean d)²), d = ln(depth / truth)", -1),
    "si_var": Wording("SI var", "SI log squared", -1, 4),
    "scale": Wording("scale", "geometric mean of depth / truth; 1.1 is 10 % too far on the whole", 0),
    "pixels": Wording("pixels", "compared", 0, None),
    "missing": Wording("missing", "have a truth but no prediction (NaN); in no other figure", 0, None),
}
"""Of `DepthFigures`, the most telling first."""

OVERALL = {
    "frames": Wording("frames", "evaluated", 0, None),
    "failed": Wording("failed", "images that could not be decoded or inferred", -1, None),
    "duration_s": Wording("duration", "from the first stamp to the last", 0, 1, " s"),
    "rate_hz": Wording("rate", "frames a second of recording", 0, 1, " Hz"),
    "confidence": Wording("confidence", "mean probability of the labels"),
    "finite_depth": Wording("finite depth", "share of pixels with a finite depth"),
}
"""Of `Figures` and, for the last two, of `FrameFigures`."""

LABELS = {
    "mean_iou": Wording("mean IoU", "intersection over union, mean of the classes in the reference", 1),
    "global_accuracy": Wording("G", "share of all pixels with the right label", 1),
    "class_accuracy": Wording("C", "share of a class's pixels with the right label, mean of the classes", 1),
    "pixels": Wording("pixels", "labelled in the reference", 0, None),
}
"""Of `SegmentationFigures`."""

DISTANCE = {
    REFERENCE: "the depth reference says how far a pixel is; pixels where it says nothing are in no band",
    PREDICTED: "there is no depth reference, so the predicted depth says how far a pixel is; where none is predicted "
    "(sky, out of range) a pixel is in no band",
}
"""Which depth `SegmentationFigures.bands` go by."""

STEADY = {
    "labels": Wording("steady labels", "share of pixels whose label stays from one frame to the next", 1),
    "depth": Wording("depth change", "median |ln(depth / depth before)| from one frame to the next", -1),
    "pairs": Wording("pairs", "of frames compared", 0, None),
}
"""Of `Consistency`; a network can be steady and wrong, so it comes last."""

SHARE = Wording("share", "of all pixels", 0, 1, " %")


def depth_texts(depth: DepthFigures | None) -> list[str]:
    """All depth figures in the order of DEPTH."""
    return [wording.text(None if depth is None else getattr(depth, name)) for name, wording in DEPTH.items()]


def overall_rows(figures: Figures) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of everything but the tables by class, by distance and of depth."""
    rows = [(wording.name, wording.text(getattr(figures, name)), wording.meaning) for name, wording in OVERALL.items()]
    if figures.segmentation is not None:
        rows += [(f"labels {w.name}", w.text(getattr(figures.segmentation, n)), w.meaning) for n, w in LABELS.items()]
    rows += steady_rows(figures.consistency)
    for what, matches in (("depth", figures.depth_matches), ("labels", figures.label_matches)):
        if matches is not None:
            total = matches.matched + matches.unmatched
            rows.append((f"frames with a {what} reference", f"{matches.matched} of {total}", "near enough in time"))
    return rows


def steady_rows(consistency: Consistency) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of the temporal consistency."""
    return [(w.name, w.text(getattr(consistency, n)), w.meaning) for n, w in STEADY.items()]


def frame_text(frame: FrameFigures) -> str:
    """The figures of one frame in a line."""
    parts = []
    if frame.depth is not None and frame.depth.abs_rel is not None:
        parts += [f"{DEPTH[name].name} {DEPTH[name].text(getattr(frame.depth, name))}" for name in ("abs_rel", "rmse")]
    if frame.accuracy is not None:
        parts.append(f"right labels {100 * frame.accuracy:.1f} %")
    if frame.mean_iou is not None:
        parts.append(f"mean IoU {frame.mean_iou:.3f}")
    parts.append(f"confidence {frame.confidence:.3f}")
    if frame.steady_labels is not None:
        parts.append(f"steady labels {frame.steady_labels:.3f}")
    return ", ".join(parts)


def stream_text(stream: StreamRecord) -> str:
    """A stream in a few words: its file and topic."""
    name = stream.source.rstrip("/").rsplit("/", 1)[-1] or stream.source
    return f"{name} {stream.topic}".strip()


def frame_place(evaluation: Evaluation, frame: FrameFigures) -> str:
    """Which frame it is, in words; the recording is named only if there are several."""
    place = f"frame {frame.number} at {seconds(evaluation, frame):.2f} s"
    return place if len(evaluation.streams) == 1 else f"{stream_text(evaluation.streams[frame.stream])}, {place}"


def seconds(evaluation: Evaluation, frame: FrameFigures) -> float:
    """Time of a frame from the first one of its stream."""
    first = next(each for each in evaluation.frames if each.stream == frame.stream)
    return (frame.stamp_ns - first.stamp_ns) / 1e9
