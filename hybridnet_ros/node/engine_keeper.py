"""The node's engine from configure to cleanup: which one runs, and how a parameter puts another in its place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from hybridnet_ros.engine import Engine, EngineError, open_engine
from hybridnet_ros.engine.background_build import Order
from hybridnet_ros.engine.plan_manifest import Size
from hybridnet_ros.node import process
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.plan_builder import PlanBuilder
from hybridnet_ros.node.troubles import Level, Troubles
from hybridnet_ros.node.worker import Worker

_TROUBLE = "engine change"


@dataclass(frozen=True)
class Choice:
    """The parameters that say which engine runs and how."""

    engine: str
    runtime: str
    threads: int
    build_engine: bool

    @classmethod
    def of(cls, settings: Settings) -> Choice:
        """What `settings` choose."""
        return cls(settings.engine, settings.runtime, settings.threads, settings.build_engine)

    @property
    def builds(self) -> bool:
        """Is a TensorRT plan to be built in the background where there is none?"""
        return self.runtime == "tensorrt" and self.build_engine

    def open(self) -> Engine:
        """Opens the engine; raises EngineError. Where a plan may be built later, with what there is until then."""
        return open_engine(self.engine, "auto" if self.builds else self.runtime, self.threads or None)

    def open_built(self) -> Engine:
        """Opens the engine with a plan that was built; raises EngineError, also where that plan cannot be used."""
        engine = self.open()
        if engine.runtime != "tensorrt":
            engine.close()
            raise EngineError(f"the plan that was built cannot be used: {engine.description}")
        return engine


class EngineKeeper:
    """Owns the worker, and through it the engine.

    Attributes:
        worker: takes the frames.
        running: which engine answers.
    """

    def __init__(
        self,
        choice: Choice,
        troubles: Troubles,
        log: Any,
        on_changed: Callable[[], None],
        on_refused: Callable[[Choice, Choice], None],
    ) -> None:
        """Opens the engine of `choice`, and waits for it.

        Args:
            choice: which engine.
            troubles: is told when a later change fails.
            log: the node's logger.
            on_changed: is called when another engine took over, before its first frame, in the worker thread.
            on_refused: is called with the choice that failed and the one that goes on, in a worker thread.

        Raises:
            EngineError: the engine cannot be opened.
        """
        self._troubles = troubles
        self._log = log
        self._on_changed = on_changed
        self._on_refused = on_refused
        self.running = self._newest = choice
        self._choosing = threading.Lock()  # parameters are set in the executor's thread, plans are built in another
        self._builder = PlanBuilder(troubles, log, self._take_built)
        log.info(f"opening engine '{choice.engine}'")
        self.worker = Worker(choice.open)
        self.worker.engine()
        process.freeze_garbage_collector()

    def change(self, choice: Choice) -> None:
        """Opens another engine in the background; the one that runs answers until it is open."""
        with self._choosing:
            if choice == self._newest:
                return
            self._newest = choice
            self._log.info(f"opening engine '{choice.engine}'; '{self.running.engine}' answers until it is open")
            self.worker.swap(choice.open, partial(self._on_done, choice))

    def serve(self, sizes: set[Size], batch: int) -> None:
        """Has a plan built if the parameters want TensorRT and there is none for images of one of these sizes.

        Args:
            sizes: (width, height) of the images that were answered so far.
            batch: most images at once.
        """
        engine = self.worker.engine()
        if not self.running.builds or not sizes:
            return
        if engine.runtime != "tensorrt" or not all(engine.takes(*size) for size in sizes):
            self._builder.want(Order(self.running.engine, tuple(sorted(sizes)), batch=batch))

    def building(self) -> str | None:
        """Which plan is being built and how far it is; None when none is."""
        return self._builder.progress()

    def stop(self) -> bool:
        """Frees the engine; returns False when the worker does not end."""
        self._builder.stop()
        return self.worker.stop()

    def _take_built(self, order: Order) -> None:
        """Called in the thread of the build."""
        with self._choosing:
            choice = self.running
            if choice == self._newest and choice.builds and order.engine == choice.engine:
                self.worker.swap(choice.open_built, partial(self._on_done, choice))

    def _on_done(self, choice: Choice, done: Future[Engine]) -> None:
        """Called in the thread of the new engine."""
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self.running = choice
            self._troubles.clear_trouble(_TROUBLE)
            self._on_changed()
            self._log.info(f"engine '{choice.engine}' answers from now on: {done.result().description}")
            process.freeze_garbage_collector()
            return
        text = f"engine '{choice.engine}' was not taken, '{self.running.engine}' goes on: {error}"
        self._troubles.trouble(_TROUBLE, Level.WARN, text)
        self._log.error(text)
        if self._newest == choice:
            self._newest = self.running
            self._on_refused(choice, self.running)
