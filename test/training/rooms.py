"""Drawn rooms as a plain folder: a wall, a floor and a cupboard, with labels of nyu13 and depth in metres."""

from pathlib import Path

import numpy as np
import yaml

from .conftest import write_png

WALL, FLOOR, FURNITURE = 11, 4, 5
SIDE = 64  # px


def draw_room(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rgb image, labels, and depth in metres, 64x64."""
    rng = np.random.default_rng(seed)
    edge, far = int(rng.integers(24, 40)), rng.uniform(3, 6)
    rows = np.arange(SIDE)[:, np.newaxis] * np.ones((1, SIDE))
    labels = np.where(rows < edge, WALL, FLOOR).astype(np.uint8)
    depth = np.where(rows < edge, far, far * edge / np.maximum(rows, 1))
    top, left = int(rng.integers(14, 26)), int(rng.integers(4, 30))
    cupboard = slice(top, top + 28), slice(left, left + 26)
    labels[cupboard], depth[cupboard] = FURNITURE, far * rng.uniform(0.5, 0.8)
    image = np.zeros((SIDE, SIDE, 3))
    for label, darkest, brightest in ((WALL, 140, 240), (FLOOR, 60, 130), (FURNITURE, 0, 255)):
        image[labels == label] = rng.integers(darkest, brightest, 3)
    image = image * (1.1 - 0.08 * depth)[..., np.newaxis] + rng.normal(0, 8, image.shape)
    return image.clip(0, 255).astype(np.uint8), labels, depth.astype(np.float32)


def write_rooms(folder: Path, count: int) -> None:
    """A plain folder of `count` rooms."""
    for index in range(count):
        image, labels, depth = draw_room(index)
        write_png(folder / "image" / f"{index:02}.png", image[..., ::-1])
        write_png(folder / "labels" / f"{index:02}.png", labels)
        write_png(folder / "depth" / f"{index:02}.png", np.round(depth * 1000).astype(np.uint16))
    (folder / "dataset.yaml").write_text("fx: 60.0\nlabel_set: nyu13\ndepth_steps: 1000\n")


def room_config(path: Path, **optimiser: object) -> Path:
    """A recipe that learns the rooms in DATA/rooms by heart and is scored on the same."""
    truth = {"kind": "folder", "path": "rooms", "about": "drawn rooms"}
    values = {
        "licence": "none",
        "data": {
            "label_set": "nyu13",
            "crop": [SIDE, SIDE],
            "scale": [1.0, 1.0],
            "flip": 0.0,
            "colour": 0.0,
            "workers": 0,
            "sources": [
                {"kind": "folder", "path": "rooms", "weight": 1} | dict.fromkeys(("licence", "origin", "use"), "-")
            ],
        },
        "engine": {
            "name": "driving",
            "height": SIDE,
            "width": SIDE,
            "pixels": SIDE * SIDE,
            "fx": 60.0,
            "depth_range": [0.5, 20.0],
        },
        "optimiser": {"batch": 10, "warmup": 10, "ema": 0.9, "amp": False, "weight_decay": 0.0, **optimiser},
        "schedule": {"checkpoint": 10000, "validate_every": 10000},
        "validation": {"labels": truth, "depth": truth},
    }
    path.write_text(yaml.safe_dump(values))
    return path
