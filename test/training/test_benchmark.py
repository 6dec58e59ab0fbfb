"""PyTorch is timed beside the engines, by the same code."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tiny import write_tiny_engine
from training import benchmark, train

from .conftest import draw_scene, small_config


def test_pytorch_and_the_engines_are_measured_in_one_run(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = small_config(tmp_path / "small.yaml")
    assert train.main([str(each) for each in (config, "--data", data, "--run", run, "--device", "cpu")]) == 0
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "0.png"), draw_scene(64, 96, 1)[0])
    output = tmp_path / "result.json"
    # The backend that needs no C++ compiler.
    words = [
        run,
        write_tiny_engine(tmp_path),
        "--backend",
        "eager",
        "--images",
        pictures,
        "--seconds",
        "0.2",
        "--runtimes",
        "onnx_cpu",
    ]
    assert benchmark.main([str(word) for word in (*words, "--output", output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["runtime"] for row in rows] == ["pytorch_eager", "pytorch_compiled", "onnx_cpu"]
    assert all(row["calls"] > 0 and np.isfinite(row["p50_ms"]) for row in rows)


def test_a_folder_without_a_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
