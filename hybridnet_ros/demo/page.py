"""Writes the demo's page: one HTML file with its pictures inside, which asks nothing of any network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.demo.recording import DEPTH_CAP, Frame
from hybridnet_ros.demo.result import Result
from hybridnet_ros.engine import Manifest
from hybridnet_ros.node.recorder import Answer
from hybridnet_ros.pages import css, depth_key, encode, render
from hybridnet_ros.pages.charts import Chart, chart
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DepthMetrics

_PICTURES = 6
_NOTE = (
    "One scene of four seconds, slow traffic in bright sun: enough to see that everything works, too little to judge a "
    "network by. Its accuracy on validation data is in its model card. LiDAR measures a few of a hundred pixels, none "
    "of them in the sky, with errors of its own at the edges of objects, and the bag has none beyond 65.5 m."
)
_LICENCE = (
    "Camera images and LiDAR depth are from the KITTI Vision Benchmark Suite (A. Geiger, P. Lenz, C. Stiller, R. "
    "Urtasun: Vision meets Robotics: The KITTI Dataset, IJRR 2013), re-encoded as the README.md beside the bag says, "
    "under Creative Commons Attribution-NonCommercial-ShareAlike 3.0. So are the pictures on this page."
)


def write_page(
    path: Path, result: Result, frames: Sequence[Frame], answers: dict[int, Answer], manifest: Manifest
) -> None:
    """Write the page to `path`; `answers` are by the number of their frame in `frames`."""
    shown = _spread(sorted(answers), _PICTURES)
    render(
        path,
        Path(__file__).parent,
        "page.html.j2",
        result=result,
        date=datetime.now().astimezone().strftime("%-d %B %Y, %H:%M %Z"),
        cards=_cards(result),
        key=depth_key(manifest.shown_depth),
        classes=_classes([answers[index].labels for index in shown], manifest.labels),
        frames=[_pictures(index, frames[index], answers[index], manifest) for index in shown],
        chart=_chart(result),
        identity=_identity(result, manifest),
        note=_NOTE,
        licence=_LICENCE,
    )


def _spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of `items`, evenly spread, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, count)]


def _cards(result: Result) -> list[tuple[str, str]]:
    """The figures that matter most, as (name, value)."""
    return [
        ("frames answered", f"{result.answered} / {result.sent}"),
        ("rate", f"{result.rate_hz:.1f} Hz"),
        ("age, median", f"{result.age_p50_ms:.0f} ms"),
        ("age, 95 %", f"{result.age_p95_ms:.0f} ms"),
        ("depth AbsRel against LiDAR", f"{result.depth['abs_rel']:.3f}"),
        ("depth delta1", f"{result.depth['delta1']:.3f}"),
        ("depth RMSE", f"{result.depth['rmse']:.2f} m"),
    ]


def _pictures(index: int, frame: Frame, answer: Answer, manifest: Manifest) -> dict[str, Any]:
    """One row of pictures with what stands below them."""
    height, width = answer.labels.shape
    color = colorize_labels(answer.labels, manifest.labels.palette())
    metrics = DepthMetrics(DEPTH_CAP)
    metrics.add(answer.depth, frame.lidar)
    abs_rel = metrics.pooled()["abs_rel"]
    return {
        "index": index,
        "width": width,
        "height": height,
        "image": encode(frame.image),
        "depth": encode(colorize_depth(answer.depth, *manifest.shown_depth)),
        "labels": encode(overlay(frame.image, color, 0.6)),
        "abs_rel": None if math.isnan(abs_rel) else f"{abs_rel:.3f}",
        "confidence": f"{answer.confidence.mean() / 255:.2f}",
    }


def _classes(maps: Sequence[NDArray[np.uint8]], labels: LabelSet) -> list[tuple[str, str, str]]:
    """(name, colour, share) of the classes in `maps`, the largest first."""
    counts = sum((np.bincount(each.ravel(), minlength=256) for each in maps), np.zeros(256, np.int64))
    rows = []
    for value in np.argsort(-counts, kind="stable"):
        if counts[value] == 0:
            break
        name = labels.names[value] if value < len(labels) else "unlabelled"
        share = 100 * counts[value] / counts.sum()
        rows.append((name, css(labels.palette()[value]), f"{share:.0f} %" if share >= 0.5 else "< 1 %"))
    return rows


def _chart(result: Result) -> Chart | None:
    """The ages in the order in which the frames were sent, broken where a frame has no answer."""
    return chart(
        "Age of each answer in milliseconds",
        [("", "var(--ink)", list(enumerate(result.ages_ms)))],
        low=0,
        unit=" ms",
        ends=("first frame", f"frame {result.sent}"),
        level=result.age_p95_ms,
        marks=[number for number, age in enumerate(result.ages_ms) if age is None],
    )


def _identity(result: Result, manifest: Manifest) -> list[tuple[str, str]]:
    """What ran, on what."""
    sources = "; ".join(f"{source.name} ({source.licence}): {source.use}" for source in manifest.training.data)
    return [
        ("engine", result.engine),
        ("file", f"{manifest.onnx}, SHA-256 {manifest.onnx_sha256[:16]}..."),
        ("labels", f"{manifest.labels.name}, {len(manifest.labels)} classes"),
        ("trained on", sources),
        ("licence of the weights", manifest.licence),
        ("machine", result.machine),
        ("ROS domain", str(result.domain)),
    ]
