"""Writes tiny datasets in their official layouts, from drawn road scenes."""

import json
from pathlib import Path

import numpy as np

from hybridnet_ros.resources import share_path
from hybridnet_ros.scene.labels import LabelSet

from .conftest import draw_scene, write_jpeg, write_png

HEIGHT, WIDTH = 64, 128
BASELINE, FX = 0.209313, 2262.52 * WIDTH / 2048


def cityscapes_ids(labels: np.ndarray) -> np.ndarray:
    """Training ids as the ids of the labelIds files; 255 becomes 1, the ego vehicle."""
    ids = np.full(256, 1, np.uint8)
    ids[:19] = LabelSet.from_yaml(share_path("config", "labels", "cityscapes19.yaml")).ids
    return ids[labels]


def write_cityscapes(root: Path, split: str = "train", count: int = 2) -> Path:
    for index in range(count):
        image, labels, depth = draw_scene(HEIGHT, WIDTH, index)
        disparity = np.nan_to_num(BASELINE * FX / depth * 256 + 1, nan=0).round().astype(np.uint16)
        name = f"{split}/ulm/ulm_{index:06}_000019_"
        for kind, suffix, values in (
            ("leftImg8bit", "leftImg8bit", image[..., ::-1]),
            ("gtFine", "gtFine_labelIds", cityscapes_ids(labels)),
            ("disparity", "disparity", disparity),
        ):
            write_png(root / kind / f"{name}{suffix}.png", values)
        camera = root / "camera" / f"{name}camera.json"
        camera.parent.mkdir(parents=True, exist_ok=True)
        camera.write_text(json.dumps({"extrinsic": {"baseline": BASELINE}, "intrinsic": {"fx": FX}}))
    return root


def write_nyuv2(root: Path, train: int = 10, test: int = 2) -> Path:
    """Labels 0 wall, 38 other furniture, 39 other prop; label13, of the test part, is 0 in the image's left half."""
    numbers = list(range(1, train + test + 1))
    for number in numbers:
        image, labels, depth = draw_scene(48, 64, number)
        name, testing = f"{number:04}", number > train
        write_jpeg(root / "image" / f"{name}.jpg", image)
        forty = np.select([labels == 10, labels == 13], [39, 38], 0).astype(np.uint8)
        write_png(root / "label40" / f"{name}.png", forty)
        codes = (np.nan_to_num(depth, nan=9).clip(0.1, 9.9) * 25.5).astype(np.uint8)
        write_png(root / "depth" / f"{name}.png", codes if testing else codes[::2, ::2])
        if testing:
            thirteen = np.select([forty == 39, forty == 38], [7, 6], 12).astype(np.uint8)
            thirteen[(forty == 39) & (np.arange(64) < 32)] = 0
            write_png(root / "label13" / f"{name}.png", thirteen)
    (root / "splits.json").write_text(json.dumps({"train": numbers[:train], "test": numbers[train:]}))
    return root


def write_kitti_depth(root: Path, split: str = "train") -> Path:
    for date, drive, fx in (("2011_09_26", "0001", 721.5), ("2011_09_28", "0002", 707.1)):
        folder = root / "raw" / date / f"{date}_drive_{drive}_sync" / "image_02" / "data"
        truth = root / split / f"{date}_drive_{drive}_sync" / "proj_depth" / "groundtruth" / "image_02"
        image, _, depth = draw_scene(HEIGHT, WIDTH, int(drive))
        write_png(folder / "0000000005.png", image[..., ::-1])
        write_png(truth / "0000000005.png", np.nan_to_num(depth * 256, nan=0).astype(np.uint16))
        calibration = f"calib_time: 09-Jan-2012 13:57:47\nP_rect_02: {fx} 0.0 609.5 44.8 0.0 {fx} 172.8 0.2\n"
        (root / "raw" / date / "calib_cam_to_cam.txt").write_text(calibration)
    return root


def write_kitti_semantics(root: Path) -> Path:
    image, labels, _ = draw_scene(HEIGHT, WIDTH, 3)
    write_png(root / "training" / "image_2" / "000000_10.png", image[..., ::-1])
    write_png(root / "training" / "semantic" / "000000_10.png", cityscapes_ids(labels))
    return root


def write_folder(root: Path, count: int = 3) -> Path:
    for index in range(count):
        image, labels, depth = draw_scene(HEIGHT, WIDTH, index)
        write_png(root / "image" / f"{index}.png", image[..., ::-1])
        write_png(root / "labels" / f"{index}.png", labels)
        write_png(root / "depth" / f"{index}.png", np.nan_to_num(depth * 100, nan=0).astype(np.uint16))
    (root / "dataset.yaml").write_text("fx: 100.0\nlabel_set: cityscapes19\ndepth_steps: 100\n")
    return root
