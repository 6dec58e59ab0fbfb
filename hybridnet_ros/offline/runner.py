"""Does the work list of a job, in this process or in several; what is done already is left alone.

Every item is kept as soon as it is done, and says nothing of who did it: so the figures are the same, bit by bit,
whatever the number of workers and however often the work was interrupted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hybridnet_ros.offline.evaluate_bag import Worker
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.job import Item, Job, Part
from hybridnet_ros.offline.processes import worker_context

_POLL_S = 0.2


def unfinished(job: Job) -> list[Item]:
    """The items that are still to be done."""
    return [item for item in job.items if not _is_whole(job, item)]


def frames_done(job: Job) -> int:
    """Images in the items that are done."""
    return sum(Part.load(job.part_path(item)).images for item in job.items if _is_whole(job, item))


def run(job: Job, workers: int, stop: threading.Event, on_frames: Callable[[int], None]) -> None:
    """Does what is unfinished; returns early when `stop` is set.

    Args:
        job: the work.
        workers: processes; one works in this process.
        stop: set it from a signal handler; what is done is kept.
        on_frames: is told the number of images done by this call so far.

    Raises:
        EngineError: the engine cannot be opened.
        EvaluationError: a worker died.
        OSError: nothing can be written any more; what was written is kept.
    """
    items = unfinished(job)
    workers = min(workers, len(items))
    if workers <= 1:
        _run_here(job, items, stop, on_frames)
    else:
        _run_in_processes(job, items, workers, stop, on_frames)


def _is_whole(job: Job, item: Item) -> bool:
    path = job.part_path(item)
    return path.is_file() and Part.load(path).whole


def _run_here(job: Job, items: list[Item], stop: threading.Event, on_frames: Callable[[int], None]) -> None:
    done = 0

    def on_frame() -> None:
        nonlocal done
        done += 1
        on_frames(done)

    if not items:
        return
    worker = Worker(job)
    try:
        for item in items:
            if stop.is_set():
                return
            worker.evaluate(item, stop.is_set, on_frame)
    finally:
        worker.close()


def _run_in_processes(
    job: Job, items: list[Item], workers: int, stop: threading.Event, on_frames: Callable[[int], None]
) -> None:
    context = worker_context()
    stop_workers, count = context.Event(), context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, _start_worker, (job, stop_workers, count)) as pool:
        futures = [pool.submit(_evaluate, item) for item in items]
        try:
            waiting = set(futures)
            while waiting:
                finished, waiting = wait(waiting, _POLL_S, "FIRST_COMPLETED")
                on_frames(count.value)
                for future in finished:
                    future.result()
                if stop.is_set():
                    stop_workers.set()
        except BrokenProcessPool as error:
            raise EvaluationError(
                f"a worker died ({error}): is there enough memory for {workers}? Try fewer --workers; run the same "
                "command again to go on"
            ) from error
        finally:
            stop_workers.set()


_worker: Worker
_stop_worker: Any
_count: Any


def _start_worker(job: Job, stop: Any, count: Any) -> None:
    global _worker, _stop_worker, _count
    # Ctrl-C reaches every process of the terminal; the first one tells the others to come to an end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker, _stop_worker, _count = Worker(job), stop, count


def _evaluate(item: Item) -> None:
    if not _stop_worker.is_set():
        _worker.evaluate(item, _stop_worker.is_set, _on_frame)


def _on_frame() -> None:
    with _count.get_lock():
        _count.value += 1
