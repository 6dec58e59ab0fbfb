"""What a running process holds: memory, descriptors, threads, shared memory; and whether it grows."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Holdings:
    """What a process holds at one moment.

    Attributes:
        memory_mib: resident memory, less what it shares with other processes by /dev/shm.
        descriptors: open files and sockets.
        threads: running threads.
        shared_files: files in /dev/shm that it has mapped.
    """

    memory_mib: float
    descriptors: int
    threads: int
    shared_files: int


def holdings(pid: int) -> Holdings:
    """What the process `pid` holds now."""
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    kibibytes = int(status["RssAnon"].split()[0]) + int(status["RssFile"].split()[0])
    return Holdings(
        memory_mib=round(kibibytes / 1024, 2),
        descriptors=len(os.listdir(process / "fd")),
        threads=int(status["Threads"]),
        shared_files=len(shared_files(pid)),
    )


def peak_mib(pid: int) -> float:
    """The most memory that the process had resident at any time."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024, 1)


def shared_files(pid: int) -> set[Path]:
    """The files in shared memory that the process `pid` has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split()[5]) for line in lines if f" {SHARED_MEMORY}/" in line}


WARM_UP = 0.2
"""The part of a run in which memory may still grow to what the work needs, and is not judged."""


def left_behind(files: Iterable[Path]) -> list[str]:
    """The names of those of `files` that are still there although no process that we may look into has them mapped."""
    used: set[Path] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # a process that has ended meanwhile, or of another user
            used |= shared_files(int(maps.parent.name))
    return sorted(path.name for path in files if path.exists() and path not in used)


def growth(samples: Sequence[float]) -> float:
    """By how much the samples grew: the median of their last fifth less that of their first fifth."""
    part = max(1, len(samples) // 5)
    return statistics.median(samples[-part:]) - statistics.median(samples[:part])


def slope(samples: Sequence[float]) -> float:
    """By how much the samples grow from one to the next, after the warm-up: the line of least squares."""
    values = samples[round(WARM_UP * len(samples)) :]
    if len(values) < 2:
        return 0.0
    return statistics.linear_regression(range(len(values)), values).slope


def report(samples: Sequence[Holdings]) -> dict[str, dict[str, float]]:
    """First, last, least and most of each thing held, and its growth, for JSON."""
    result = {}
    for name in Holdings.__dataclass_fields__:
        values = [getattr(sample, name) for sample in samples]
        result[name] = {
            "first": values[0],
            "last": values[-1],
            "least": min(values),
            "most": max(values),
            "growth": round(growth(values), 2),
            "growth_per_sample_after_warm_up": round(slope(values), 5),
        }
    return result
