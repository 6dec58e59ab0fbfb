"""Loader and training are measured side by side on real data and a real network."""

import json
from pathlib import Path

import pytest

from training import loader_benchmark

from .conftest import small_config


def test_loader_and_training_are_measured_side_by_side(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = small_config(tmp_path / "small.yaml", steps=10000), tmp_path / "loader.json"
    words = [config, "--set", "data.workers=1", "--data", data, "--rounds", 1, "--seconds", 0.1, "--output", output]
    assert loader_benchmark.main([str(word) for word in (*words, "--device", "cpu")]) == 0
    figures = json.loads(output.read_text())
    rates = figures["images_per_s"]
    assert set(rates) == {"loader", "training", "together"} and all(rate > 0 for rate in rates.values())
    assert figures["loader_over_training"] == pytest.approx(rates["loader"] / rates["training"], rel=0.1)
    assert "times as fast" in capsys.readouterr().out


def test_a_wrong_data_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path / "small.yaml")
    assert loader_benchmark.main([str(config), "--data", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
