"""Runs a node between a camera and a listener, each a process of its own, and measures it at one rate after another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hybridnet_ros.benchmark.camera import IMAGE_TOPIC, INFO_TOPIC
from hybridnet_ros.benchmark.figures import Ages, Load, NodeRun
from hybridnet_ros.node.process import DDS_PROFILE_VARIABLES
from hybridnet_ros.processes import Process, python
from hybridnet_ros.resources import share_path

NODE_NAME = "/hybridnet"
OUTPUTS = {
    f"{NODE_NAME}/depth/camera_info": "CameraInfo",
    f"{NODE_NAME}/depth/image": "Image",
    f"{NODE_NAME}/segmentation/mask": "Image",
    f"{NODE_NAME}/segmentation/confidence": "Image",
    f"{NODE_NAME}/segmentation/camera_info": "CameraInfo",
}
"""What makes a whole answer."""

PLAIN = "plain"

_START_TIMEOUT_S = 60.0
_SILENCE_S = 2.0
_POLL_S = 0.05
_DROPPED = "dropped: "
_CLOSING = 10


class BenchmarkError(Exception):
    """The measurement could not be done; the message says why, with the end of the log of the process to blame."""


@dataclass(frozen=True)
class Setup:
    """What is measured.

    Attributes:
        node: "hybridnet", or a name that starts with PLAIN for the node written the usual way.
        engine: its name or path.
        width, height: of the images, px.
        jpeg: compressed images; else raw rgb8.
        reliable: the camera publishes reliably, else best effort. Our node hears both; the plain one only the first.
        profile: Fast DDS profile of all processes; None for Fast DDS's own settings.
        arguments: ROS arguments of the node besides.
    """

    node: str
    engine: str
    width: int
    height: int
    jpeg: bool
    reliable: bool
    profile: Path | None
    arguments: tuple[str, ...] = ()


class Conversation:
    """A child process that answers each line on its standard input with a line of JSON.

    Attributes:
        process: the child.
        others: processes without which it would wait in vain.
    """

    def __init__(self, process: Process, *others: Process) -> None:
        self.process = process
        self.others = others

    def wait(self, line: str | None = None, patience_s: float = _START_TIMEOUT_S) -> str:
        """The next line, or the next that is `line`."""
        deadline = time.monotonic() + patience_s
        while True:
            while self.process.lines:
                said = self.process.lines.popleft()
                if line is None or said == line:
                    return said
            for process in (*self.others, self.process):
                process.check_alive()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.process.name} says nothing{self.process.log_tail()}")
            time.sleep(0.01)

    def ask(self, line: str, patience_s: float = _START_TIMEOUT_S) -> Any:
        """The answer to `line`."""
        self.process.say(line)
        return json.loads(self.wait(patience_s=patience_s))


class NodeBench:
    """A camera, a node and a listener at work; a context manager that ends them."""

    def __init__(self, setup: Setup, logs: Path) -> None:
        """Starts the processes and waits until every output of a frame arrives at the listener.

        Raises:
            BenchmarkError: that never happens.
            ProcessDied: one of them ended.
        """
        self._setup = setup
        with ExitStack() as started, dds_profile(setup.profile):
            self._node = started.enter_context(Process("the node", _node_command(setup), logs / "node.log"))
            topics = [f"{topic}:{kind}" for topic, kind in OUTPUTS.items()]
            listen = python("hybridnet_ros.node.stopwatch", *topics, "--node", NODE_NAME, "--reliable")
            self._listener = Conversation(
                started.enter_context(Process("the listener", listen, logs / "listener.log", pipes=True)), self._node
            )
            play = camera_command(setup.width, setup.height, setup.jpeg, setup.reliable)
            self._camera = Conversation(
                started.enter_context(Process("the camera", play, logs / "camera.log", pipes=True)), self._node
            )
            self._warm_up()
            self._processes = started.pop_all()

    def run(self, rate_hz: float, seconds: float) -> NodeRun:
        """Plays frames at `rate_hz` for so many seconds and measures."""
        count = max(2, round(rate_hz * seconds))
        processes = {"node": self._node, "camera": self._camera.process, "listener": self._listener.process}
        before, loads = self._settled(), {name: _cpu_s(process.pid) for name, process in processes.items()}
        started = time.monotonic()
        played = self._camera.ask(f"go {rate_hz} {count}", patience_s=60 + 4 * seconds)
        answers = self._answers(played["stamps"])
        # The load of the run, not of the wait for the last answer.
        wall = max(played["seconds"], 1e-3)
        elapsed = max(wall, min(time.monotonic() - started, wall + _POLL_S))
        used = {
            name: Load(
                cpu_percent=round(100 * (_cpu_s(process.pid) - loads[name]) / elapsed, 1),
                memory_mib=round(_memory_mib(process.pid), 1),
            )
            for name, process in processes.items()
        }
        closing = self._close_account()
        after = self._settled()
        whole = {stamp: parts for stamp, parts in answers.items() if len(parts) == len(OUTPUTS)}
        drops, received = _drops(before, after, count + closing, len(whole) + bool(closing))
        return NodeRun(
            node=self._setup.node,
            rate_hz=rate_hz,
            camera_hz=round((count - 1) / (played["stamps"][-1] - played["stamps"][0]) * 1e9, 2),
            camera_latest_ms=round(played["latest_ms"], 2),
            sent=count + closing,
            received=received,
            answered=len(whole) + bool(closing),
            drops=drops,
            publish_ms=Ages.of([(max(p for p, _ in parts.values()) - s) / 1e6 for s, parts in whole.items()]),
            arrive_ms=Ages.of([(max(a for _, a in parts.values()) - s) / 1e6 for s, parts in whole.items()]),
            load=used,
            node_values=after or {},
        )

    def __enter__(self) -> NodeBench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.close()

    def _warm_up(self) -> None:
        self._listener.wait("ready")
        self._camera.wait("ready")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            stamps = self._camera.ask("go 10 5")["stamps"]
            if len(self._answers(stamps).get(stamps[-1], {})) == len(OUTPUTS):
                return
            self._node.check_alive()
            if time.monotonic() > deadline:
                status = self._listener.ask("take")["status"]
                said = f"; it says: {status['message']}" if status else ""
                raise BenchmarkError(f"the node does not answer{said}{self._node.log_tail()}")

    def _close_account(self) -> int:
        """Plays frames at leisure until one is answered; returns how many were played.

        Our node notices frames that were lost on the way to it by the number of the next one that comes.
        """
        if self._setup.node.startswith(PLAIN):
            return 0
        for played in range(1, _CLOSING + 1):
            stamps = self._camera.ask("go 10 1")["stamps"]
            if len(self._answers(stamps)[stamps[0]]) == len(OUTPUTS):
                return played
        raise BenchmarkError(f"the node does not answer any more{self._node.log_tail()}")

    def _answers(self, stamps: list[int]) -> dict[int, dict[str, tuple[int, int]]]:
        """For each stamp the (published, arrived) ns of each output, once all came or none comes any more."""
        answers: dict[int, dict[str, tuple[int, int]]] = {stamp: {} for stamp in stamps}
        news_at = time.monotonic()
        while True:
            news = False
            for topic, arrivals in self._listener.ask("take")["arrivals"].items():
                for stamp, published, arrived in arrivals:
                    if stamp in answers:
                        answers[stamp][topic] = (published, arrived)
                        news = True
            self._node.check_alive()
            if news:
                news_at = time.monotonic()
            if all(len(parts) == len(OUTPUTS) for parts in answers.values()):
                return answers
            if time.monotonic() - news_at > _SILENCE_S:
                return answers
            time.sleep(_POLL_S)

    def _settled(self) -> dict[str, str] | None:
        """The node's values, of a moment after this call; None for the plain node, which has none."""
        if self._setup.node.startswith(PLAIN):
            return None
        now_ns, deadline = time.time_ns(), time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            status = self._listener.ask("take")["status"]
            if status and status["stamp_ns"] > now_ns and status["values"].get("frames in flight", "0") == "0":
                values: dict[str, str] = status["values"]
                return values
            self._node.check_alive()
            time.sleep(_POLL_S)
        raise BenchmarkError(f"the node says nothing on /diagnostics, or never gets done{self._node.log_tail()}")


def camera_command(width: int, height: int, jpeg: bool, reliable: bool, infos: bool = True) -> list[str]:
    """The command that starts the camera; with `infos` it waits until somebody wants its CameraInfo."""
    flags = {"--jpeg": jpeg, "--reliable": reliable, "--no-infos": not infos}
    return python(
        "hybridnet_ros.benchmark.camera",
        str(share_path("demo", "kitti_sequence")),
        *("--width", str(width), "--height", str(height)),
        *(flag for flag, given in flags.items() if given),
    )


@contextmanager
def dds_profile(profile: Path | None) -> Iterator[None]:
    """Processes started within get this Fast DDS profile, or Fast DDS's own settings."""
    before = {name: os.environ.pop(name, None) for name in DDS_PROFILE_VARIABLES}
    if profile is not None:
        os.environ.update({name: str(profile) for name in DDS_PROFILE_VARIABLES})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _node_command(setup: Setup) -> list[str]:
    ros = ["--ros-args", "-r", f"image:={IMAGE_TOPIC}", "-r", f"camera_info:={INFO_TOPIC}", *setup.arguments]
    # Parameters are read as YAML, in which a quoted JSON string is the same string.
    ros += ["-p", f"engine:={json.dumps(setup.engine)}"]
    if setup.node.startswith(PLAIN):
        return python(
            "hybridnet_ros.node.plain_node",
            *ros,
            *("-r", f"image/compressed:={IMAGE_TOPIC}/compressed", "-p", f"compressed:={str(setup.jpeg).lower()}"),
        )
    own = [] if setup.profile is not None else ["--own-dds-profile"]
    transport = "compressed" if setup.jpeg else "raw"
    return python("hybridnet_ros.node.perception_node", *own, *ros, "-p", f"input_transport:={transport}")


def _drops(
    before: dict[str, str] | None, after: dict[str, str] | None, sent: int, whole: int
) -> tuple[dict[str, int], int | None]:
    """Frames without an answer by cause, and how many the node received."""
    if before is None or after is None:
        return {"unknown": sent - whole}, None

    def gained(key: str) -> int:
        return int(after[key]) - int(before.get(key, 0))

    drops = {key[len(_DROPPED) :]: gained(key) for key in after if key.startswith(_DROPPED)}
    drops["lost on the way to the node"] = gained("frames lost on the way here")
    drops["unaccounted for"] = sent - gained("frames answered") - sum(drops.values())
    drops["lost on the way to the listener"] = gained("frames answered") - whole
    return drops, gained("frames received")


def _cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
