"""Builds a TensorRT plan in a process of its own, while this one goes on answering images.

    build = BackgroundBuild(Order("driving", cameras=((1242, 375),)))
    ...
    print(build.progress())
    build.wait()

The process has a low priority, says what it does in lines of JSON, and gives up when this process ends, however it
ends.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hybridnet_ros
from hybridnet_ros.engine.build import build_plan
from hybridnet_ros.engine.errors import BuildCancelled, EngineError, PlanError
from hybridnet_ros.engine.plan_manifest import Size, build_command
from hybridnet_ros.engine.plans import DEFAULT_PRECISION

_NICENESS = 10
_PATIENCE_S = 30.0
_KEPT_LINES = 5


@dataclass(frozen=True)
class Order:
    """What to build: see `build.build_plan`."""

    engine: str
    cameras: tuple[Size, ...]
    precision: str = DEFAULT_PRECISION
    batch: int = 1

    @property
    def command(self) -> str:
        """The command that does the same."""
        return build_command(self.engine, self.precision, self.cameras, self.batch)


@dataclass(frozen=True)
class Progress:
    """How far a build is: what is being done, and the share that is done (0 to 1) where that is known."""

    phase: str
    fraction: float | None = None

    def __str__(self) -> str:
        """For people, for instance "building 40 %"."""
        return self.phase if self.fraction is None else f"{self.phase} {self.fraction:.0%}"


class BackgroundBuild:
    """A plan on its way into the cache."""

    def __init__(self, order: Order, on_done: Callable[[Future[Path]], None] = lambda done: None) -> None:
        """Starts the process.

        Args:
            order: what to build.
            on_done: is told, in another thread: the plan's file; or, as exception, the EngineError that came in its
                place, a BuildCancelled after `stop`.
        """
        self.order = order
        self._progress = Progress("starting")
        self._last_lines: list[str] = []
        self._stopped = False
        self._done: Future[Path] = Future()
        self._done.add_done_callback(on_done)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the node, which then stops the build
        )
        threading.Thread(target=self._listen, name="hybridnet build", daemon=True).start()

    def progress(self) -> Progress:
        """How far it is."""
        return self._progress

    def done(self) -> bool:
        """Is it over, well or badly?"""
        return self._done.done()

    def wait(self) -> Path:
        """The plan's file, once it is there; raises the EngineError that came in its place."""
        return self._done.result()

    def stop(self) -> None:
        """Gives up, without waiting for the process to end; `wait` does."""
        self._stopped = True
        assert self._process.stdin is not None
        self._process.stdin.close()  # what the process takes for the end of this one
        killer = threading.Timer(_PATIENCE_S, self._process.kill)
        killer.daemon = True
        killer.start()

    def _listen(self) -> None:
        """Reads what the process says, to its end."""
        answer: dict[str, Any] = {}
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = _parsed(line)
            if said is None:
                self._last_lines = [*self._last_lines, line.strip()][-_KEPT_LINES:]
            elif "phase" in said:
                self._progress = Progress(said["phase"], said["fraction"])
            else:
                answer = said
        status = self._process.wait()
        if "plan" in answer:
            self._done.set_result(Path(answer["plan"]))
        elif self._stopped:
            self._done.set_exception(BuildCancelled("the build was stopped"))
        elif "error" in answer:
            self._done.set_exception(PlanError(answer["error"]))
        else:
            self._done.set_exception(PlanError(self._why_no_answer(status)))

    def _why_no_answer(self, status: int) -> str:
        ended = f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
        said = f" ({'; '.join(self._last_lines)})" if self._last_lines else ""
        return f"the process that builds the plan {ended}{said}: run {self.order.command} to see more"


def _environment() -> dict[str, str]:
    """Ours, with this package found where it is: it may run from a checkout."""
    here = str(Path(hybridnet_ros.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}


def _parsed(line: str) -> dict[str, Any] | None:
    """A line of the process; None if it is something else that a library printed."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _main(text: str) -> int:
    """The process: builds what the JSON `text` orders."""
    logging.disable()
    os.nice(_NICENESS)
    order = json.loads(text)
    stop = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        built = build_plan(
            order["engine"],
            order["precision"],
            [(width, height) for width, height in order["cameras"]],
            order["batch"],
            progress=lambda phase, fraction: _say(phase=phase, fraction=fraction),
            stop=stop,
        )
    except EngineError as error:
        _say(error=str(error))
        return 1
    _say(plan=str(built.plan.path))
    return 0


if __name__ == "__main__":
    code = _main(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)  # a builder that cannot be stopped must not outlive its order
