"""Pictures in files, and which files there are."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.messages import MessageError

IMAGE_FILES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEO_FILES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")

_MIB = 1 << 20


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, `2.jpg` before `10.jpg`."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_FILES]
    return sorted(
        paths, key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
    )


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The picture in a file: uint8 [H, W, 3] rgb; MessageError where it is none."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise MessageError(f"{path} is no picture, or is damaged")
    return from_bgr(bgr)


def from_bgr(bgr: Any) -> NDArray[np.uint8]:
    """OpenCV's order of colours to ours."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def fingerprint(paths: list[Path]) -> str:
    """SHA-256 of the files' names, sizes, first and last MiB: tells recordings apart, and is soon done for any size."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_MIB))
            file.seek(max(0, size - _MIB))
            digest.update(file.read(_MIB))
    return digest.hexdigest()
