"""Pictures of the highlighted frames, for the report: these few frames are read and predicted once more."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.perception import View
from hybridnet_ros.offline.evaluate_bag import Worker
from hybridnet_ros.offline.evaluation import Evaluation, Highlight, picture_path
from hybridnet_ros.offline.figures import FrameFigures
from hybridnet_ros.offline.finishing import Ready
from hybridnet_ros.offline.job import Item, Job
from hybridnet_ros.offline.summary import Summary
from hybridnet_ros.scene.colors import colorize_depth, colorize_labels, overlay

_WIDTH, _QUALITY = 640, 85
_SPARSE = 0.3  # share of pixels with depth below which points are enlarged to be seen


def write_pictures(job: Job, worker: Worker, summary: Summary) -> Evaluation:
    """Writes the pictures of all highlights; returns the evaluation with their names.

    Raises:
        OSError: they cannot be written.
    """
    evaluation = summary.evaluation
    wanted: dict[Item, dict[int, FrameFigures]] = {}
    for highlight in evaluation.highlights:
        item, index = summary.places[highlight.frame]
        wanted.setdefault(item, {})[index] = evaluation.frames[highlight.frame]
    written: dict[tuple[int, int], tuple[str, ...]] = {}

    def picture(figures: FrameFigures, ready: Ready, task: int) -> None:
        view = worker.predict(ready, job.tasks[task].stream.fx)
        pictures = draw(job, worker, ready, view, task)
        for name, rgb in pictures.items():
            _save(picture_path(Path(job.folder), figures, name), rgb)
        written[_key(figures)] = tuple(pictures)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        drawn = []
        for item, figures in wanted.items():
            task = job.tasks[item.task]
            left = dict(figures)
            for frame in worker.source(item.task).frames(task.stream.chunks[item.chunk]):
                if (each := left.pop(frame.index, None)) is not None:
                    drawn.append(threads.submit(picture, each, worker.make_ready(frame, task), item.task))
                if not left:
                    break
        for each_drawn in drawn:
            each_drawn.result()
    return replace(
        evaluation,
        highlights=tuple(
            Highlight(each.frame, each.why, written.get(_key(evaluation.frames[each.frame]), ()))
            for each in evaluation.highlights
        ),
    )


def draw(job: Job, worker: Worker, ready: Ready, view: View, number: int) -> dict[str, NDArray[np.uint8]]:
    """The pictures, rgb, that there are of one frame, by the names in evaluation.PICTURES."""
    mask = view.mask(job.settings.min_confidence)
    manifest = worker.engine.manifest
    pictures = {
        "image": ready.rgb,
        "depth": colorize_depth(view.depth, *manifest.shown_depth),
        "labels": overlay(ready.rgb, colorize_labels(mask, manifest.labels.palette())),
    }
    pictures = {name: _shrink(picture) for name, picture in pictures.items()}
    size = pictures["image"].shape[1::-1]
    if ready.depth is not None:
        pictures["reference_depth"] = _reference_depth(ready.depth, size, manifest.shown_depth)
    labels = job.tasks[number].labels
    if ready.labels is not None and labels is not None:
        truth = cv2.resize(ready.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        colors = colorize_labels(np.asarray(truth, np.uint8), labels.labels.palette())
        pictures["reference_labels"] = overlay(pictures["image"], colors)
    return pictures


def _reference_depth(
    truth: NDArray[np.float32], size: tuple[int, int], shown: tuple[float, float]
) -> NDArray[np.uint8]:
    colors = colorize_depth(truth, *shown)
    if np.mean(np.isfinite(truth)) < _SPARSE:
        shrink = max(1.0, truth.shape[1] / size[0])
        colors = np.asarray(cv2.dilate(colors, np.ones((round(2 * shrink) + 1,) * 2, np.uint8)), np.uint8)
    return np.asarray(cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if width <= _WIDTH:
        return picture
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _save(path: Path, rgb: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    path.write_bytes(jpeg.tobytes())


def _key(frame: FrameFigures) -> tuple[int, int]:
    return frame.stream, frame.number
