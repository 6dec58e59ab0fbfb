"""`hybridnet benchmark node`: which nodes are run at which rates, and the report of it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hybridnet_ros.benchmark.figures import HEADINGS, NodeRun, table
from hybridnet_ros.benchmark.node_run import PLAIN, NodeBench, Setup
from hybridnet_ros.engine import open_engine
from hybridnet_ros.machine import machine
from hybridnet_ros.node.process import shipped_profile
from hybridnet_ros.processes import isolate_ros
from hybridnet_ros.terminal import Progress

MOST_DROPPED = 0.05
"""Share of frames that may be dropped at the highest rate."""

_FIRST_RATE_HZ = 30.0
_SLOWEST_HZ, _FASTEST_HZ = 0.25, 1000.0
_PRECISION = 1.1  # of the search: the rate found and the lowest at which too many are dropped differ by less
_CAMERA_KEEPS_UP = 0.97  # of the rate asked for; below it the camera is what is slow


@dataclass(frozen=True)
class Options:
    """What to measure; see `hybridnet benchmark node --help`."""

    engine: str
    runtime: str
    threads: int | None
    size: tuple[int, int]
    jpeg: bool
    reliable: bool
    rates_hz: tuple[float, ...]
    seconds: float
    search: bool
    overload: float | None
    compare: bool
    profile: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Options:
        """From the command line."""
        return cls(arguments.engine, arguments.runtime, arguments.threads, arguments.size, arguments.jpeg,
                   arguments.reliable, arguments.rates, arguments.seconds, not arguments.no_search,
                   arguments.overload, arguments.compare, not arguments.no_profile)  # fmt: skip


@dataclass(frozen=True)
class Highest:
    """The highest rate found at which less than MOST_DROPPED of the frames are dropped.

    Attributes:
        node: as in NodeRun.
        rate_hz: it; None where even the slowest was too fast.
        camera_was_slower: nothing faster could be tried, because the camera process did not keep up.
    """

    node: str
    rate_hz: float | None
    camera_was_slower: bool


@dataclass(frozen=True)
class Overload:
    """Many more images than can be answered: whether the answers stay young.

    Attributes:
        node: as in NodeRun.
        times: so many times the highest rate.
        rate_hz: that is.
        infer_p50_ms: the network's time for an image, in this very run.
        limit_ms: twice that, plus the time from one image to the next.
        publish_p95_ms: the age of the answers, which should be less.
        accounted: whether answers and counted drops are the images sent, exactly.
    """

    node: str
    times: float
    rate_hz: float
    infer_p50_ms: float
    limit_ms: float
    publish_p95_ms: float | None
    accounted: bool

    @classmethod
    def of(cls, run: NodeRun, times: float) -> Overload | None:
        """What a run of our node says; None for the plain node, which does not tell how long it infers."""
        infer = run.node_values.get("infer p50/p95/p99 (ms)")
        if infer is None:
            return None
        infer_ms = float(infer.split(" / ")[0])
        accounted = run.drops["unaccounted for"] == 0 and run.sent == run.answered + sum(run.drops.values())
        limit_ms = round(2 * infer_ms + 1000 / run.camera_hz, 2)
        return cls(run.node, times, run.rate_hz, infer_ms, limit_ms, run.publish_ms.p95, accounted)

    def text(self) -> str:
        """In one line."""
        age = "-" if self.publish_p95_ms is None else f"{self.publish_p95_ms:.1f} ms"
        return (
            f"{self.node} at {self.times:g} times its highest rate: p95 of the age {age}; twice the inference plus one "
            f"period are {self.limit_ms:.1f} ms; every frame accounted for: {'yes' if self.accounted else 'NO'}"
        )


@dataclass(frozen=True)
class Report:
    """What `run` measured; `load_average` is that of the machine, over a minute, before the first run."""

    options: Options
    engine: str
    machine: str
    load_average: float
    software: dict[str, str]
    transport: dict[str, Any]
    runs: list[NodeRun]
    highest: list[Highest]
    overloads: list[Overload]

    def table(self) -> str:
        """The figures for a terminal."""
        width, height = self.options.size
        kind = "jpeg" if self.options.jpeg else "rgb8"
        lines = [
            f"{width}x{height} {kind}, {self.options.seconds:g} s a run; p50 / p95 / p99 of the age of the answers"
        ]
        lines.append(table(HEADINGS, [run.cells() for run in self.runs]))
        for one in self.highest:
            found = "none" if one.rate_hz is None else f"{one.rate_hz:.0f} Hz"
            limit = ", the fastest that the camera process manages" if one.camera_was_slower else ""
            lines.append(f"{one.node}: highest rate with less than {MOST_DROPPED:.0%} dropped: {found}{limit}")
        lines += [one.text() for one in self.overloads]
        return "\n".join([*lines, self.engine, f"{self.machine}; load average before: {self.load_average:.2f}"])

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        data = {"benchmark": "node", "format_version": 1, **asdict(self)}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def run(options: Options, logs: Path, progress: Progress) -> Report:
    """Measures.

    Raises:
        EngineError, ManifestError: there is no such engine.
        BenchmarkError, ProcessDied: a process does not do what it should.
    """
    threads = options.threads
    # Here too, so that what is wrong with an engine is said at once.
    with open_engine(options.engine, options.runtime, threads) as engine:
        description = engine.description
    isolate_ros(None)
    load_average = round(os.getloadavg()[0], 2)
    profile = shipped_profile() if options.profile else None
    ours = Setup("hybridnet", options.engine, *options.size, options.jpeg, options.reliable, profile,
                 ("-p", f"runtime:={options.runtime}", "-p", f"threads:={threads or 0}"))  # fmt: skip
    runs: list[NodeRun] = []
    highest: list[Highest] = []
    overloads: list[Overload | None] = []
    for setup in _setups(ours, options.compare):
        progress.show(f"starting {setup.node} ...", now=True)
        with NodeBench(setup, logs) as bench:
            for rate_hz in options.rates_hz:
                progress.show(f"{setup.node} at {rate_hz:g} Hz ...", now=True)
                runs.append(bench.run(rate_hz, options.seconds))
            if options.search or options.overload:
                highest.append(search(bench, options.seconds, runs, progress))
            best = highest[-1].rate_hz if options.overload else None
            if options.overload and best:
                progress.show(f"{setup.node} at {options.overload:g} times {best:g} Hz ...", now=True)
                runs.append(bench.run(options.overload * best, options.seconds))
                overloads.append(Overload.of(runs[-1], options.overload))
    return Report(options, description, machine(), load_average, software(), transport(profile), runs, highest,
                  [one for one in overloads if one is not None])  # fmt: skip


def _setups(ours: Setup, compare: bool) -> Iterator[Setup]:
    yield ours
    if compare:
        # A subscription with a queue of 10 is reliable, so such a node's camera must be so, too.
        plain = replace(ours, node=PLAIN, reliable=True)
        yield plain
        if ours.profile is not None:
            yield replace(plain, node=f"{PLAIN}, no profile", profile=None)


def search(bench: NodeBench, seconds: float, runs: list[NodeRun], progress: Progress) -> Highest:
    """Doubles the rate until too many frames are dropped, then narrows it down; adds its runs to `runs`."""
    low, high, rate, node = None, None, _FIRST_RATE_HZ, ""
    while _SLOWEST_HZ <= rate <= _FASTEST_HZ and (low is None or high is None or high / low > _PRECISION):
        progress.show(f"searching the highest rate: {rate:.1f} Hz ...", now=True)
        one = bench.run(rate, seconds)
        runs.append(one)
        node = one.node
        if one.camera_hz < _CAMERA_KEEPS_UP * rate:
            good = one.dropped_share < MOST_DROPPED
            return Highest(node, max(low or 0.0, one.camera_hz) if good else low, camera_was_slower=True)
        if one.dropped_share < MOST_DROPPED:
            low = rate
            rate = 2 * rate if high is None else (rate * high) ** 0.5
        else:
            high = rate
            rate = rate / 2 if low is None else (low * rate) ** 0.5
    return Highest(node, low, camera_was_slower=False)


def transport(profile: Path | None) -> dict[str, Any]:
    """What carries the messages."""
    shared_memory = os.statvfs("/dev/shm")
    return {
        "profile": profile.name if profile else None,
        "rmw": os.environ.get("RMW_IMPLEMENTATION", "the default one"),
        "shared_memory_mib": shared_memory.f_blocks * shared_memory.f_frsize >> 20,
    }


def software() -> dict[str, str]:
    """Versions of what takes part; ROS packages that pip did not install have none here."""
    versions = {"ros": os.environ.get("ROS_DISTRO", "")}
    for name in ("hybridnet_ros", "numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "openvino",
                 "ros-jazzy-rclpy", "ros-jazzy-rmw-fastrtps-cpp"):  # fmt: skip
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {name: version for name, version in versions.items() if version}
