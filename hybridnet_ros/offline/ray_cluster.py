"""Does the work list of a job on a Ray cluster. The only file that imports ray."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from hybridnet_ros.engine import EngineError
from hybridnet_ros.offline.evaluate_bag import Worker
from hybridnet_ros.offline.evaluation import EvaluationError
from hybridnet_ros.offline.job import Item, Job
from hybridnet_ros.offline.runner import unfinished

_POLL_S = 0.2
_LOCAL: dict[str, Any] = {
    "include_dashboard": False,
    "object_store_memory": 100_000_000,
}  # only the job and counts go through it


class RayCluster:
    """A connection to a Ray cluster whose machines see the recordings and the output folder under the same paths.

    Attributes:
        cpus: that it has.
    """

    def __init__(self, address: str) -> None:
        """Connects to the cluster at `address`; `local` starts one on this machine.

        Raises:
            EvaluationError: Ray is not installed, or there is no cluster.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here tells nobody
        try:
            import ray
        except ImportError as error:
            raise EvaluationError(f"--ray needs the package ray ({error}): pip install ray") from error
        self._ray: Any = ray
        options: dict[str, Any] = _LOCAL if address == "local" else {}
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise EvaluationError(f"no Ray cluster at {address}: {error}") from error
        self.cpus = int(ray.cluster_resources().get("CPU", 1))

    def run(self, job: Job, workers: int, stop: threading.Event, on_frames: Callable[[int], None]) -> None:
        """As `runner.run`; with as many workers at once as the cluster has CPUs for.

        When `stop` is set, what is not whole is given up and done again by the next run.

        Raises:
            EngineError, OSError: a worker cannot open the engine, or write.
            EvaluationError: a worker died.
        """
        ray = self._ray
        items = unfinished(job)
        actor = ray.remote(num_cpus=job.threads)(_RayWorker)
        count = min(workers, len(items), max(1, self.cpus // job.threads))
        idle = [actor.remote(job, os.getcwd()) for _ in range(count)]
        busy: dict[Any, Any] = {}
        done = 0
        try:
            while (items or busy) and not stop.is_set():
                while idle and items:
                    worker = idle.pop()
                    busy[worker.evaluate.remote(items.pop(0))] = worker
                finished, _ = ray.wait(list(busy), timeout=_POLL_S)
                for future in finished:
                    done += ray.get(future)
                    idle.append(busy.pop(future))
                    on_frames(done)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, (EngineError, OSError)):
                raise cause from None
            raise EvaluationError(f"a worker on the Ray cluster failed: {error}") from error

    def close(self) -> None:
        """Leaves the cluster, which ends the workers; one that was started here is gone."""
        self._ray.shutdown()


class _RayWorker:
    """A worker in an actor of Ray."""

    def __init__(self, job: Job, folder: str) -> None:
        os.chdir(folder)  # relative paths are relative to where the command was given
        self._worker = Worker(job)
        self._count = 0

    def evaluate(self, item: Item) -> int:
        """Evaluates an item; returns its number of images."""
        self._count = 0
        self._worker.evaluate(item, lambda: False, self._on_frame)
        return self._count

    def _on_frame(self) -> None:
        self._count += 1
