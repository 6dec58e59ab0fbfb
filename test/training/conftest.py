"""A data folder like the real one, of a few small drawn road scenes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def draw_scene(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sky, road and a car: rgb image, Cityscapes labels, depth in metres (NaN in the sky)."""
    rng = np.random.default_rng(seed)
    horizon = int(height * rng.uniform(0.4, 0.6))
    labels = np.full((height, width), 10, np.uint8)
    labels[horizon:] = 0
    rows = np.arange(height, dtype=np.float32)[:, np.newaxis]
    depth = np.where(rows > horizon, 30.0 / np.maximum(rows - horizon, 1), np.nan) * np.ones((1, width), np.float32)
    left = int(rng.integers(0, width // 2))
    car = (slice(horizon - height // 8, horizon + height // 6), slice(left, left + width // 3))
    labels[car], depth[car] = 13, 8.0
    image = np.array([[70, 130, 180], [90, 90, 90], [160, 20, 20]], np.uint8)[np.searchsorted([0, 10, 13], labels) % 3]
    noise = rng.integers(-10, 10, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels, depth.astype(np.float32)


def write_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def write_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources `both` (labels and depth), `labels_only`, `depth_only`; validation sets `camvid` and `kitti`."""
    root = tmp_path_factory.mktemp("data")
    for index in range(6):
        image, labels, depth = draw_scene(72, 128, index)
        codes = np.nan_to_num(np.round(255 * np.log(depth) / np.log(100)), nan=0).clip(0, 255).astype(np.uint8)
        for source in ("both", "labels_only", "depth_only"):
            write_jpeg(root / source / "image" / f"{index}.jpg", image)
            if source != "depth_only":
                write_png(root / source / "label19_pseudo" / f"{index}.png", labels)
            if source != "labels_only":
                write_png(root / source / "depth_pseudo" / f"{index}.png", codes[::2, ::2])
    for index in range(2):
        image, labels, depth = draw_scene(72, 128, 100 + index)
        write_jpeg(root / "camvid" / "image" / f"{index}.jpg", image)
        human = np.full_like(labels, 255)
        for cityscapes, camvid in ((10, 0), (0, 3), (13, 8)):
            human[labels == cityscapes] = camvid
        write_png(root / "camvid" / "label" / f"{index}.png", human)
        write_jpeg(root / "kitti" / "image" / f"{index}.jpg", image)
        write_png(root / "kitti" / "depth" / f"{index}.png", np.nan_to_num(depth * 256, nan=0).astype(np.uint16))
    return root


def small_config(path: Path, **optimiser: object) -> Path:
    """The shipped driving recipe with a global branch, on the drawn data: small, few steps, no pretrained weights."""
    values = yaml.safe_load((CONFIGS / "driving.yaml").read_text())
    values["network"] |= {"weights": None, "global_depth": values["network"]["features"]}
    source = {"kind": "road_scenes", "licence": "none", "origin": "drawn", "use": "test"}
    values["data"] |= {"crop": [64, 96], "workers": 0}
    values["data"]["sources"] = [
        {**source, "path": name, "weight": weight}
        for name, weight in (("both", 2), ("labels_only", 1), ("depth_only", 1))
    ]
    values["engine"] |= {"height": 64, "width": 96, "pixels": 64 * 96}
    values["optimiser"] = {"steps": 4, "batch": 2, "warmup": 1, "amp": False, **optimiser}
    values["schedule"] = {"checkpoint": 2, "validate_every": 4}
    values["validation"] = {
        "labels": {"kind": "camvid", "path": "camvid", "about": "drawn"},
        "depth": {"kind": "kitti", "path": "kitti", "about": "drawn", "cap": 80},
    }
    path.write_text(yaml.safe_dump(values))
    return path
