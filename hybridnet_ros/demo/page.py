"""Writes the demo's page: one HTML file with its pictures inside, which asks nothing of any network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.demo.recording import Frame
from hybridnet_ros.demo.result import Result
from hybridnet_ros.engine import Manifest
from hybridnet_ros.node.recorder import Answer
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DepthMetrics

NEAREST, FARTHEST = 1.0, 80.0
"""Ends of the depth colours in metres."""

_PICTURES = 6
_TICKS = (1, 2, 5, 10, 20, 40, 80)
_JPEG_QUALITY = 85
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("page.html.j2").render(
        result=result,
        date=datetime.now().astimezone().strftime("%-d %B %Y, %H:%M %Z"),
        cards=_cards(result),
        bar=_color_bar(),
        ticks=[(tick, round(100 * _bar_position(tick), 2)) for tick in _TICKS],
        special=_special_colors(),
        classes=_classes([answers[index].labels for index in shown], manifest.labels),
        frames=[_pictures(index, frames[index], answers[index], manifest.labels) for index in shown],
        chart=_chart(result),
        identity=_identity(result, manifest),
        note=_NOTE,
        licence=_LICENCE,
    )
    path.write_text(html, encoding="utf-8")


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


def _pictures(index: int, frame: Frame, answer: Answer, labels: LabelSet) -> dict[str, Any]:
    """One row of pictures with what stands below them."""
    height, width = answer.labels.shape
    color = colorize_labels(answer.labels, labels.palette())
    metrics = DepthMetrics()
    metrics.add(answer.depth, frame.lidar)
    abs_rel = metrics.pooled()["abs_rel"]
    return {
        "index": index,
        "width": width,
        "height": height,
        "image": _data_uri(frame.image, ".jpg"),
        "depth": _data_uri(colorize_depth(answer.depth, NEAREST, FARTHEST), ".jpg"),
        "labels": _data_uri(overlay(frame.image, color, 0.6), ".jpg"),
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
        rows.append((name, _css(labels.palette()[value]), f"{share:.0f} %" if share >= 0.5 else "< 1 %"))
    return rows


def _color_bar() -> str:
    """All depth colours from near to far, as wide as they are many."""
    steps = np.linspace(0, 1, 512)
    return _data_uri(
        colorize_depth((NEAREST * (FARTHEST / NEAREST) ** steps)[np.newaxis].astype(np.float32), NEAREST, FARTHEST),
        ".png",
    )


def _bar_position(metres: float) -> float:
    """Where a depth is on the colour bar, 0 to 1: equal ratios are equally long."""
    return math.log(metres / NEAREST) / math.log(FARTHEST / NEAREST)


def _special_colors() -> list[tuple[str, str]]:
    """The colours of what is not a depth."""
    values = np.array([[np.inf, -np.inf, np.nan]], np.float32)
    names = ("beyond range, sky", "too near", "no estimate")
    return [
        (name, _css(color)) for name, color in zip(names, colorize_depth(values, NEAREST, FARTHEST)[0], strict=True)
    ]


def _chart(result: Result) -> dict[str, Any]:
    """Ages as paths in a field of 1000 x 100, broken where a frame has no answer."""
    highest = max([age for age in result.ages_ms if age is not None])
    step = 10 if highest < 100 else 50
    top = max(step, math.ceil(highest * 1.05 / step) * step)
    scale = 1000 / max(1, len(result.ages_ms) - 1)
    lines: list[str] = []
    connected = False
    for number, age in enumerate(result.ages_ms):
        if age is not None:
            point = f"{number * scale:.1f} {100 - 100 * age / top:.2f}"
            if connected:
                lines[-1] += f"L{point}"
            else:
                lines.append(f"M{point}h.1")
        connected = age is not None
    return {
        "top": top,
        "middle": top // 2,
        "p95": f"{100 - 100 * result.age_p95_ms / top:.2f}",
        "lines": lines,
        "dropped": [f"{number * scale:.1f}" for number, age in enumerate(result.ages_ms) if age is None],
    }


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


def _data_uri(rgb: NDArray[np.uint8], suffix: str) -> str:
    kind, options = {".jpg": ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]), ".png": ("png", [])}[suffix]
    encoded = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _css(color: Sequence[int] | NDArray[np.uint8]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in color)
