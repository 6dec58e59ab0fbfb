"""The tables of a report: what is written in each row and cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridnet_ros.offline.evaluation import Evaluation
from hybridnet_ros.offline.figures import DepthFigures, Figures, SegmentationFigures
from hybridnet_ros.offline.wording import (
    DEPTH,
    DISTANCE,
    LABELS,
    NOTHING,
    OVERALL,
    SHARE,
    STEADY,
    depth_texts,
    stream_text,
)
from hybridnet_ros.pages import css


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: its share of the row, how strong its colour is, and its pixels."""

    text: str
    strength: float
    right: bool
    pixels: int


def classes(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, colour, share) of the engine's classes, the largest first."""
    pairs = zip(evaluation.total.classes, evaluation.engine.class_colors, strict=True)
    ordered = sorted(pairs, key=lambda pair: -pair[0].share)
    return [(figures.name, css(color), SHARE.text(100 * figures.share)) for figures, color in ordered if figures.share]


def bands(total: Figures) -> list[dict[str, Any]]:
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


def label_bands(segmentation: SegmentationFigures | None) -> dict[str, Any] | None:
    """Labels by distance: the scores, and the IoU of each class that the reference has; None without a reference."""
    if segmentation is None or not segmentation.pixels:
        return None
    present = [index for index, iou in enumerate(segmentation.iou) if iou is not None]
    score = LABELS["mean_iou"].text
    rows = []
    for band in segmentation.bands:
        texts = [wording.text(getattr(band, name)) for name, wording in LABELS.items()]
        rows.append((f"{band.near:g} to {band.far:g} m", [*texts, *(score(band.iou[index]) for index in present)]))
    return {
        "depth": DISTANCE[segmentation.distance],
        "names": [wording.name for wording in LABELS.values()],
        "classes": [(segmentation.class_names[i], css(segmentation.class_colors[i])) for i in present],
        "rows": rows,
    }


def _same_classes(evaluation: Evaluation) -> bool:
    segmentation = evaluation.total.segmentation
    return segmentation is not None and segmentation.class_names == evaluation.engine.class_names


def class_table(evaluation: Evaluation) -> dict[str, Any]:
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


def reference_table(evaluation: Evaluation) -> list[tuple[str, str, str, str, str]]:
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


def confusion(segmentation: SegmentationFigures | None) -> dict[str, Any] | None:
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


def depth_table(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
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


def streams(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Each recording: its name, its figures in a row, and facts about it as (name, value)."""
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


def identity(evaluation: Evaluation) -> list[tuple[str, str]]:
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
