"""Measures and writes what the engine said, while it already works on the next frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.perception import View
from hybridnet_ros.engine.steadiness import Steadiness
from hybridnet_ros.messages import MessageError
from hybridnet_ros.offline.figures import DepthFigures, FrameFigures
from hybridnet_ros.offline.job import Job, Part
from hybridnet_ros.offline.predictions import PredictionWriter
from hybridnet_ros.offline.references import same_view
from hybridnet_ros.offline.sources import Frame
from hybridnet_ros.scene.camera import CameraModel


@dataclass(frozen=True)
class Ready:
    """A frame on its way into the engine; references are None where there are none."""

    frame: Frame
    rgb: NDArray[np.uint8]
    camera: CameraModel | None
    depth: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    problems: tuple[str, ...] = ()


class Finish:
    """Measures and writes predicted frames, in their order, in a thread of its own."""

    def __init__(self, job: Job, number: int, part: Part, writer: PredictionWriter | None) -> None:
        self._settings = job.settings
        self._number = number
        self._task = job.tasks[number]
        self._part = part
        self._writer = writer
        self._steadiness = Steadiness()

    def __call__(self, ready: Ready, view: View) -> None:
        """One frame that the engine has seen; OSError where it cannot be written."""
        part = self._part
        confidence, finite, shares = part.tally.add_view(view)
        depth = self._depth(ready, view) if self._task.depth is not None else None
        accuracy, mean_iou = self._labels(ready, view) if self._task.labels is not None else (None, None)
        steady_labels, steady_depth = self._steadiness.add(ready.rgb, view)
        height, width = view.labels.shape
        part.frames.append(
            FrameFigures(
                stream=self._number,
                number=ready.frame.index,
                stamp_ns=ready.frame.header.stamp_ns,
                width=width,
                height=height,
                confidence=confidence,
                finite_depth=finite,
                shares=shares,
                depth=depth,
                accuracy=accuracy,
                mean_iou=mean_iou,
                steady_labels=steady_labels,
                steady_depth=steady_depth,
            )
        )
        if self._writer is not None:
            self._writer.write(ready.frame, ready.rgb, view, ready.camera)

    def _depth(self, ready: Ready, view: View) -> DepthFigures | None:
        tally, depth = self._part.tally, None
        try:
            if ready.depth is not None:
                depth = tally.add_depth(view, ready.depth, self._settings)
        except MessageError as error:
            self._part.problem(str(error))
        tally.depth_found += depth is not None
        tally.depth_missed += depth is None
        return depth

    def _labels(self, ready: Ready, view: View) -> tuple[float | None, float | None]:
        """Global accuracy and mean IoU; None where there is no reference."""
        tally, reference, found = self._part.tally, self._task.labels, None
        assert reference is not None
        try:
            if ready.labels is not None:
                mask = np.array(reference.from_engine, np.uint8)[view.mask(self._settings.min_confidence)]
                distance = ready.depth if self._task.depth is not None else view.depth
                if distance is not None and not same_view(distance.shape, ready.labels.shape):
                    distance = None
                found = tally.add_labels(mask, ready.labels, reference.labels, distance, self._settings.bands)
        except MessageError as error:
            self._part.problem(str(error))
        tally.labels_found += found is not None
        tally.labels_missed += found is None
        return found or (None, None)
