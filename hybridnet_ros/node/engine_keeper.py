"""The node's engine from configure to cleanup: which one runs, and how a parameter puts another in its place."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from hybridnet_ros.engine import Engine, open_engine
from hybridnet_ros.node import process
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.troubles import Level, Troubles
from hybridnet_ros.node.worker import Worker

_TROUBLE = "engine change"


@dataclass(frozen=True)
class Choice:
    """The parameters that say which engine runs and how."""

    engine: str
    runtime: str
    threads: int

    @classmethod
    def of(cls, settings: Settings) -> Choice:
        """What `settings` choose."""
        return cls(settings.engine, settings.runtime, settings.threads)

    def open(self) -> Engine:
        """Opens the engine; raises EngineError."""
        return open_engine(self.engine, self.runtime, self.threads or None)


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
        log.info(f"opening engine '{choice.engine}'")
        self.worker = Worker(choice.open)
        self.worker.engine()
        process.freeze_garbage_collector()

    def change(self, choice: Choice) -> None:
        """Opens another engine in the background; the one that runs answers until it is open."""
        if choice == self._newest:
            return
        self._newest = choice
        self._log.info(f"opening engine '{choice.engine}'; '{self.running.engine}' answers until it is open")
        self.worker.swap(choice.open, partial(self._on_done, choice))

    def stop(self) -> bool:
        """Frees the engine; returns False when the worker does not end."""
        return self.worker.stop()

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
