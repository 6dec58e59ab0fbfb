"""Many workers, interruptions and long recordings: the figures stay the same to the last bit."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rosbags.rosbag2 import Reader

from hybridnet_ros.offline.evaluation import COMPLETE, PARTIAL, Evaluation, load
from recordings import DEPTH, IMAGE, LABELS, write_drive
from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = ("--topic", IMAGE, "--depth-topic", DEPTH, "--labels-topic", LABELS)


def results(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that must not depend on how the work was done."""
    return {name: value for name, value in evaluation.to_dict().items() if name != "run"}


def messages(bag: Path) -> list[tuple[str, int, bytes]]:
    with Reader(bag) as reader:
        return [(connection.topic, stamp_ns, data) for connection, stamp_ns, data in reader.messages()]


@pytest.fixture
def bags(tmp_path: Path) -> list[Path]:
    """A recording of 25 s, which is three chunks, and a short one."""
    return [write_drive(tmp_path / "long", 50, rate_hz=2.0), write_drive(tmp_path / "short", 4)]


def test_results_do_not_depend_on_the_number_of_workers(evaluate_bag: Callable[..., Any], bags: list[Path]) -> None:
    one = evaluate_bag(*bags, *REFERENCES, "--workers", 1, output="one")
    assert one.code == 0, one.said
    three = evaluate_bag(*bags, *REFERENCES, "--workers", 3, output="three")
    assert three.code == 0, three.said
    assert three.evaluation.run.workers == 3
    assert results(three.evaluation) == results(one.evaluation)
    assert one.evaluation.total.frames == 54
    assert [frame.number for frame in one.evaluation.frames] == [*range(50), *range(4)]
    for bag in ("0_long", "1_short"):
        assert messages(three.folder / "predictions" / bag) == messages(one.folder / "predictions" / bag)
    names = [path.name for path in sorted((one.folder / "predictions" / "0_long").iterdir())]
    assert names == ["0_long_0.mcap", "0_long_1.mcap", "0_long_2.mcap", "metadata.yaml"]
    pictures = [sorted(path.read_bytes() for path in (each.folder / "pictures").iterdir()) for each in (one, three)]
    assert pictures[0] == pictures[1]


def test_results_on_a_ray_cluster_are_the_same(
    evaluate_bag: Callable[..., Any], bags: list[Path], tiny_engine: Path, tmp_path: Path
) -> None:
    """A real cluster of this machine, started by the command in a process of its own."""
    one = evaluate_bag(*bags, *REFERENCES, "--workers", 1, output="one")
    assert one.code == 0, one.said
    command = [sys.executable, "-m", "hybridnet_ros.cli", "evaluate-bag", *map(str, bags), *REFERENCES]
    command += ["--engine", str(tiny_engine), "--output", str(tmp_path / "ray"), "--ray", "local", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    on_ray = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert on_ray.returncode == 0, on_ray.stdout + on_ray.stderr
    assert results(load(tmp_path / "ray")) == results(one.evaluation)
    for bag in ("0_long", "1_short"):
        assert messages(tmp_path / "ray" / "predictions" / bag) == messages(one.folder / "predictions" / bag)


def test_without_a_cluster_the_address_is_named(evaluate_bag: Callable[..., Any], bags: list[Path]) -> None:
    outcome = evaluate_bag(bags[1], "--topic", IMAGE, "--ray", "nowhere")
    assert outcome.code == 1
    assert "no Ray cluster at nowhere" in outcome.said


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path, workers: int) -> None:
    # Many chunks: however late the signal comes, something is left to do.
    bags = [write_drive(tmp_path / "long", 200, rate_hz=2.0), write_drive(tmp_path / "short", 4)]
    engine = write_tiny_engine(tmp_path, "slow", work=2)
    folder = tmp_path / "stopped"
    command = [sys.executable, "-m", "hybridnet_ros.cli", "evaluate-bag", *map(str, bags), *REFERENCES]
    command += ["--workers", str(workers), "--engine", str(engine), "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    process = start()
    while not list((folder / "parts").glob("0_*.yaml")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "the same command goes on from there" in said
    partial = load(folder)
    assert partial.status == PARTIAL
    assert 0 < partial.total.frames < 204
    for bag in (folder / "predictions").iterdir():
        assert messages(bag), "what is done can be played"

    process = start()
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    resumed = load(folder)
    assert resumed.status == COMPLETE
    assert not (folder / "parts").exists()

    command[command.index(str(folder))] = str(tmp_path / "whole")
    process = start()
    process.communicate(timeout=600)
    assert results(resumed) == results(load(tmp_path / "whole"))
    for bag in ("0_long", "1_short"):
        assert messages(folder / "predictions" / bag) == messages(tmp_path / "whole" / "predictions" / bag)


def test_a_folder_is_not_mixed_with_another_evaluation(evaluate_bag: Callable[..., Any], bags: list[Path]) -> None:
    first = evaluate_bag(bags[1], "--topic", IMAGE)
    again = evaluate_bag(bags[1], "--topic", IMAGE)
    assert again.code == 1
    assert "--overwrite" in again.said
    over = evaluate_bag(bags[1], "--topic", IMAGE, "--overwrite", "--max-depth", 50)
    assert over.code == 0, over.said
    assert over.evaluation.settings == dataclasses.replace(first.evaluation.settings, max_depth=50.0)
