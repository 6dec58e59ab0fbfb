"""`hybridnet evaluate-bag` from its options to its output folder."""

from __future__ import annotations

import argparse
import datetime
import errno
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

from hybridnet_ros.engine import open_engine
from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.machine import machine
from hybridnet_ros.offline import runner
from hybridnet_ros.offline.bag import BagError, open_bag
from hybridnet_ros.offline.evaluate_bag import Worker
from hybridnet_ros.offline.evaluation import (
    COMPLETE,
    FILE_NAME,
    EngineRecord,
    Evaluation,
    EvaluationError,
    Run,
    Settings,
    load,
)
from hybridnet_ros.offline.job import Job, Task
from hybridnet_ros.offline.label_references import label_reference
from hybridnet_ros.offline.pictures import write_pictures
from hybridnet_ros.offline.plain import to_plain, write_json
from hybridnet_ros.offline.predictions import Outputs, finish_bag
from hybridnet_ros.offline.ray_cluster import RayCluster
from hybridnet_ros.offline.references import DepthReference, ReferenceFolder, bag_depth_reference
from hybridnet_ros.offline.report import write_report
from hybridnet_ros.offline.streams import Selection, Stream, find_streams
from hybridnet_ros.offline.summary import engine_record, summarise
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.terminal import Progress

STOPPED = "stopped: what is done is kept, the same command goes on from there"
_JOB = "job.json"


def evaluate(options: argparse.Namespace) -> tuple[Evaluation, Path]:
    """Evaluates what the command line asks for; returns the evaluation and the report's path.

    Raises:
        BagError, EngineError, EvaluationError, LabelError, OSError: it cannot be done; says what and the remedy.
    """
    with open_engine(options.engine, options.runtime, options.threads) as engine:
        manifest, runtime, description = engine.manifest, engine.runtime, engine.description
    job = make_job(options, manifest)
    earlier_s = prepare(job, options.overwrite)
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    begun = time.monotonic()
    problems: list[str] = []
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signal())
        cluster = stack.enter_context(closing(RayCluster(options.ray))) if options.ray is not None else None
        cpus = cluster.cpus if cluster else len(os.sched_getaffinity(0))
        workers = options.workers or (1 if runtime in ("onnx_cuda", "tensorrt") else max(1, cpus // options.threads))
        try:
            _run(job, workers, cluster, stop)
        except OSError as error:
            problems.append(_why_no_write(error, job.folder))
    if stop.is_set():
        problems.append(STOPPED)
    seconds = earlier_s + time.monotonic() - begun
    run = Run(_version(), machine(), started, seconds, workers, None, None, None)
    return finish(
        job, engine_record(options.engine, manifest, description, runtime, options.threads), manifest, run, problems
    )


def make_job(options: argparse.Namespace, manifest: Manifest) -> Job:
    """Looks at all recordings and references, so that what is wrong with any is said before work begins."""
    references = tuple(filter(None, (options.depth_topic, options.labels_topic)))
    selection = Selection(tuple(dict.fromkeys(options.topic)), options.camera_info, options.fx, references)
    streams = [stream for path in options.recordings for stream in find_streams(path, selection)]
    for folder in (options.depth_folder, options.labels_folder):
        if folder is not None:
            ReferenceFolder(str(folder), 0)
    tasks = [_task(stream, options, manifest.labels) for stream in streams]
    outputs = Outputs(options.depth_encoding, options.colors, options.points, options.compress)
    return Job(
        engine=options.engine,
        runtime=options.runtime,
        threads=options.threads,
        engine_sha256=manifest.onnx_sha256,
        settings=Settings(
            min_depth=options.min_depth,
            max_depth=options.max_depth,
            min_confidence=options.min_confidence,
            cap=options.cap,
            bands=options.bands,
            tolerance_s=options.tolerance,
        ),
        outputs=None if options.no_bag else outputs,
        tasks=tuple(tasks),
        folder=str(options.output),
    )


def prepare(job: Job, overwrite: bool) -> float:
    """Makes the output folder ready for a new job, or to go on with one; returns the seconds spent on it so far.

    Raises:
        EvaluationError: the folder has another evaluation, or a complete one.
    """
    folder = Path(job.folder)
    file = folder / "parts" / _JOB
    identity = hashlib.sha256(json.dumps(to_plain(job), sort_keys=True, default=str).encode()).hexdigest()
    if overwrite:
        for name in ("parts", "predictions", "pictures"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / FILE_NAME).unlink(missing_ok=True)
    if file.is_file():
        if json.loads(file.read_text()) != identity:
            raise EvaluationError(
                f"{folder} has part of another evaluation (other recordings, engine or options): "
                "choose another --output, or begin anew with --overwrite"
            )
        return load(folder).run.seconds if (folder / FILE_NAME).is_file() else 0.0
    if (folder / FILE_NAME).exists() or (folder / "predictions").exists():
        raise EvaluationError(f"{folder} has an evaluation already: choose another --output, or --overwrite it")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, identity)
    return 0.0


def finish(
    job: Job, engine: EngineRecord, manifest: Manifest, run: Run, problems: list[str]
) -> tuple[Evaluation, Path]:
    """Puts together what is done: bags, figures, pictures, report; returns the evaluation and the report's path."""
    folder = Path(job.folder)
    summary = summarise(job, engine, manifest, run, problems)
    if not summary.evaluation.frames:
        reasons = [*problems, *(text for stream in summary.evaluation.streams for text in stream.problems)]
        raise EvaluationError("no frame was evaluated: " + ("; ".join(reasons) or "the recordings have none"))
    for number in range(len(job.tasks)):
        items = [item for item in job.items if item.task == number and job.record_path(item).is_file()]
        if items:
            finish_bag(job.bag_folder(number), {job.bag_path(item): job.record_path(item) for item in items})
    worker = Worker(job)
    try:
        evaluation = write_pictures(job, worker, summary)
    finally:
        worker.close()
    evaluation.save(folder)
    page = write_report(evaluation, folder)
    if evaluation.status == COMPLETE:
        shutil.rmtree(folder / "parts")
    return evaluation, page


def _task(stream: Stream, options: argparse.Namespace, labels: LabelSet) -> Task:
    depth, truth = None, None
    if options.depth_folder is not None:
        depth = DepthReference(folder=str(options.depth_folder), scale=options.depth_scale or DepthReference.scale)
    if options.labels_folder is not None:
        truth = label_reference(labels, options.classes, folder=str(options.labels_folder))
    if options.depth_topic or options.labels_topic:
        with open_bag(stream.path) as bag:
            if options.depth_topic:
                depth = bag_depth_reference(bag, options.depth_topic, stream.topic, options.extrinsic)
            if options.labels_topic:
                truth = label_reference(labels, options.classes, bag, options.labels_topic)
    if depth is not None and depth.extrinsic is not None and not stream.info_topic:
        raise BagError(
            f"{stream.path}: {stream.topic} has no CameraInfo beside it, without which no LiDAR can be projected; "
            "name its topic with --camera-info"
        )
    return Task(stream, depth, truth)


def _run(job: Job, workers: int, cluster: RayCluster | None, stop: threading.Event) -> None:
    total = sum(task.stream.count for task in job.tasks)
    earlier = runner.frames_done(job)
    progress, begun = Progress(), time.monotonic()

    def show(done: int, now: bool = False) -> None:
        rate = done / max(1e-9, time.monotonic() - begun)
        left = (total - earlier - done) / rate if done else 0.0
        eta = f", {left // 60:.0f} min {left % 60:02.0f} s left" if done and left > 0 else ""
        shown = min(20, 20 * (earlier + done) // max(1, total))
        bar = "#" * shown + "." * (20 - shown)
        progress.show(f"[{bar}] {earlier + done} of {total} frames, {rate:.1f} a second{eta}", now)

    try:
        (cluster or runner).run(job, workers, stop, show)
    finally:
        progress.close()


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, the first time; the second time they interrupt at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _why_no_write(error: OSError, folder: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk of {folder} is full: make room and run the same command to go on, or write no predictions "
            "(--no-bag --overwrite)"
        )
    return f"cannot go on: {error}"


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("hybridnet_ros")
    except importlib.metadata.PackageNotFoundError:
        return "checkout"
