"""Writes the page of a comparison: one HTML file with its pictures inside, which asks nothing of any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.offline.comparison import MEASURES, MOST_CURVES, Comparison, Pair
from hybridnet_ros.offline.disagreement import Disagreement, Disagreements, Key, Predicted
from hybridnet_ros.offline.evaluation import EngineRecord, Evaluation
from hybridnet_ros.offline.wording import NOTHING, frame_place, frame_text, seconds, stream_text
from hybridnet_ros.pages import Picture, depth_key, encode, render
from hybridnet_ros.pages.charts import Chart, chart
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels


def write_comparison(comparison: Comparison, found: Disagreements | None, path: Path) -> None:
    """Write the page to `path`; `found` is what the predictions themselves say, if they are still there."""
    # One key for the pictures of both.
    ends = [side.engine.shown_depth for side in (comparison.a, comparison.b)]
    shown = min(near for near, _ in ends), max(far for _, far in ends)
    pairs = {Key(pair.a.stream, pair.a.stamp_ns): pair for pair in comparison.pairs}
    render(
        path,
        Path(__file__).parent,
        "compare.html.j2",
        comparison=comparison,
        sides=[_side("A", comparison.a), _side("B", comparison.b)],
        found=found,
        found_depth=NOTHING if found is None or found.depth is None else f"{found.depth:.4f}",
        frames=[
            _frame(comparison, pairs[key], each, shown)
            for key, each in (found.shown.items() if found else ())
            if key in pairs
        ],
        key=depth_key(shown),
        curves=_curves(comparison),
        curves_left_out=max(0, len(comparison.a.streams) - MOST_CURVES),
        furthest=[
            (
                paired,
                [(frame_place(comparison.a, pair.a), a, b) for pair, a, b in paired.furthest],
            )
            for paired in comparison.paired
            if paired.furthest
        ],
    )


def _side(letter: str, evaluation: Evaluation) -> dict[str, str]:
    return {
        "letter": letter,
        "engine": evaluation.engine.description,
        "data": ", ".join(map(stream_text, evaluation.streams)),
        "status": evaluation.status,
    }


def _frame(comparison: Comparison, pair: Pair, each: Disagreement, shown: tuple[float, float]) -> dict[str, Any]:
    place = frame_place(comparison.a, pair.a)
    pictures = []
    if each.a is not None and each.b is not None:
        engines = comparison.a.engine, comparison.b.engine
        pictures = [
            _picture("depth: white is a factor of 2 apart or more", _depth_apart(each.a, each.b), place),
            _picture("A: depth", colorize_depth(each.a.depth, *shown), place),
            _picture("B: depth", colorize_depth(each.b.depth, *shown), place),
            _picture("labels: white is where they differ", _gray(each.a.labels != each.b.labels), place, ".png"),
            _picture("A: labels", _labels(each.a, engines[0]), place, ".png"),
            _picture("B: labels", _labels(each.b, engines[1]), place, ".png"),
        ]
    depth = NOTHING if each.depth is None else f"{each.depth:.4f}"
    return {
        "place": place,
        "a": frame_text(pair.a),
        "b": frame_text(pair.b),
        "text": f"labels differ in {100 * each.labels:.1f} % of the pixels, depth by a median |ln ratio| of {depth}",
        "pictures": pictures,
    }


def _depth_apart(a: Predicted, b: Predicted) -> NDArray[np.uint8]:
    """|ln(B / A)|, white from a factor of 2 on, and where only one has a finite depth; black where neither has."""
    finite = np.isfinite(a.depth) & np.isfinite(b.depth) & (a.depth > 0) & (b.depth > 0)
    apart = np.where(np.isfinite(a.depth) != np.isfinite(b.depth), 1.0, 0.0)
    apart[finite] = np.abs(np.log(b.depth[finite] / a.depth[finite])) / np.log(2)
    return _gray(apart)


def _gray(share: NDArray) -> NDArray[np.uint8]:
    level = (255 * np.clip(share, 0, 1)).astype(np.uint8)
    return np.dstack([level, level, level])


def _labels(predicted: Predicted, engine: EngineRecord) -> NDArray[np.uint8]:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(engine.class_colors)] = engine.class_colors
    return colorize_labels(predicted.labels, palette)


def _picture(caption: str, rgb: NDArray[np.uint8], place: str, suffix: str = ".jpg") -> Picture:
    height, width = rgb.shape[:2]
    return Picture(encode(rgb, suffix), width, height, caption, f"{caption}, {place}")


def _curves(comparison: Comparison) -> list[tuple[str, list[Chart]]]:
    """For each stream, the measures that frames of both have, A and B in one chart."""
    rows = []
    for number, stream in enumerate(comparison.a.streams[:MOST_CURVES]):
        pairs = [pair for pair in comparison.pairs if pair.a.stream == number]
        if not pairs:
            continue
        first = pairs[0].a
        start = seconds(comparison.a, first)
        times = [start + (pair.a.stamp_ns - first.stamp_ns) / 1e9 for pair in pairs]
        charts = []
        for name, (_, value) in MEASURES.items():
            left = list(zip(times, (value(pair.a) for pair in pairs), strict=True))
            right = list(zip(times, (value(pair.b) for pair in pairs), strict=True))
            charts.append(chart(name, [("A", "var(--a)", left), ("B", "var(--b)", right)]))
        rows.append((stream_text(stream), [each for each in charts if each is not None]))
    return rows
