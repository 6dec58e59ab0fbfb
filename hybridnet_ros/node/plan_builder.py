"""Builds the TensorRT plan that the node's cameras need, in a process beside the node, which answers meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from hybridnet_ros.engine.background_build import BackgroundBuild, Order
from hybridnet_ros.engine.errors import BuildCancelled
from hybridnet_ros.node.troubles import Level, Troubles

_TROUBLE = "engine build"


class PlanBuilder:
    """Builds one plan at a time, and each only once, well or badly."""

    def __init__(self, troubles: Troubles, log: Any, on_built: Callable[[Order], None]) -> None:
        """Builds nothing yet.

        Args:
            troubles: is told when a build fails.
            log: the node's logger.
            on_built: is called in another thread with what was ordered, when the plan is in the cache.
        """
        self._troubles = troubles
        self._log = log
        self._on_built = on_built
        self._ordered: set[Order] = set()
        self._build: BackgroundBuild | None = None

    def want(self, order: Order) -> None:
        """Builds a plan unless it was tried before or another one is being built; to be called again and again."""
        if order in self._ordered or (self._build is not None and not self._build.done()):
            return
        self._ordered.add(order)
        self._log.info(f"building a TensorRT plan in the background, as by: {order.command}")
        try:
            self._build = BackgroundBuild(order, partial(self._on_done, order))
        except OSError as error:  # no memory or no descriptor for a process: the node answers without the plan
            self._failed(error)

    def progress(self) -> str | None:
        """What is being built and how far it is; None when nothing is."""
        build = self._build
        if build is None or build.done():
            return None
        sizes = ", ".join(f"{width}x{height}" for width, height in build.order.cameras)
        return f"TensorRT plan for {sizes}: {build.progress()}"

    def stop(self) -> None:
        """Gives up what is being built."""
        if self._build is not None:
            self._build.stop()
        self._troubles.clear_trouble(_TROUBLE)

    def _on_done(self, order: Order, done: Future[Path]) -> None:
        error = done.exception()
        if error is None:
            self._troubles.clear_trouble(_TROUBLE)
            self._log.info(f"built the TensorRT plan {done.result()}")
            self._on_built(order)
        elif not isinstance(error, BuildCancelled):
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        text = f"no TensorRT plan could be built: {error}"
        self._troubles.trouble(_TROUBLE, Level.WARN, text, lasting=True)  # it is not tried again
        self._log.error(text)
