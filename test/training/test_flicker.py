"""Flicker of a real engine on frames whose answers can be worked out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from hybridnet_ros.engine import open_engine
from tiny import write_tiny_engine
from training.config import SequenceConfig
from training.data.sample import DataError
from training.flicker import flicker, main


def write_frames(folder: Path, offsets: list[int], brightness: list[float]) -> SequenceConfig:
    """Frames of one textured picture, moved sideways by `offsets` px and made brighter by the factors `brightness`."""
    rng = np.random.default_rng(1)
    wide = cv2.GaussianBlur(rng.integers(0, 256, (96, 260), np.uint8), (0, 0), 8).astype(np.float32)
    wide = np.clip((wide - wide.mean()) * 12 + 110, 0, 230)
    (folder / "drive" / "image").mkdir(parents=True)
    for number, (offset, factor) in enumerate(zip(offsets, brightness, strict=True)):
        grey = np.clip(wide[:, 20 + offset : 212 + offset] * factor, 0, 255).astype(np.uint8)
        name = folder / "drive" / "image" / f"{number:03}.jpg"
        cv2.imwrite(str(name), cv2.merge([grey] * 3), [cv2.IMWRITE_JPEG_QUALITY, 100])
    return SequenceConfig(path=Path("drive"), fx=80.0, about="made")


def test_a_picture_that_only_moves_does_not_flicker(tmp_path: Path) -> None:
    still = write_frames(tmp_path / "still", [0] * 4, [1.0] * 4)
    moved = write_frames(tmp_path / "moved", [0, 2, 4, 6], [1.0] * 4)
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine:
        nothing = flicker(engine, tmp_path / "still", still)
        little = flicker(engine, tmp_path / "moved", moved)
    assert nothing == {"labels_changed": 0.0, "depth_change": 0.0, "pairs": 3}
    # What is left is what interpolation and JPEG do at the edges of classes.
    assert little["labels_changed"] < 0.05 and little["depth_change"] < 0.03


def test_answers_that_jump_while_the_picture_stays_are_flicker(tmp_path: Path) -> None:
    # The network answers to brightness: by 5 % more, depth of about 1 + 99 b goes up by nearly 5 %, and labels move.
    sequence = write_frames(tmp_path, [0] * 4, [1.0, 1.05, 1.0, 1.05])
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine:
        found = flicker(engine, tmp_path, sequence)
    assert found["depth_change"] == pytest.approx(np.log(1.05), rel=0.2)
    assert found["labels_changed"] > 0.01


def test_the_command_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sequence = write_frames(tmp_path, [0, 1], [1.0, 1.0])
    config = yaml.safe_load(Path("training/configs/driving.yaml").read_text())
    config["validation"]["sequence"] = sequence.model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = [str(write_tiny_engine(tmp_path)), "--data", str(tmp_path), "--config", str(tmp_path / "config.yaml")]
    assert main([*words, "--output", str(tmp_path / "flicker.json")]) == 0
    figures = json.loads((tmp_path / "flicker.json").read_text())
    assert figures["pairs"] == 1 and figures["frames"] == "made" and "1 pairs" in capsys.readouterr().out
    assert main([*words[:2], str(tmp_path / "nowhere"), *words[3:]]) == 1
    assert "no *.jpg in" in capsys.readouterr().err


def test_one_frame_is_no_sequence(tmp_path: Path) -> None:
    sequence = write_frames(tmp_path, [0], [1.0])
    with (
        open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine,
        pytest.raises(DataError, match="no two frames"),
    ):
        flicker(engine, tmp_path, sequence)
