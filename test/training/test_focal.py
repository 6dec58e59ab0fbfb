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
from training.config import SequenceConfig
from training.data.sample import DataError
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
        found = focal(engine, tmp_path, sequence)
    assert list(found) == [sight.name for sight in SIGHTS]
    # Whatever the image's size, the network sees it at one: its metres stay.
    for name in ("1.5 times as large", "half as large"):
        assert found[name]["depth_ratio"] == pytest.approx(1.0, abs=0.03)
        assert found[name]["depth_differs"] < 0.03
        assert found[name]["labels_same"] > 0.95
    # A cropped one is seen enlarged, and to the same brightness it says the same: times the longer focal length.
    assert found["middle two thirds"]["depth_ratio"] == pytest.approx(1.5, rel=0.03)
    assert found["middle two thirds"]["depth_differs"] == pytest.approx(np.log(1.5), rel=0.1)


def test_the_command_says_and_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("training/configs/driving.yaml").read_text())
    config["validation"]["sequence"] = write_frame(tmp_path).model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = [str(write_tiny_engine(tmp_path)), "--data", str(tmp_path), "--config", str(tmp_path / "config.yaml")]
    assert main([*words, "--output", str(tmp_path / "focal.json")]) == 0
    figures = json.loads((tmp_path / "focal.json").read_text())
    assert set(figures) == {"engine", "sequence", *(sight.name for sight in SIGHTS)}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(SIGHTS) and said[2].startswith("middle two thirds    metres 1.5")


def test_frames_beyond_80_metres_have_nothing_to_compare(tmp_path: Path) -> None:
    sequence = write_frame(tmp_path)
    far = sequence.model_copy(update={"fx": 8000.0})
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as engine, pytest.raises(DataError, match="within 80 m"):
        focal(engine, tmp_path, far)
