"""Metres of resized and cropped views, by engines whose answers can be worked out."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from hybridnet_ros.engine import open_engine
from tiny import write_tiny_engine
from training.config import ConfigError, DepthTruthConfig, SequenceConfig, ValidationConfig
from training.focal import SIGHTS, focal, main


def write_frame(folder: Path, brightest: int = 110) -> SequenceConfig:
    """A frame that gets brighter from left to right: the tiny engine's depth follows brightness."""
    (folder / "drive" / "image").mkdir(parents=True)
    row = np.linspace(brightest / 3, brightest, 384)[np.newaxis, :, np.newaxis]
    frame = np.broadcast_to(row, (192, 384, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "drive" / "image" / "000.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 100])
    return SequenceConfig(path=Path("drive"), fx=80.0, about="made")


def test_a_network_that_knows_no_focal_length_is_found_out(tmp_path: Path) -> None:
    sequence = write_frame(tmp_path)
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine:
        found = focal(engine, tmp_path, ValidationConfig(sequence=sequence))
    assert list(found) == [sight.name for sight in SIGHTS]
    # Whatever the image's size, the network sees it at one: its metres stay.
    for name in ("1.5 times as large", "half as large"):
        assert found[name]["depth_ratio"] == pytest.approx(1.0, abs=0.03)
        assert found[name]["depth_differs"] < 0.03
        assert found[name]["labels_same"] > 0.95
    # A cropped one is seen enlarged, and to the same brightness it says the same: times the longer focal length.
    assert found["middle two thirds"]["depth_ratio"] == pytest.approx(1.5, rel=0.03)
    assert found["middle two thirds"]["depth_differs"] == pytest.approx(np.log(1.5), rel=0.1)


def config_with(sequence: SequenceConfig, path: Path) -> Path:
    config = yaml.safe_load(Path("training/configs/driving.yaml").read_text())
    config["validation"]["sequence"] = sequence.model_dump(mode="json")
    path.write_text(yaml.safe_dump(config))
    return path


def test_the_command_says_and_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_with(write_frame(tmp_path), tmp_path / "config.yaml")
    words = [str(write_tiny_engine(tmp_path)), "--data", str(tmp_path), "--config", str(config)]
    assert main([*words, "--output", str(tmp_path / "focal.json")]) == 0
    figures = json.loads((tmp_path / "focal.json").read_text())
    assert set(figures) == {"engine", "frames", *(sight.name for sight in SIGHTS)}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(SIGHTS) and said[2].startswith("middle two thirds    metres 1.5")


def test_frames_beyond_80_metres_have_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far = write_frame(tmp_path).model_copy(update={"fx": 8000.0})
    path = write_tiny_engine(tmp_path)
    with open_engine(path, "onnx_cpu") as engine:
        assert focal(engine, tmp_path, ValidationConfig(sequence=far)) == {}
    config = config_with(far, tmp_path / "config.yaml")
    assert main([str(path), "--data", str(tmp_path), "--config", str(config)]) == 1
    assert "within 80 m" in capsys.readouterr().err


def test_without_a_sequence_the_images_are_those_that_depth_is_scored_on(data: Path, tmp_path: Path) -> None:
    depth = DepthTruthConfig(kind="kitti", path=Path("kitti"), about="drawn")
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine:
        found = focal(engine, data, ValidationConfig(depth=depth))
        assert list(found) == [sight.name for sight in SIGHTS] and found["middle two thirds"]["depth_ratio"] > 1
        with pytest.raises(ConfigError, match="names no frames"):
            focal(engine, data, ValidationConfig())
