"""`hybridnet demo` from end to end: real processes, real DDS, the recorded drive, a tiny engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny import write_tiny_engine

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0


def demo_command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "hybridnet_ros.cli", "demo", *map(str, words)]


def start_demo(*words: str | Path, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        demo_command(*words),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def children(parent: int) -> dict[int, str]:
    """Command line of each running child of a process, by its id."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
            line = status.with_name("cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found[int(status.parent.name)] = line
    return found


def wait_for_child(demo: subprocess.Popen[str], module: str) -> int:
    """The id of the child that runs `module`."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and demo.poll() is None:
        for number, line in children(demo.pid).items():
            if module in line:
                return number
        time.sleep(0.05)
    raise AssertionError(f"no child runs {module}")


def wait_until_it_says(demo: subprocess.Popen[str], pattern: str) -> str:
    """Everything printed up to the first line that has `pattern`."""
    assert demo.stdout is not None
    said = ""
    for line in demo.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"it never said {pattern}:\n{said}")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_tiny_engine(tmp_path)


def test_every_frame_is_answered_and_measured(engine: Path, tmp_path: Path) -> None:
    demo = start_demo(
        "--engine", engine, "--frames", "6", "--loops", "2", "--rate", "4", "--output", "out", cwd=tmp_path
    )
    said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, said
    assert re.search(r"sent +\d+ +answered +\d+ +rate +[\d.]+ Hz +age \d+ ms +dropped 0", said)
    assert re.search(r"frames answered +12 of 12 ", said)
    assert re.search(r"depth AbsRel +\d\.\d{3} ", said)

    figures = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (figures["sent"], figures["answered"], figures["dropped"]) == (12, 12, 0)
    assert figures["rate_hz"] == pytest.approx(4, abs=1)
    assert 0 < figures["age_p50_ms"] <= figures["age_p95_ms"]
    assert figures["depth"]["pixels"] + figures["depth"]["missing"] > 6 * 10_000
    assert "tiny (3 classes)" in figures["engine"]
    assert figures["node_values"]["state"] == "active"

    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6 * 3
    assert "12 / 12" in page


def test_a_node_that_is_too_slow_drops_frames_and_says_so(tmp_path: Path) -> None:
    engine = write_tiny_engine(tmp_path, work=60)
    words = ("--engine", engine, "--frames", "10", "--loops", "6", "--rate", "100", "--output", "out")
    demo = start_demo(*words, cwd=tmp_path)
    said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 0, said
    figures = json.loads((tmp_path / "out" / "result.json").read_text())
    assert figures["sent"] == 60
    assert 0 < figures["answered"] < 60
    assert figures["dropped"] == 60 - figures["answered"] == figures["ages_ms"].count(None)


def test_ctrl_c_ends_every_process(engine: Path, tmp_path: Path) -> None:
    demo = start_demo("--engine", engine, "--loops", "100", "--output", "out", cwd=tmp_path)
    said = wait_until_it_says(demo, r"answered +[1-9]")
    processes = children(demo.pid)
    assert len(processes) == 2, f"a node and a player: {processes}"
    demo.send_signal(signal.SIGINT)
    rest, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130
    assert "hybridnet demo: stopped" in rest
    assert "Traceback" not in said + rest + "".join(log.read_text() for log in (tmp_path / "out").glob("*.log"))
    assert not any(Path("/proc", str(number)).exists() for number in processes)


def test_a_node_that_dies_is_reported_with_its_log(engine: Path, tmp_path: Path) -> None:
    demo = start_demo("--engine", engine, "--loops", "100", "--output", "out", cwd=tmp_path)
    wait_until_it_says(demo, r"answered +[1-9]")
    os.kill(wait_for_child(demo, "perception_node"), signal.SIGKILL)
    said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 1
    assert "hybridnet_node ended with exit code -9; the end of out/node.log:" in said
    assert "listening on /camera/image_rect/compressed" in said
    assert not children(demo.pid)


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "tiny.onnx"),
    "changed": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "does not match its manifest"),
    "undescribed": (lambda path: path.with_suffix(".json").unlink(), "tiny.json"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_bad_engine_is_reported_before_anything_starts(kind: str, engine: Path, tmp_path: Path) -> None:
    act, reason = BREAKS[kind]
    act(engine)
    demo = start_demo("--engine", engine, "--output", "out", cwd=tmp_path)
    said, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 1
    assert said.startswith("hybridnet demo: ") and reason in said
    assert not (tmp_path / "out").exists()
