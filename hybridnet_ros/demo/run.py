"""Runs the demo: node and player as processes of their own, this process listening, and the figures at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hybridnet_ros.demo.recording import DEPTH_CAP, IMAGE_TOPIC, Frame
from hybridnet_ros.demo.result import Result
from hybridnet_ros.engine import Engine
from hybridnet_ros.machine import machine
from hybridnet_ros.node.process import set_dds_profile
from hybridnet_ros.node.recorder import Answer, Recorder
from hybridnet_ros.processes import Process, isolate_ros, python
from hybridnet_ros.scene.metrics import DepthMetrics
from hybridnet_ros.terminal import Progress

NODE_NAME = "/hybridnet"

_ERROR = 2  # of diagnostic_msgs/DiagnosticStatus
_START_TIMEOUT_S = 60.0
_SILENCE_S = 3.0
_POLL_S = 0.05


class DemoError(Exception):
    """The run could not be done; the message says why, with the end of the log of the process to blame."""


@dataclass(frozen=True)
class Options:
    """What to play, and how; see `hybridnet demo --help`."""

    bag: Path
    engine: str
    runtime: str
    output: Path
    rate: float | None
    loops: int
    frames: int | None
    domain: int | None


@dataclass
class Run:
    """What is known of a run.

    Attributes:
        sent: stamp in ns of each frame sent, with the number of the recorded frame it showed; in order.
        ages_ms: age of each answer, by the stamp of its frame.
        newest: newest answer to each recorded frame, by its number.
        strays: answers to no frame that was sent.
    """

    sent: dict[int, int] = field(default_factory=dict)
    ages_ms: dict[int, float] = field(default_factory=dict)
    newest: dict[int, Answer] = field(default_factory=dict)
    strays: list[Answer] = field(default_factory=list)

    def note(self, answers: Sequence[Answer]) -> None:
        """Take in answers; one that outran the player's word that it sent the frame is kept until that comes."""
        waiting, self.strays = [*self.strays, *answers], []
        for answer in waiting:
            if answer.stamp_ns in self.sent:
                self.ages_ms[answer.stamp_ns] = answer.age_ms
                self.newest[self.sent[answer.stamp_ns]] = answer
            else:
                self.strays.append(answer)

    @property
    def rate_hz(self) -> float:
        """Answers a second, from the first to the last."""
        done = sorted(stamp_ns + age_ms * 1e6 for stamp_ns, age_ms in self.ages_ms.items())
        return (len(done) - 1) / ((done[-1] - done[0]) / 1e9) if len(done) > 1 else 0.0

    def line(self) -> str:
        """The run so far, for a person who waits."""
        ages = list(self.ages_ms.values())
        age = f"{np.median(ages[-20:]):.0f} ms" if ages else "-"
        # The last frame or two are on their way, not lost.
        missing = [stamp for stamp in list(self.sent)[:-2] if stamp not in self.ages_ms]
        return (
            f"sent {len(self.sent):3d}   answered {len(ages):3d}   rate {self.rate_hz:4.1f} Hz   "
            f"age {age}   dropped {len(missing)}"
        )


def run(options: Options, engine: Engine, frames: Sequence[Frame], progress: Progress) -> tuple[Result, Run]:
    """Play the bag into a node that runs `options.engine`, and measure; `engine` and `frames` are the same, opened.

    Raises:
        DemoError: the node never got ready, or did not end in order.
        ProcessDied: node or player ended before its time.
    """
    set_dds_profile(os.environ)
    domain = isolate_ros(options.domain)
    with (
        Process("hybridnet_node", _node_command(options), options.output / "node.log") as node,
        Recorder(NODE_NAME) as recorder,
        Process("the player", _player_command(options), options.output / "player.log", pipes=True) as player,
    ):
        progress.show(f"starting the node in ROS domain {domain} ...", now=True)
        _wait_until_ready(node, player, recorder)
        record = _play(node, player, recorder, progress)
        health = recorder.health
        player_code, node_code = player.finish(), node.stop()
    for process, code in ((player, player_code), (node, node_code)):
        if code != 0:
            raise DemoError(f"{process.name} did not end in order, exit code {code}{process.log_tail()}")
    if not record.ages_ms:
        said = f"; it says: {health.message}" if health else ""
        raise DemoError(f"the node answered none of {len(record.sent)} frames{said}{node.log_tail()}")
    return _measure(record, frames, engine, domain, health.values if health else {}), record


def _node_command(options: Options) -> list[str]:
    # Parameters are read as YAML, in which a quoted JSON string is the same string.
    parameters = {"engine": json.dumps(options.engine), "runtime": options.runtime, "input_transport": "compressed"}
    return python(
        "hybridnet_ros.node.perception_node",
        "--ros-args",
        "-r",
        f"image:={IMAGE_TOPIC.removesuffix('/compressed')}",
        *(word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")),
    )


def _player_command(options: Options) -> list[str]:
    wanted = {"--frames": options.frames, "--rate": options.rate, "--loops": options.loops}
    given = [word for name, value in wanted.items() if value is not None for word in (name, str(value))]
    return python("hybridnet_ros.demo.play", str(options.bag), *given)


def _wait_until_ready(node: Process, player: Process, recorder: Recorder) -> None:
    """Wait until the node hears the player and we hear the node."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        health = recorder.health
        state = health.values.get("state") if health else None
        if state == "active" and "ready" in player.lines:
            player.lines.clear()
            return
        node.check_alive()
        player.check_alive()
        failed = health is not None and state == "unconfigured" and health.level == _ERROR
        if failed or time.monotonic() > deadline:
            said = f"it says: {health.message}" if health else "it says nothing on /diagnostics"
            raise DemoError(f"the node does not start; {said}{node.log_tail()}")
        time.sleep(_POLL_S)


def _play(node: Process, player: Process, recorder: Recorder, progress: Progress) -> Run:
    record = Run()
    player.say("go")
    ended, news_at = False, time.monotonic()
    while not ended or (len(record.ages_ms) < len(record.sent) and time.monotonic() - news_at < _SILENCE_S):
        time.sleep(_POLL_S)
        before = len(record.sent) + len(record.ages_ms)
        while player.lines:
            word, *rest = player.lines.popleft().split()
            if word == "sent":
                record.sent[int(rest[1])] = int(rest[0])
            ended |= word == "end"
        record.note(recorder.take())
        if len(record.sent) + len(record.ages_ms) > before:
            news_at = time.monotonic()
        node.check_alive()
        player.check_alive()
        progress.show(record.line())
    progress.show(record.line(), now=True)
    progress.close()
    return record


def _measure(record: Run, frames: Sequence[Frame], engine: Engine, domain: int, values: dict[str, str]) -> Result:
    metrics = DepthMetrics(DEPTH_CAP)
    for index, answer in sorted(record.newest.items()):
        metrics.add(answer.depth, frames[index].lidar)
    ages = list(record.ages_ms.values())
    return Result(
        sent=len(record.sent),
        answered=len(ages),
        rate_hz=record.rate_hz,
        age_p50_ms=float(np.percentile(ages, 50)),
        age_p95_ms=float(np.percentile(ages, 95)),
        ages_ms=tuple(record.ages_ms.get(stamp_ns) for stamp_ns in record.sent),
        depth=metrics.pooled(),
        confidence=float(np.mean([answer.confidence.mean() for answer in record.newest.values()])) / 255,
        engine=engine.description,
        machine=machine(),
        domain=domain,
        node_values=values,
    )
