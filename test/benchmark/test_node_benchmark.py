"""`hybridnet benchmark node` and `transport`: real processes, few frames; what is counted, not how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hybridnet_ros.benchmark.figures import Ages
from hybridnet_ros.benchmark.node_benchmark import search
from hybridnet_ros.terminal import Progress


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "hybridnet_ros.cli", "benchmark", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The JSON of both nodes at 5 Hz for two seconds, and what was printed."""
    path = tmp_path_factory.mktemp("benchmark") / "node.json"
    done = benchmark("node", "--size", "320x240", "--rates", "5", "--seconds", "2", "--no-search", "--compare",
                     "--output", str(path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stdout


def test_every_frame_is_accounted_for_exactly(measured: Any) -> None:
    ours = measured[0]["runs"][0]
    assert ours["node"] == "hybridnet"
    assert ours["sent"] == ours["answered"] + sum(ours["drops"].values())
    assert ours["drops"]["unaccounted for"] == 0
    assert ours["answered"] >= 1


def test_the_plain_node_publishes_the_same_outputs(measured: Any) -> None:
    runs = measured[0]["runs"]
    assert [run["node"] for run in runs] == ["hybridnet", "plain", "plain, no profile"]
    assert all(run["answered"] for run in runs), "each published all five outputs"


def test_an_answer_arrives_after_it_was_published_and_that_after_its_stamp(measured: Any) -> None:
    for run in measured[0]["runs"]:
        assert 0 < run["publish_ms"]["p50"] <= run["arrive_ms"]["p50"]
        assert run["publish_ms"]["p50"] <= run["publish_ms"]["p95"] <= run["publish_ms"]["p99"]
        assert all(load["memory_mib"] > 1 for load in run["load"].values())


def test_the_report_says_what_was_measured_on_what(measured: Any) -> None:
    report, printed = measured
    assert (report["benchmark"], report["format_version"]) == ("node", 1)
    assert report["options"]["size"] == [320, 240]
    assert "stand_in" in report["engine"] and report["options"]["runtime"] == "auto"
    assert "cores" in report["machine"]
    assert report["software"]["numpy"]
    assert report["transport"]["profile"].startswith("fastdds")
    assert "320x240 rgb8" in printed
    assert "plain, no profile" in printed


def test_compressed_images_and_more_than_can_be_answered(tmp_path: Path) -> None:
    path = tmp_path / "jpeg.json"
    done = benchmark("node", "--size", "320x240", "--jpeg", "--rates", "20", "--seconds", "0.5",
                     "--overload", "5", "--output", str(path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    for run in report["runs"]:
        assert run["sent"] == run["answered"] + sum(run["drops"].values())
        assert run["drops"]["unaccounted for"] == 0
        assert run["node_values"]["input topic"] == "/camera/image/compressed"
    (highest,) = report["highest"]
    if highest["rate_hz"]:  # a loaded machine may not manage the slowest rate there is
        (overload,) = report["overloads"]
        assert overload["accounted"]
        assert overload["limit_ms"] > 2 * overload["infer_p50_ms"]


def test_transport_with_and_without_profile_and_reliability(tmp_path: Path) -> None:
    path = tmp_path / "transport.json"
    done = benchmark("transport", "--sizes", "320x240", "--rates", "10", "--seconds", "1", "--output", str(path))
    assert done.returncode == 0, done.stderr
    runs = json.loads(path.read_text())["runs"]
    kinds = [(run["reliable"], run["profile"] is None) for run in runs]
    assert kinds == [(False, False), (False, True), (True, False), (True, True)]
    for run in runs:
        assert run["sent"] == 10
        assert 1 <= run["arrived"] <= run["sent"]
    assert "best effort" in done.stdout


def test_an_engine_that_does_not_exist_is_said_before_anything_is_started() -> None:
    done = benchmark("node", "--engine", "nowhere.onnx")
    assert done.returncode == 1
    assert "nowhere.onnx" in done.stderr
    done = benchmark("node", "--engine", "driving", "--runtime", "abacus")
    assert done.returncode == 1
    assert "abacus" in done.stderr and "onnx_cpu" in done.stderr


@pytest.mark.parametrize("words", [("--size", "720p"), ("--rates", "fast"), ("--rates", "0")])
def test_wrong_options_are_refused_with_an_example(words: tuple[str, str]) -> None:
    done = benchmark("node", *words)
    assert done.returncode == 2
    assert "expected" in done.stderr
    assert words[1] in done.stderr


class Bench:
    """A node that answers `limit_hz` frames a second, behind a camera that manages `camera_hz`."""

    def __init__(self, limit_hz: float, camera_hz: float = 1e9) -> None:
        self._limit_hz, self._camera_hz = limit_hz, camera_hz

    def run(self, rate_hz: float, seconds: float) -> Any:
        sent_hz = min(rate_hz, self._camera_hz)

        class Run:
            node = "it"
            camera_hz = sent_hz
            dropped_share = max(0.0, 1 - self._limit_hz / sent_hz)

        return Run()


@pytest.mark.parametrize("limit_hz", [0.7, 7.0, 30.0, 111.0, 640.0])
def test_the_search_finds_the_highest_rate(limit_hz: float) -> None:
    found = search(Bench(limit_hz), 1.0, [], Progress())  # type: ignore[arg-type]
    assert not found.camera_was_slower
    assert found.rate_hz is not None
    assert limit_hz / 1.1 <= found.rate_hz <= limit_hz / 0.95


def test_the_search_ends_where_the_camera_is_slower_than_the_node() -> None:
    found = search(Bench(1000.0, camera_hz=90.0), 1.0, [], Progress())  # type: ignore[arg-type]
    assert found.camera_was_slower
    assert found.rate_hz == 90.0


def test_no_ages_are_no_percentiles() -> None:
    assert Ages.of([]).text() == "- / - / -"
    assert Ages.of([1.0, 2.0, 3.0]).p50 == 2.0
