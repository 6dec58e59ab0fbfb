"""Writes the report of an evaluation: one HTML file with its pictures inside, which asks nothing of any network."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridnet_ros.offline import report_tables as tables
from hybridnet_ros.offline.evaluation import PARTIAL, PICTURES, Evaluation, picture_path
from hybridnet_ros.offline.in_short import in_short
from hybridnet_ros.offline.wording import (
    DEPTH,
    LABELS,
    NOTHING,
    OVERALL,
    STEADY,
    frame_place,
    frame_text,
    overall_rows,
    stream_text,
)
from hybridnet_ros.pages import Picture, css, data_uri, depth_key, render
from hybridnet_ros.pages.charts import Area, Chart, chart, shares

FILE_NAME = "report.html"

_MOST_STREAMS = 12
"""How many recordings get curves of their own."""

_ACCENT, _SECOND = "var(--a)", "var(--b)"
_ORDER = ("image", "depth", "labels", "reference_depth", "reference_labels")


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
        in_short=in_short(evaluation),
        key=depth_key(evaluation.engine.shown_depth),
        classes=tables.classes(evaluation),
        highlights=rows,
        curves=[_curves(evaluation, number) for number in range(min(_MOST_STREAMS, len(evaluation.streams)))],
        curves_left_out=max(0, len(evaluation.streams) - _MOST_STREAMS),
        bands=tables.bands(evaluation.total),
        label_bands=tables.label_bands(evaluation.total.segmentation),
        class_table=tables.class_table(evaluation),
        reference_table=tables.reference_table(evaluation),
        confusion=tables.confusion(evaluation.total.segmentation),
        depth_names=[(wording.name, wording.meaning) for wording in DEPTH.values()],
        depth_table=tables.depth_table(evaluation),
        overall=overall_rows(evaluation.total),
        streams=tables.streams(evaluation),
        stream_names=[*(w.name for w in OVERALL.values()), *(w.name for w in STEADY.values())],
        identity=tables.identity(evaluation),
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
            caption = PICTURES[name]
            source = data_uri(file.read_bytes())
            shown.append(Picture(source, frame.width, frame.height, caption, f"{caption}, {place}", name))
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
