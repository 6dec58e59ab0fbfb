"""Evaluates one chunk of a recording in one pass: read, decode, predict, measure, write.

While the engine works on a frame, the next ones are read and decoded by a thread, and the last one is measured and
written by another; so the engine never waits for the bag, and memory does not grow with the recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import cv2
import numpy as np

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.engine.perception import View, perceive
from hybridnet_ros.messages import MessageError, camera_model, is_rectified
from hybridnet_ros.offline.ahead import read_ahead
from hybridnet_ros.offline.bag import BagError
from hybridnet_ros.offline.finishing import Finish, Ready
from hybridnet_ros.offline.job import Item, Job, Part, Task
from hybridnet_ros.offline.label_references import LabelReference
from hybridnet_ros.offline.measures import Tally
from hybridnet_ros.offline.predictions import PredictionWriter
from hybridnet_ros.offline.references import DepthReference, ReferenceFolder
from hybridnet_ros.offline.sources import Frame, Source, open_stream
from hybridnet_ros.scene.camera import CameraError

_AHEAD = 4  # frames read before they are needed: enough for a chunk of an MCAP file to be unpacked meanwhile


class Worker:
    """Evaluates items of one job, one after the other, with one engine."""

    def __init__(self, job: Job) -> None:
        """Opens the engine.

        Raises:
            EngineError: it cannot be opened.
        """
        # Optical flow of several threads differs from that of one in the last bits; and all cores are busy anyway.
        cv2.setNumThreads(1)
        self._job = job
        self.engine = open_engine(job.engine, job.runtime, job.threads)
        self._opened = ExitStack()
        self._open: tuple[int, Source] | None = None
        self._folders: dict[str, ReferenceFolder] = {}

    def close(self) -> None:
        """Closes the engine and the recording."""
        self._opened.close()
        self.engine.close()

    def evaluate(self, item: Item, stop: Callable[[], bool], on_frame: Callable[[], None]) -> None:
        """Evaluates one item and keeps its part; until its end, or until `stop` says so.

        Raises:
            OSError: nothing can be written any more.
        """
        task = self._job.tasks[item.task]
        part = Part(Tally(len(self.engine.manifest.labels), len(self._job.settings.bands) - 1))
        with ExitStack() as stack:
            writer = stack.enter_context(self._writer(item)) if self._job.outputs else None
            if writer and item.chunk == 0:
                writer.write_labels(max(0, task.stream.chunks[0].start) if task.stream.kind == "bag" else 0)
            back = stack.enter_context(ThreadPoolExecutor(1))
            finish = Finish(self._job, item.task, part, writer)
            pending: Future[None] | None = None
            try:
                for ready in stack.enter_context(closing(read_ahead(self.ready(item), _AHEAD))):
                    if stop():
                        break
                    part.images += 1
                    view = self._predict(ready, task.stream.fx, part)
                    if pending is not None:
                        pending.result()
                    if view is not None:
                        pending = back.submit(finish, ready, view)
                    on_frame()
                else:
                    part.whole = True
            except BagError as error:
                part.whole, part.damaged = True, True
                part.problem(str(error))
            if pending is not None:
                pending.result()
        part.save(self._job.part_path(item))

    def ready(self, item: Item) -> Iterator[Ready]:
        """The frames of an item, decoded, with their camera and references."""
        task = self._job.tasks[item.task]
        for frame in self.source(item.task).frames(task.stream.chunks[item.chunk]):
            yield self.make_ready(frame, task)

    def make_ready(self, frame: Frame, task: Task) -> Ready:
        """Decodes a frame and what belongs to it; an image that cannot be decoded is empty."""
        problems: list[str] = []
        try:
            rgb = frame.decode()
        except MessageError as error:
            return Ready(frame, np.empty((0, 0, 3), np.uint8), None, None, None, (f"image: {error}",))
        camera = None
        if frame.info is not None:
            try:
                camera = camera_model(frame.info, rgb.shape[1], rgb.shape[0], is_rectified(task.stream.topic))
            except (CameraError, MessageError) as error:
                problems.append(f"CameraInfo: {error}")
        references: dict[str, Any] = {}
        for name, reference in (("depth", task.depth), ("labels", task.labels)):
            found = self._find(frame, reference) if reference is not None else None
            try:
                if found is not None and name == "depth":
                    assert task.depth is not None
                    references[name] = task.depth.read(found, frame, rgb.shape[1], rgb.shape[0])
                    problems += task.depth.doubts(found, frame)
                elif found is not None:
                    assert task.labels is not None
                    references[name] = task.labels.read(found)
            except (CameraError, MessageError) as error:
                problems.append(f"{name} reference: {error}")
        return Ready(frame, rgb, camera, references.get("depth"), references.get("labels"), tuple(problems))

    def predict(self, ready: Ready, fx: float | None) -> View:
        """The one thing that the node does with the same picture too."""
        settings = self._job.settings
        fx = ready.camera.fx if ready.camera else fx
        return perceive(self.engine, ready.rgb, fx, settings.min_depth, settings.max_depth)

    def _predict(self, ready: Ready, fx: float | None, part: Part) -> View | None:
        for problem in ready.problems:
            part.problem(problem)
        if not ready.rgb.size:
            part.failed += 1
            return None
        started = time.perf_counter()
        try:
            view = self.predict(ready, fx)
        except EngineError as error:
            part.failed += 1
            part.problem(f"engine: {error}")
            return None
        part.engine_ms.append(round((time.perf_counter() - started) * 1e3, 3))
        return view

    def _find(self, frame: Frame, reference: DepthReference | LabelReference) -> Any | None:
        if reference.topic:
            return frame.references.get(reference.topic)
        if reference.folder not in self._folders:
            self._folders[reference.folder] = ReferenceFolder(reference.folder, self._tolerance_ns)
        return self._folders[reference.folder].find(frame.name, frame.header.stamp_ns)

    def source(self, number: int) -> Source:
        """Opened once for all chunks: a bag compressed as a whole is unpacked each time it is opened."""
        if self._open is None or self._open[0] != number:
            self._opened.close()
            task = self._job.tasks[number]
            topics = tuple(each.topic for each in (task.depth, task.labels) if each is not None and each.topic)
            joints = task.depth.extrinsic.moving if task.depth is not None and task.depth.extrinsic is not None else ()
            source = self._opened.enter_context(open_stream(task.stream, topics, self._tolerance_ns, joints))
            self._open = number, source
        return self._open[1]

    def _writer(self, item: Item) -> PredictionWriter:
        job = self._job
        assert job.outputs is not None
        job.bag_folder(item.task).mkdir(parents=True, exist_ok=True)
        return PredictionWriter(
            job.bag_path(item),
            job.record_path(item),
            job.tasks[item.task].stream.namespace,
            self.engine.manifest,
            job.settings.min_confidence,
            job.outputs,
        )

    @property
    def _tolerance_ns(self) -> int:
        return round(self._job.settings.tolerance_s * 1e9)
