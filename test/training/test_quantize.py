"""An 8-bit engine is written with its figures, and refused when it has lost too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from hybridnet_ros.engine import load_manifest, open_engine
from training import quantize
from training.quantize import LossError, check_loss

from .conftest import draw_scene


def figures(mean_iou: float, abs_rel: float) -> dict[str, dict[str, Any]]:
    return {"labels": {"mean_iou": mean_iou}, "depth": {"pooled": {"abs_rel": abs_rel}}}


def test_a_point_of_miou_and_3_percent_of_absrel_may_be_lost() -> None:
    check_loss(figures(0.646, 0.166), figures(0.637, 0.1705))
    with pytest.raises(LossError, match=r"1\.1 points of mIoU"):
        check_loss(figures(0.646, 0.166), figures(0.635, 0.166))
    with pytest.raises(LossError, match=r"raise AbsRel by 3\.6 %"):
        check_loss(figures(0.646, 0.166), figures(0.646, 0.172))
    with pytest.raises(LossError):
        check_loss(figures(0.646, 0.166), figures(float("nan"), 0.166))


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    """The driving network's config with the tests' folders."""
    text = (Path(__file__).parents[2] / "training" / "configs" / "driving.yaml").read_text()
    for source in ("camvid/train", "road/kitti_road_test", "road/kitti_raw", "road/kitti_obj_asd", "road/gtsdb",
                   "road/nuscenes_boston", "road/bdd_yolop", "road/tusimple_lanenet"):  # fmt: skip
        text = text.replace(f"path: {source},", "path: both,")
    (tmp_path / "drive" / "image").mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "drive" / "image" / f"{number}.jpg"), draw_scene(72, 128, 3)[0])
    text = text.replace("path: kitti_sequence", f"path: {tmp_path / 'drive'}")
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("path: camvid/val", "path: camvid").replace("kitti_accumulated", "kitti"))
    return path


def test_the_engine_in_8_bits_opens_and_carries_its_figures(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The drawn scenes of the tests are none that the driving network knows, so nothing is known of what it loses there.
    monkeypatch.setattr(quantize, "IMAGES", 4)
    monkeypatch.setattr(quantize, "LIMITS", {"mean_iou": 1.0, "abs_rel": 10.0})
    monkeypatch.setattr(quantize, "PARITY_TOLERANCES", dict.fromkeys(quantize.PARITY_TOLERANCES, 1e9))
    words = ["driving", "--data", str(data), "--config", str(config), "--output", str(tmp_path)]
    assert quantize.main(words) == 0
    target = tmp_path / "hybridnet_driving_int8.onnx"
    manifest = load_manifest(target.with_suffix(".json"))
    assert manifest.precision == "int8" and manifest.network == "hybridnet_driving_int8"
    assert manifest.accuracy[0].command == "python -m training.evaluate driving_int8 --data DATA"
    assert 0 < manifest.parity.measured["depth_abs_rel"] < 0.5
    computed = [node for node in onnx.load(target).graph.node if node.op_type == "QuantizeLinear"]
    assert len(computed) > 50, "activations are in 8 bits, not only the weights that the file holds"
    card = target.with_suffix(".md").read_text()
    assert manifest.licence in card
    assert manifest.onnx_sha256[:16] in card and "## Limits" in card and "CC BY-NC-SA 3.0" in card
    assert "| Labels that change from frame to frame | 0.0 % | 0.0 % |" in card
    with open_engine(target, "onnx_cpu") as engine:
        assert np.isfinite(engine.predict(draw_scene(72, 128, 3)[0][np.newaxis]).depth).all()


def test_an_engine_that_lost_too_much_is_refused_and_not_written(
    config: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quantize, "IMAGES", 2)
    monkeypatch.setattr(quantize, "PARITY_TOLERANCES", dict.fromkeys(quantize.PARITY_TOLERANCES, 0.0))
    words = ["driving", "--data", str(data), "--config", str(config), "--output", str(tmp_path)]
    assert quantize.main(words) == 1
    assert "hybridnet_driving_int8 differs from what it was made of" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))
