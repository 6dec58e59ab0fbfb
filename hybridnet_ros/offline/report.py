"""Writes the report of an evaluation: one HTML file with its pictures inside, which asks nothing of any network."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybridnet_ros.offline.evaluation import PARTIAL, PICTURES, Evaluation, picture_path
from hybridnet_ros.offline.figures import DepthFigures, Figures, SegmentationFigures
from hybridnet_ros.offline.wording import (
    DEPTH,
    LABELS,
    NOTHING,
    OVERALL,
    SHARE,
    STEADY,
    depth_texts,
    frame_place,
    frame_text,
    overall_rows,
    stream_text,
)
from hybridnet_ros.pages import css, data_uri, depth_key, render
from hybridnet_ros.pages.charts import Area, Chart, chart, shares

FILE_NAME = "report.html"

_MOST_STREAMS = 12
"""How many recordings get curves of their own."""

_ACCENT, _SECOND = "var(--a)", "var(--b)"
_ORDER = ("image", "depth", "labels", "reference_depth", "reference_labels")


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: its share of the row, how strong its colour is, and its pixels."""

    text: str
    strength: float
    right: bool
    pixels: int


@dataclass(frozen=True)
class Curves:
    """The curves of one stream."""

    name: str
    charts: tuple[Chart, ...]
    areas: tuple[Area, ...]
    seconds: str


def write_report(evaluation: Evaluation, folder: Path, path: Path | None = None) -> Path:
    """Write the report of the evaluation whose pictures are in `folder` and return its path.

    Args:
        evaluation: what was found out.
        folder: the evaluation's output folder.
        path: of the page; FILE_NAME in `folder` when None.
    """
    path = path or folder / FILE_NAME
    rows, missing = _highlights(evaluation, folder)
    problems = list(evaluation.problems)
    if missing:
        problems.append(f"{missing} pictures of frames to look at are no longer in {folder / 'pictures'}")
    render(
        path,
        Path(__file__).parent,
        "report.html.j2",
        evaluation=evaluation,
        partial=evaluation.status == PARTIAL,
        problems=problems,
        title=_title(evaluation),
        subtitle=_subtitle(evaluation),
        cards=_cards(evaluation),
        key=depth_key(),
        classes=_classes(evaluation),
        highlights=rows,
        curves=[_curves(evaluation, number) for number in range(min(_MOST_STREAMS, len(evaluation.streams)))],
        curves_left_out=max(0, len(evaluation.streams) - _MOST_STREAMS),
        bands=_bands(evaluation.total),
        class_table=_class_table(evaluation),
        reference_table=_reference_table(evaluation),
        confusion=_confusion(evaluation.total.segmentation),
        depth_names=[(wording.name, wording.meaning) for wording in DEPTH.values()],
        depth_table=_depth_table(evaluation),
        overall=overall_rows(evaluation.total),
        streams=_streams(evaluation),
        stream_names=[*(w.name for w in OVERALL.values()), *(w.name for w in STEADY.values())],
        identity=_identity(evaluation),
        nothing=NOTHING,
    )
    return path


def _title(evaluation: Evaluation) -> str:
    count = len(evaluation.streams)
    where = stream_text(evaluation.streams[0]) if count == 1 else f"{count} recordings"
    return f"{evaluation.engine.network} on {where}"


def _subtitle(evaluation: Evaluation) -> str:
    total, run = evaluation.total, evaluation.run
    return (
        f"{total.frames} frames in {total.duration_s:.1f} s of recording, evaluated on {run.started.replace('T', ' ')} "
        f"with {evaluation.engine.description}."
    )


def _cards(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The figures that matter most, as (name, value)."""
    total, run = evaluation.total, evaluation.run
    cards = [("frames", OVERALL["frames"].text(total.frames))]
    if total.depth is not None:
        cards += [
            (f"depth {DEPTH[name].name}", DEPTH[name].text(getattr(total.depth, name)))
            for name in ("abs_rel", "rmse", "delta1")
        ]
    if total.segmentation is not None:
        cards += [
            (f"labels {LABELS[name].name}", LABELS[name].text(getattr(total.segmentation, name)))
            for name in ("mean_iou", "global_accuracy")
        ]
    cards.append(("mean confidence", OVERALL["confidence"].text(total.confidence)))
    cards.append((STEADY["labels"].name, STEADY["labels"].text(total.consistency.labels)))
    if run.engine_ms_p50 is not None:
        cards.append(("engine, median a frame", f"{run.engine_ms_p50:.0f} ms"))
    return cards


def _classes(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, colour, share) of the engine's classes, the largest first."""
    pairs = zip(evaluation.total.classes, evaluation.engine.class_colors, strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[0].share)
    return [(figures.name, css(color), SHARE.text(100 * figures.share)) for figures, color in ordered if figures.share]


def _highlights(evaluation: Evaluation, folder: Path) -> tuple[list[dict[str, Any]], int]:
    """The frames to look at with all reasons why, and how many of their pictures are gone."""
    reasons: dict[int, list[str]] = defaultdict(list)
    pictures: dict[int, tuple[str, ...]] = {}
    for highlight in evaluation.highlights:
        reasons[highlight.frame].append(highlight.why)
        pictures[highlight.frame] = highlight.pictures
    rows, missing = [], 0
    for number, whys in reasons.items():
        frame = evaluation.frames[number]
        place = frame_place(evaluation, frame)
        shown = []
        for name in (name for name in _ORDER if name in pictures[number]):
            file = picture_path(folder, frame, name)
            if not file.is_file():
                missing += 1
                continue
            shown.append(
                {
                    "name": name,
                    "source": data_uri(file.read_bytes()),
                    "width": frame.width,
                    "height": frame.height,
                    "alt": f"{PICTURES[name]}, {place}",
                    "caption": PICTURES[name],
                }
            )
        rows.append({"why": " and ".join(whys), "place": place, "figures": frame_text(frame), "pictures": shown})
    return rows, missing


def _curves(evaluation: Evaluation, number: int) -> Curves:
    frames = [frame for frame in evaluation.frames if frame.stream == number]
    times = [(frame.stamp_ns - frames[0].stamp_ns) / 1e9 for frame in frames]
    chosen = {highlight.frame for highlight in evaluation.highlights}
    marks = [
        (frame.stamp_ns - frames[0].stamp_ns) / 1e9
        for index, frame in enumerate(evaluation.frames)
        if index in chosen and frame.stream == number
    ]

    def depth(name: str) -> list[tuple[float, float | None]]:
        values = [None if frame.depth is None else getattr(frame.depth, name) for frame in frames]
        return list(zip(times, values, strict=True))

    def own(name: str) -> list[tuple[float, float | None]]:
        return [(time, getattr(frame, name)) for time, frame in zip(times, frames, strict=True)]

    charts = (
        chart("depth AbsRel", [("", _ACCENT, depth("abs_rel"))], low=0, marks=marks),
        chart("depth RMSE in metres", [("", _ACCENT, depth("rmse"))], low=0, marks=marks),
        chart("depth δ<1.25, share of pixels", [("", _ACCENT, depth("delta1"))], low=0, high=1, marks=marks),
        chart(
            "labels",
            [("right pixels", _ACCENT, own("accuracy")), ("mean IoU", _SECOND, own("mean_iou"))],
            low=0,
            high=1,
            marks=marks,
        ),
        chart("mean confidence of the labels", [("", _ACCENT, own("confidence"))], low=0, high=1, marks=marks),
        chart("share of pixels with a finite depth", [("", _ACCENT, own("finite_depth"))], low=0, high=1, marks=marks),
        chart("labels that stay from one frame to the next", [("", _ACCENT, own("steady_labels"))], high=1,
              marks=marks),
        chart("change of depth, median |ln ratio| to the frame before", [("", _ACCENT, own("steady_depth"))], low=0,
              marks=marks),
    )  # fmt: skip
    colors = evaluation.engine.class_colors
    layers = [
        (name, css(color), [frame.shares[index] for frame in frames])
        for index, (name, color) in enumerate(zip(evaluation.engine.class_names, colors, strict=True))
        if any(frame.shares[index] for frame in frames)
    ]
    return Curves(
        name=stream_text(evaluation.streams[number]),
        charts=tuple(each for each in charts if each is not None),
        areas=shares(times, layers) if frames else (),
        seconds=f"{times[-1]:.4g} s" if times else "",
    )


def _bands(total: Figures) -> list[dict[str, Any]]:
    """Depth by distance; `level` is the AbsRel in percent of the largest."""
    largest = max((band.depth.abs_rel for band in total.bands if band.depth.abs_rel is not None), default=0.0)
    return [
        {
            "name": f"{band.near:g} to {band.far:g} m",
            "texts": depth_texts(band.depth),
            "level": 100 * band.depth.abs_rel / largest if band.depth.abs_rel and largest else 0,
        }
        for band in total.bands
    ]


def _same_classes(evaluation: Evaluation) -> bool:
    segmentation = evaluation.total.segmentation
    return segmentation is not None and segmentation.class_names == evaluation.engine.class_names


def _class_table(evaluation: Evaluation) -> dict[str, Any]:
    """The engine's classes; with accuracy and IoU if the reference has the same."""
    segmentation = evaluation.total.segmentation if _same_classes(evaluation) else None
    names = ["share", "confidence", *(["accuracy", "IoU"] if segmentation else [])]
    with_depth = any(figures.depth is not None for figures in evaluation.total.classes)
    shown = ("abs_rel", "rmse", "delta1", "pixels")
    names += [f"depth {DEPTH[name].name}" for name in shown] if with_depth else []
    rows = []
    for index, (figures, color) in enumerate(
        zip(evaluation.total.classes, evaluation.engine.class_colors, strict=True)
    ):
        texts = [SHARE.text(100 * figures.share), OVERALL["confidence"].text(figures.confidence)]
        if segmentation:
            texts += [LABELS["mean_iou"].text(values[index]) for values in (segmentation.accuracy, segmentation.iou)]
        if with_depth:
            texts += [
                DEPTH[name].text(None if figures.depth is None else getattr(figures.depth, name)) for name in shown
            ]
        rows.append((figures.name, css(color), texts))
    return {"names": names, "rows": rows}


def _reference_table(evaluation: Evaluation) -> list[tuple[str, str, str, str, str]]:
    """(name, colour, accuracy, IoU, pixels) of the reference's classes, if they are not the engine's."""
    segmentation = evaluation.total.segmentation
    if segmentation is None or _same_classes(evaluation):
        return []
    score = LABELS["mean_iou"].text
    scores = zip(segmentation.accuracy, segmentation.iou, strict=True)
    return [
        (name, css(color), score(accuracy), score(iou), LABELS["pixels"].text(float(np.sum(row))))
        for name, color, row, (accuracy, iou) in zip(
            segmentation.class_names, segmentation.class_colors, segmentation.confusion, scores, strict=True
        )
    ]


def _confusion(segmentation: SegmentationFigures | None) -> dict[str, Any] | None:
    """The confusion matrix in percent of each row; classes that are neither in rows nor in columns are left out."""
    if segmentation is None:
        return None
    matrix = segmentation.confusion
    names = [*segmentation.class_names, "no class"]
    sums = [int(total) for total in np.sum(matrix, axis=1)]
    columns = [j for j in range(len(names)) if any(row[j] for row in matrix) or (j < len(matrix) and sums[j])]
    rows = [i for i in range(len(matrix)) if sums[i]]
    return {
        "columns": [names[j] for j in columns],
        "rows": [(names[i], sums[i], [_cell(matrix[i][j], sums[i], i == j) for j in columns]) for i in rows],
    }


def _cell(pixels: int, row: int, right: bool) -> Cell:
    percent = 100 * pixels / row
    text = "" if pixels == 0 else "<1" if percent < 0.5 else f"{percent:.0f}"
    return Cell(text, round(min(0.85, 0.12 + percent / 120) if pixels else 0, 2), right, pixels)


def _depth_table(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """All depth figures of everything that there are some of."""
    total = evaluation.total
    groups: list[tuple[str, DepthFigures | None]] = [
        ("all pixels together", total.depth),
        ("mean of the frames", total.depth_per_image),
        *((f"{band.near:g} to {band.far:g} m", band.depth) for band in total.bands),
        *((f"predicted {figures.name}", figures.depth) for figures in total.classes),
    ]
    if len(evaluation.streams) > 1:
        groups += [(stream_text(stream), stream.figures.depth) for stream in evaluation.streams]
    return [(name, depth_texts(depth)) for name, depth in groups if depth is not None and depth.pixels + depth.missing]


def _streams(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for stream in evaluation.streams:
        figures = stream.figures
        texts = [wording.text(getattr(figures, name)) for name, wording in OVERALL.items()]
        texts += [wording.text(getattr(figures.consistency, name)) for name, wording in STEADY.items()]
        facts = [
            ("recording", f"{stream.source} ({stream.kind})"),
            ("images", f"{stream.topic} {stream.type}".strip()),
            ("camera", stream.camera),
            ("depth reference", _reference(stream.depth_reference, figures.depth_matches)),
            ("label reference", _reference(stream.label_reference, figures.label_matches)),
            ("fingerprint", stream.fingerprint),
            *(("problem", problem) for problem in stream.problems),
        ]
        rows.append({"name": stream_text(stream), "texts": texts, "facts": facts})
    return rows


def _reference(source: str | None, matches: Any) -> str:
    if source is None:
        return "none"
    if matches is None:
        return source
    return f"{source}; {matches.matched} frames have one near enough in time, {matches.unmatched} have none"


def _identity(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What ran, how, on what."""
    engine, settings, run = evaluation.engine, evaluation.settings, evaluation.run
    frames_per_s = NOTHING if run.frames_per_s is None else f"{run.frames_per_s:.2f} frames a second"
    milliseconds = [NOTHING if ms is None else f"{ms:.1f} ms" for ms in (run.engine_ms_p50, run.engine_ms_p95)]
    return [
        ("engine", f"{engine.name}: {engine.description}"),
        ("network", f"{engine.network}, {engine.precision}, SHA-256 {engine.sha256}"),
        ("runtime", f"{engine.runtime}, CPU threads a worker: {engine.threads}"),
        ("labels", f"{engine.label_set}, {len(engine.class_names)} classes"),
        ("training", f"{engine.trained}; focal length {engine.fx:g} px at network size"),
        ("licence of the weights", engine.licence),
        ("predicted depth", f"{settings.min_depth:g} to {settings.max_depth:g} m"),
        ("reference depth", f"up to {settings.cap:g} m"),
        ("label confidence", f"at least {settings.min_confidence:g}"),
        ("stamps of image and reference", f"at most {settings.tolerance_s:g} s apart"),
        ("machine", run.machine),
        ("work", f"{run.seconds:.1f} s, {frames_per_s}, workers: {run.workers}"),
        ("engine alone, one frame", f"median {milliseconds[0]}, 95 % below {milliseconds[1]}"),
        ("program", f"hybridnet_ros {run.version}, started {run.started}"),
    ]
