"""What is wrong with data or config is named, with the remedy, before the first step."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from training import check, train
from training.data.cityscapes import Cityscapes
from training.data.kitti import KittiDepthBenchmark, KittiSemantics
from training.data.nyuv2 import NyuV2
from training.data.sample import DataError

from .conftest import write_png
from .layouts import (
    HEIGHT,
    WIDTH,
    write_cityscapes,
    write_folder,
    write_kitti_depth,
    write_kitti_semantics,
    write_nyuv2,
)
from .rooms import room_config, write_rooms


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_dataset_yaml(path: Path, text: str) -> None:
    (path / "dataset.yaml").write_text(text)


# What is done to a good folder, and what the message must say: the culprit, then the remedy.
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing labels and depth": (
        lambda f: [(f / kind / "1.png").unlink() for kind in ("labels", "depth")],
        r"image/1\.png has neither labels nor depth: add 1\.png",
    ),
    "missing image": (lambda f: (f / "image" / "1.png").unlink(), r"labels/1\.png has no image: add 1\.jpg to image"),
    "no images": (lambda f: [p.unlink() for p in (f / "image").iterdir()], r"no \*\.jpg or \*\.png in .*image"),
    "label out of range": (
        lambda f: write_png(f / "labels" / "1.png", np.full((HEIGHT, WIDTH), 19, np.uint8)),
        r"labels/1\.png has the label 19: expected 0 to 18, or 255 for unlabelled",
    ),
    "labels in colour": (
        lambda f: cv2.imwrite(str(f / "labels" / "1.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
        r"labels/1\.png is uint8 \(64, 128, 3\), expected a single channel of uint8",
    ),
    "depth of 8 bits": (
        lambda f: write_png(f / "depth" / "1.png", np.ones((HEIGHT, WIDTH), np.uint8)),
        r"depth/1\.png is uint8 .*, expected a single channel of uint16",
    ),
    "no valid depth": (
        lambda f: write_png(f / "depth" / "1.png", np.zeros((HEIGHT, WIDTH), np.uint16)),
        r"image/1\.png: its depth map has no valid pixel; replace the file, or remove it",
    ),
    "mixed sizes, labels": (
        lambda f: write_png(f / "labels" / "1.png", np.zeros((HEIGHT, 100), np.uint8)),
        r"labels/1\.png is 100x64, its image 128x64: they must be of one size",
    ),
    "mixed sizes, depth": (
        lambda f: write_png(f / "depth" / "1.png", np.ones((10, WIDTH), np.uint16)),
        r"depth/1\.png is 128x10, its image 128x64: they must be of one size",
    ),
    "truncated labels": (
        lambda f: cut(f / "labels" / "1.png"),
        r"labels/1\.png cannot be decoded: it is truncated, copy",
    ),
    "truncated depth": (lambda f: cut(f / "depth" / "1.png"), r"depth/1\.png cannot be decoded: it is truncated, copy"),
    "truncated image": (lambda f: cut(f / "image" / "1.png"), r"image/1\.png cannot be decoded: it is truncated, copy"),
    "truncated jpeg": (
        lambda f: (
            cv2.imwrite(str(f / "image" / "1.jpg"), cv2.imread(str(f / "image" / "1.png"))),
            (f / "image" / "1.png").unlink(),
            cut(f / "image" / "1.jpg"),
        ),
        r"image/1\.jpg cannot be decoded: it is truncated, copy it again",
    ),
    "empty file": (lambda f: (f / "image" / "1.png").write_bytes(b""), r"image/1\.png cannot be decoded"),
    "not an image": (
        lambda f: (f / "image" / "1.png").write_text("hello"),
        r"image/1\.png cannot be decoded.*not an image",
    ),
    "two suffixes": (
        lambda f: cv2.imwrite(str(f / "image" / "1.jpg"), np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
        r"image has 1 twice, with two suffixes: remove one",
    ),
    "no dataset.yaml": (
        lambda f: (f / "dataset.yaml").unlink(),
        r"cannot read .*dataset\.yaml.*fx, label_set and depth",
    ),
    "a typo in dataset.yaml": (
        lambda f: spoil_dataset_yaml(f, "fx: 100\nlabelset: cityscapes19\ndepth_steps: 100"),
        r"dataset\.yaml: labelset: Extra inputs",
    ),
    "no focal length": (
        lambda f: spoil_dataset_yaml(f, "label_set: cityscapes19"),
        r"dataset\.yaml: fx: Field required",
    ),
    "an unknown label set": (
        lambda f: spoil_dataset_yaml(f, "fx: 100\nlabel_set: city\ndepth_steps: 100"),
        r"dataset\.yaml: label_set: there is no label set called city; there is camvid11, cityscapes19",
    ),
    "no depth steps": (
        lambda f: spoil_dataset_yaml(f, "fx: 100\nlabel_set: cityscapes19"),
        r"dataset\.yaml lacks depth_steps",
    ),
}


def test_a_good_folder_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main([str(write_folder(tmp_path))]) == 0
    assert "3 images and what belongs to them are in order" in capsys.readouterr().out


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_bad_file_is_named(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path)
    spoil, message = FAULTS[fault]
    spoil(tmp_path)
    assert check.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said), said


def test_training_does_not_start_on_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rooms(tmp_path / "rooms", 4)
    config = room_config(tmp_path / "rooms.yaml", steps=1)
    write_png(tmp_path / "rooms" / "labels" / "03.png", np.full((64, 64), 200, np.uint8))
    arguments = [str(config), "--data", str(tmp_path), "--run", str(tmp_path / "run"), "--device", "cpu"]
    assert train.main(arguments) == 1
    assert "labels/03.png has the label 200" in capsys.readouterr().err
    assert not (tmp_path / "run" / "last.safetensors").exists()
    assert check.main([str(config), "--data", str(tmp_path)]) == 1


def test_a_typo_in_the_config_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = room_config(tmp_path / "rooms.yaml", steps=1)
    values = yaml.safe_load(config.read_text())
    values["optimiser"]["learning_rate"] = 1e-3
    config.write_text(yaml.safe_dump(values))
    assert train.main([str(config), "--data", str(tmp_path), "--run", str(tmp_path / "run")]) == 1
    assert "optimiser.learning_rate: there is no such key" in capsys.readouterr().err


def test_incomplete_official_layouts_name_the_file_and_its_package(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"leftImg8bit_trainvaltest\.zip.*or correct the path or the split"):
        Cityscapes(tmp_path)
    root = write_cityscapes(tmp_path / "cityscapes")
    for folder, package in (
        ("gtFine", r"gtFine_trainvaltest\.zip"),
        ("disparity", r"disparity_trainvaltest\.zip"),
        ("camera", r"camera_trainvaltest\.zip"),
    ):
        (victim,) = (root / folder).rglob("*000001*")
        kept = victim.read_bytes()
        victim.unlink()
        with pytest.raises(DataError, match=rf"there is no file .*{folder}.*000001.*: unpack {package}"):
            Cityscapes(root)
        victim.write_bytes(kept)
    (camera,) = (root / "camera").rglob("*000001*")
    camera.write_text('{"extrinsic": {}}')
    with pytest.raises(DataError, match=r"000001_000019_camera\.json gives no extrinsic\.baseline"):
        check.check_samples(Cityscapes(root), "cityscapes")
    (labels,) = (root / "gtFine").rglob("*000000*")
    write_png(labels, np.full((HEIGHT, WIDTH), 34, np.uint8))
    with pytest.raises(DataError, match=r"000000_000019_gtFine_labelIds\.png has the label 34: expected 0 to 33"):
        check.check_samples(Cityscapes(root), "cityscapes")

    root = write_nyuv2(tmp_path / "nyuv2")
    with pytest.raises(DataError, match="has no split val: there is train, test, train_fit, train_held"):
        NyuV2(root, "val")
    (root / "label40" / "0003.png").unlink()
    with pytest.raises(DataError, match=r"there is no file .*label40/0003\.png: splits\.json lists it"):
        NyuV2(root)
    assert len(NyuV2(root, labels=False)) == 10
    (root / "splits.json").write_text("{")
    with pytest.raises(DataError, match=r"splits\.json gives no splits"):
        NyuV2(root)

    root = write_kitti_depth(tmp_path / "kitti")
    (root / "raw" / "2011_09_28" / "calib_cam_to_cam.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"2011_09_28/calib_cam_to_cam\.txt gives no P_rect_02"):
        KittiDepthBenchmark(root)
    next(root.rglob("2011_09_28*/image_02/data/*.png")).unlink()
    with pytest.raises(DataError, match=r"2011_09_28.*0000000005\.png: unpack the raw recordings"):
        KittiDepthBenchmark(root)
    with pytest.raises(DataError, match="data_depth_annotated.zip"):
        KittiDepthBenchmark(root, "val")

    root = write_kitti_semantics(tmp_path / "semantics")
    (root / "training" / "semantic" / "000000_10.png").unlink()
    with pytest.raises(DataError, match=r"semantic/000000_10\.png: unpack data_semantics\.zip"):
        KittiSemantics(root)
