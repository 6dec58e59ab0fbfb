"""`hybridnet benchmark transport`: images from a camera process straight to a listener process."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hybridnet_ros.benchmark.camera import IMAGE_TOPIC
from hybridnet_ros.benchmark.figures import Ages, table
from hybridnet_ros.benchmark.node_benchmark import software, transport
from hybridnet_ros.benchmark.node_run import Conversation, camera_command, dds_profile
from hybridnet_ros.machine import machine
from hybridnet_ros.node.process import shipped_profile
from hybridnet_ros.processes import Process, isolate_ros, python
from hybridnet_ros.terminal import Progress

_SILENCE_S = 1.0
_POLL_S = 0.05
_WARM_UP = "go 20 10"


@dataclass(frozen=True)
class TransportRun:
    """Images of one size at one rate.

    Attributes:
        width, height: px; three bytes each.
        rate_hz: asked of the camera.
        camera_hz: what it sent.
        reliable: both ends; else both best effort.
        profile: file name of the Fast DDS profile of both processes; None for Fast DDS's own settings.
        sent, arrived: images.
        age_ms: of those that arrived, from their stamp until they had arrived whole in the listener's process.
    """

    width: int
    height: int
    rate_hz: float
    camera_hz: float
    reliable: bool
    profile: str | None
    sent: int
    arrived: int
    age_ms: Ages

    def cells(self) -> list[str]:
        """A row of the table; see _HEADINGS."""
        return [
            f"{self.width}x{self.height}",
            f"{self.rate_hz:g}",
            "reliable" if self.reliable else "best effort",
            self.profile or "none",
            f"{self.arrived} of {self.sent}",
            self.age_ms.text(),
        ]


_HEADINGS = ["rgb8", "Hz", "delivery", "profile", "arrived", "age, ms"]


@dataclass(frozen=True)
class Report:
    """What `run` measured; `load_average` is that of the machine, over a minute, before the first run."""

    machine: str
    load_average: float
    software: dict[str, str]
    transport: dict[str, Any]
    seconds: float
    runs: list[TransportRun]

    def table(self) -> str:
        """The figures for a terminal."""
        machine = f"{self.machine}; load average before: {self.load_average:.2f}"
        return "\n".join([table(_HEADINGS, [run.cells() for run in self.runs]), machine])

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        data = {"benchmark": "transport", "format_version": 1, **asdict(self)}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def run(
    sizes: Sequence[tuple[int, int]], rates_hz: Sequence[float], seconds: float, logs: Path, progress: Progress
) -> Report:
    """Measures every size, rate and delivery with the profile that fits this machine, and without.

    Raises:
        BenchmarkError, ProcessDied: a process does not do what it should.
    """
    isolate_ros(None)
    load_average = round(os.getloadavg()[0], 2)
    runs: list[TransportRun] = []
    ours = shipped_profile()
    for (width, height), reliable, profile in itertools.product(sizes, (False, True), (ours, None)):
        progress.show(f"{width}x{height} {'reliable' if reliable else 'best effort'} ...", now=True)
        runs += _runs(width, height, reliable, profile, rates_hz, seconds, logs)
    return Report(machine(), load_average, software(), transport(ours), seconds, runs)


def _runs(
    width: int, height: int, reliable: bool, profile: Path | None, rates_hz: Sequence[float], seconds: float, logs: Path
) -> list[TransportRun]:
    listen = python("hybridnet_ros.node.stopwatch", f"{IMAGE_TOPIC}:Image", *(["--reliable"] if reliable else []))
    play = camera_command(width, height, jpeg=False, reliable=reliable, infos=False)
    with ExitStack() as started, dds_profile(profile):
        listener = Conversation(
            started.enter_context(Process("the listener", listen, logs / "listener.log", pipes=True))
        )
        camera = Conversation(started.enter_context(Process("the camera", play, logs / "camera.log", pipes=True)))
        listener.wait("ready")
        camera.wait("ready")
        # Both ends know of each other by now; the first images make what is loaded at first use.
        _play(camera, listener, _WARM_UP, seconds)
        runs = []
        for rate_hz in rates_hz:
            stamps, arrivals = _play(camera, listener, f"go {rate_hz} {max(2, round(rate_hz * seconds))}", seconds)
            camera_hz = (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9
            ages = Ages.of([(arrived - stamp) / 1e6 for stamp, arrived in arrivals.items()])
            runs.append(TransportRun(width, height, rate_hz, round(camera_hz, 2), reliable,
                                     profile.name if profile else None, len(stamps), len(arrivals), ages))  # fmt: skip
        return runs


def _play(camera: Conversation, listener: Conversation, line: str, seconds: float) -> tuple[list[int], dict[int, int]]:
    """The stamps sent, and when those arrived that did, in ns."""
    stamps: list[int] = camera.ask(line, patience_s=60 + 10 * seconds)["stamps"]
    sent, news_at = set(stamps), time.monotonic()
    arrivals: dict[int, int] = {}
    while len(arrivals) < len(sent) and time.monotonic() - news_at < _SILENCE_S:
        for stamp, _, arrived in listener.ask("take")["arrivals"][IMAGE_TOPIC]:
            if stamp in sent:
                arrivals[stamp] = arrived
                news_at = time.monotonic()
        time.sleep(_POLL_S)
    return stamps, arrivals
