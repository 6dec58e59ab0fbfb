"""Evaluates one chunk of a recording in one pass: read, decode, predict, measure, write.

While the engine works on a frame, the next ones are read and decoded by a thread, and the last one is measured and
written by another; so the engine never waits for the bag, and memory does not grow with the recording.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.engine.perception import View, perceive
from hybridnet_ros.messages import MessageError, camera_model
from hybridnet_ros.offline.bag import BagError
from hybridnet_ros.offline.evaluation import FrameFigures, Settings, from_plain, to_plain, write_json
from hybridnet_ros.offline.measures import Steadiness, Tally
from hybridnet_ros.offline.predictions import Outputs, PredictionWriter
from hybridnet_ros.offline.references import DepthReference, LabelReference, ReferenceFolder
from hybridnet_ros.offline.sources import Frame, Source, Stream, open_stream
from hybridnet_ros.scene.camera import CameraError, CameraModel

_AHEAD = 4  # frames read before they are needed: enough for a chunk of an MCAP file to be unpacked meanwhile
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Task:
    """One stream with what it is measured against."""

    stream: Stream
    depth: DepthReference | None = None
    labels: LabelReference | None = None


class Item(NamedTuple):
    """One chunk of one task, by their numbers."""

    task: int
    chunk: int


@dataclass(frozen=True)
class Job:
    """Everything that is to be done, and how; the same for every worker.

    Attributes:
        engine, runtime, threads: as for `open_engine`.
        engine_sha256: of its ONNX file.
        settings: see there.
        outputs: what the prediction bags hold; None writes none.
        tasks: one for each stream.
        folder: where everything is written.
    """

    engine: str
    runtime: str
    threads: int
    engine_sha256: str
    settings: Settings
    outputs: Outputs | None
    tasks: tuple[Task, ...]
    folder: str

    @property
    def items(self) -> list[Item]:
        """The work list."""
        return [Item(task, chunk) for task, each in enumerate(self.tasks) for chunk in range(len(each.stream.chunks))]

    def part_path(self, item: Item) -> Path:
        """Where the figures of an item are kept until all are done."""
        return Path(self.folder) / "parts" / f"{item.task}_{item.chunk:06d}.json"

    def record_path(self, item: Item) -> Path:
        """The metadata of the item's prediction file; there only where it has one."""
        return self.part_path(item).with_suffix(".yaml")

    def bag_folder(self, task: int) -> Path:
        """The prediction bag of a task."""
        name = Path(self.tasks[task].stream.path).absolute().stem
        return Path(self.folder) / "predictions" / f"{task}_{name}"

    def bag_path(self, item: Item) -> Path:
        """The prediction file of an item."""
        return self.bag_folder(item.task) / f"{self.bag_folder(item.task).name}_{item.chunk}.mcap"


@dataclass
class Part:
    """What came of one item.

    Attributes:
        tally: sums over its frames.
        frames: `number` counts from the beginning of the chunk.
        images: seen, whether they could be used or not.
        failed: of them that could not be used.
        whole: it was not stopped before its end.
        damaged: the recording is unreadable from some point on.
        problems: what went wrong, with how often.
        engine_ms: of each frame.
    """

    tally: Tally
    frames: list[FrameFigures] = field(default_factory=list)
    images: int = 0
    failed: int = 0
    whole: bool = False
    damaged: bool = False
    problems: Counter[str] = field(default_factory=Counter)
    engine_ms: list[float] = field(default_factory=list)

    def problem(self, text: str) -> None:
        """Notes what went wrong with a frame."""
        if text in self.problems or len(self.problems) < _MOST_PROBLEMS:
            self.problems[text] += 1

    def save(self, path: Path) -> None:
        """Keeps it until all is done."""
        frames = [to_plain(frame) for frame in self.frames]
        write_json(path, {**vars(self), "tally": self.tally.to_dict(), "frames": frames})

    @classmethod
    def load(cls, path: Path) -> Part:
        """What `save` kept."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        plain["tally"] = Tally.from_dict(plain["tally"])
        plain["frames"] = [from_plain(FrameFigures, frame) for frame in plain["frames"]]
        return cls(**{**plain, "problems": Counter(plain["problems"])})


@dataclass(frozen=True)
class Ready:
    """A frame on its way into the engine; references are None where there are none."""

    frame: Frame
    rgb: NDArray[np.uint8]
    camera: CameraModel | None
    depth: NDArray[np.float32] | None
    labels: NDArray[np.uint8] | None
    problems: tuple[str, ...] = ()


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
            finish = _Finish(self._job, item.task, part, writer)
            pending: Future[None] | None = None
            try:
                for ready in stack.enter_context(closing(_read_ahead(self.ready(item)))):
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
                camera = camera_model(frame.info, rgb.shape[1], rgb.shape[0])
            except (CameraError, MessageError) as error:
                problems.append(f"CameraInfo: {error}")
        references: dict[str, Any] = {}
        for name, reference in (("depth", task.depth), ("labels", task.labels)):
            found = self._find(frame, reference) if reference is not None else None
            try:
                if found is not None and name == "depth":
                    assert task.depth is not None
                    references[name] = task.depth.read(found, camera)
                elif found is not None:
                    assert task.labels is not None
                    references[name] = task.labels.read(found)
            except MessageError as error:
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
            source = self._opened.enter_context(open_stream(task.stream, topics, self._tolerance_ns))
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
            self.engine.manifest.labels,
            job.settings.min_confidence,
            job.outputs,
        )

    @property
    def _tolerance_ns(self) -> int:
        return round(self._job.settings.tolerance_s * 1e9)


class _Finish:
    """Measures and writes predicted frames, in their order, in a thread of its own."""

    def __init__(self, job: Job, number: int, part: Part, writer: PredictionWriter | None) -> None:
        self._settings = job.settings
        self._number = number
        self._task = job.tasks[number]
        self._part = part
        self._writer = writer
        self._steadiness = Steadiness()

    def __call__(self, ready: Ready, view: View) -> None:
        part, tally = self._part, self._part.tally
        confidence, finite, shares = tally.add_view(view)
        depth, accuracy, mean_iou = None, None, None
        if self._task.depth is not None:
            try:
                if ready.depth is not None:
                    depth = tally.add_depth(view, ready.depth, self._settings)
            except MessageError as error:
                part.problem(str(error))
            tally.depth_found += depth is not None
            tally.depth_missed += depth is None
        if self._task.labels is not None:
            found = False
            try:
                if ready.labels is not None:
                    mask = view.mask(self._settings.min_confidence)
                    mapped = np.array(self._task.labels.from_engine, np.uint8)[mask]
                    accuracy, mean_iou = tally.add_labels(mapped, ready.labels, self._task.labels.labels)
                    found = True
            except MessageError as error:
                part.problem(str(error))
            tally.labels_found += found
            tally.labels_missed += not found
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


def _read_ahead(frames: Iterator[Ready]) -> Generator[Ready, None, None]:
    """The same frames, read by a thread a few frames before they are asked for."""
    ahead: queue.Queue[Ready | BaseException | None] = queue.Queue(_AHEAD)
    enough = threading.Event()

    def put(item: Ready | BaseException | None) -> bool:
        while not enough.is_set():
            try:
                ahead.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for ready in frames:
                if not put(ready):
                    return
            put(None)
        except BaseException as error:  # raised again where the frames are used
            put(error)

    thread = threading.Thread(target=read, name="reader", daemon=True)
    thread.start()
    try:
        while (item := ahead.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        enough.set()
        thread.join()
