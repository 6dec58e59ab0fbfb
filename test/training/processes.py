"""Real training processes: started, watched through the run's folder, and read afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training import train

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")


def learn(what: Path | str, data: Path, run: Path) -> None:
    """Train in this process; `what` is a config or --resume."""
    assert train.main([str(what), "--device", "cpu", "--data", str(data), "--run", str(run)]) == 0


def start_training(what: Path | str, data: Path, run: Path, *more: object, processes: int = 1) -> subprocess.Popen[str]:
    """Train in a process of its own, or in several; `more` are options."""
    how = (sys.executable, "-m") if processes == 1 else (*TORCHRUN, "-m", "--")
    return start(*how, "training.train", what, "--device", "cpu", "--data", data, "--run", run, *more)


def start(*words: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*map(str, words)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it said; it has ended."""
    return process.communicate(timeout=300)[0]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], pause: float = 0.02) -> None:
    """Until it is so, or the process has ended."""
    end = time.monotonic() + 300
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(pause)


def worker(process: subprocess.Popen[str], rank: int) -> int:
    """The process id of one of torchrun's processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no process of rank {rank} among {children}")


def curve(run: Path) -> dict[int, float]:
    """The loss of each step, as TensorBoard shows it."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss/total")}
