"""`hybridnet benchmark engine`, run as a person runs it, and its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hybridnet_ros.benchmark.command import BENCHMARKS
from hybridnet_ros.benchmark.floor import Cost, Peaks, cost, floor, measure_peaks
from hybridnet_ros.benchmark.images import ImagesError, read_images
from hybridnet_ros.benchmark.meters import Energy, Meters
from hybridnet_ros.cli import main
from hybridnet_ros.engine.typed_onnx import load_onnx
from tiny import tiny_network, write_tiny_engine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((40, 64, 3), 40 * index, np.uint8))
    return folder


def hybridnet(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_of_each_benchmark_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert hybridnet("benchmark", name, "--help") == 0
    assert f"examples:\n  hybridnet benchmark {name}" in capsys.readouterr().out


def test_engine_is_measured_and_written(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "result.json"
    words = ["--size", "48x32", "--batch", "1,3", "--seconds", "0.2", "--images", pictures, "--runtimes", "onnx_cpu"]
    assert hybridnet("benchmark", "engine", write_tiny_engine(tmp_path), *words, "--output", output) == 0
    shown = capsys.readouterr().out
    assert "camera 48x32" in shown and "tiny, onnx_cpu" in shown
    result = json.loads(output.read_text())
    assert result["benchmark"] == "engine" and result["size"] == [48, 32]
    assert [row["batch"] for row in result["rows"]] == [1, 3]
    for row in result["rows"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["calls"] > 0 and row["images_per_s"] > 0 and row["floor_ratio"] > 0
    assert result["memory_bytes"]["process"] > 1e6
    assert "onnxruntime" in result["software"] and "numpy" in result["software"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runtimes", "warp"], "unknown runtime 'warp'"),
        (["--images", "nowhere"], "nowhere holds no .jpg or .png"),
    ],
)
def test_what_cannot_be_measured_is_said(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hybridnet("benchmark", "engine", write_tiny_engine(tmp_path), *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--size", "wide"], ["--batch", "0"], ["--batch", "1,x"], ["--seconds", "0"]])
def test_a_wrong_option_is_answered_with_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert hybridnet("benchmark", "engine", *words) == 2
    assert "usage: hybridnet benchmark engine" in capsys.readouterr().err


def test_pictures_come_at_the_size_asked_for(pictures: Path, tmp_path: Path) -> None:
    assert [image.shape for image in read_images(pictures, (32, 16), 2)] == [(16, 32, 3)] * 2
    assert [image.shape for image in read_images(pictures, None, 9)] == [(40, 64, 3)] * 3
    with pytest.raises(ImagesError, match="holds no"):
        read_images(tmp_path, None, 1)


def test_the_demos_recording_is_there_without_a_folder() -> None:
    assert [image.shape for image in read_images(None, None, 2)] == [(375, 1242, 3)] * 2


def test_the_arithmetic_is_counted_layer_by_layer() -> None:
    counted = cost(tiny_network(work=2), 64, 32)
    # Two 1x1 convolutions of 3 channels into 1 and 3; then one into 32, two 3x3 of 32 into 32, and one into 1.
    assert counted.macs == 64 * 32 * (3 * 1 + 3 * 3 + 3 * 32 + 2 * 9 * 32 * 32 + 32)
    assert counted.least_bytes > 64 * 32 * (3 + 4 + 1 + 1) + 4 * 9 * 32 * 32  # shared weights count once
    assert counted.layer_bytes > counted.least_bytes
    assert cost(tiny_network(work=2), 128, 32).macs == 2 * counted.macs


def test_the_driving_network_has_the_arithmetic_that_its_maps_say() -> None:
    network = load_onnx((ROOT / "engines" / "hybridnet_driving.onnx").read_bytes())
    assert cost(network, 736, 224).macs == 1_686_487_520  # from the sizes of the maps that ONNX Runtime gave


def test_a_floor_is_what_the_measured_peaks_allow() -> None:
    least = floor(Cost(macs=10**9, least_bytes=10**7, layer_bytes=10**8), Peaks(flops=1e12, bytes_per_s=1e10))
    assert least.arithmetic_ms == pytest.approx(2.0) and least.memory_ms == pytest.approx(1.0)
    peaks = measure_peaks()
    assert peaks.flops > 1e8 and peaks.bytes_per_s > 1e7


@pytest.fixture
def rapl(tmp_path: Path) -> Callable[[int], Path]:
    """Linux's files of a processor's energy counter, set to so many microjoules."""
    folder = tmp_path / "powercap" / "intel-rapl:0"
    folder.mkdir(parents=True)

    def set_counter(microjoules: int) -> Path:
        for name, value in (("name", "package-0"), ("max_energy_range_uj", 10_000_000), ("energy_uj", microjoules)):
            (folder / name).write_text(f"{value}\n")
        return folder.parent

    return set_counter


def test_energy_is_what_the_counter_gained_even_when_it_began_again(rapl: Callable[[int], Path]) -> None:
    meters = Meters(rapl(9_000_000))
    assert meters.names[0] == "cpu package-0"
    energy = Energy()
    rapl(9_500_000)
    with meters.adding_to(energy):
        rapl(1_500_000)
    assert energy.joules["cpu package-0"] == pytest.approx(2.0)
    assert energy.watts()["cpu package-0"] == pytest.approx(2.0 / energy.seconds)
    with meters.adding_to(energy):
        rapl(2_500_000)
    assert energy.joules["cpu package-0"] == pytest.approx(3.0)


def test_no_counter_is_no_figure(tmp_path: Path) -> None:
    assert Meters(tmp_path).names == [gpu.name for gpu in Meters(tmp_path).gpus]
    assert Energy().watts() == {}
