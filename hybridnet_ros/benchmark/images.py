"""Real pictures to measure with: the demo's recording, or a folder of the user's own."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.resources import share_path

_SUFFIXES = (".jpg", ".jpeg", ".png")


class ImagesError(Exception):
    """There are no pictures to measure with; says where they were looked for."""


def read_images(folder: Path | None, size: tuple[int, int] | None, most: int) -> list[NDArray[np.uint8]]:
    """Pictures uint8 [H, W, 3] rgb, all resized to `size` (width, height), or to the first one's.

    Args:
        folder: of .jpg and .png files; the recording of the demo when None.
        size: (width, height) in px.
        most: how many at most, evenly spread.

    Raises:
        ImagesError: no picture can be read, or the demo's recording needs a package that is missing.
    """
    pictures = _recorded(most) if folder is None else _in_folder(folder, most)
    height, width = pictures[0].shape[:2]
    width, height = size or (width, height)
    return [_resized(picture, width, height) for picture in pictures]


def _recorded(most: int) -> list[NDArray[np.uint8]]:
    try:
        from hybridnet_ros.demo.recording import read_frames
    except ImportError as error:
        raise ImagesError(
            f"reading the demo's recording needs the module {error.name}: pip install rosbags, or give --images FOLDER"
        ) from None
    return [frame.image for frame in _spread(read_frames(share_path("demo", "kitti_sequence")), most)]


def _in_folder(folder: Path, most: int) -> list[NDArray[np.uint8]]:
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    pictures = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in _spread(files, most)]
    readable = [picture[:, :, ::-1].astype(np.uint8) for picture in pictures if picture is not None]
    if not readable:
        raise ImagesError(f"{folder} holds no .jpg or .png file that can be read: give a folder of camera pictures")
    return readable


def _resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if picture.shape[:2] == (height, width):
        return picture
    resized = np.empty((height, width, 3), np.uint8)
    cv2.resize(picture, (width, height), dst=resized, interpolation=cv2.INTER_AREA)
    return resized


def _spread(sequence: list, most: int) -> list:
    if len(sequence) <= most:
        return sequence
    return [sequence[position] for position in np.linspace(0, len(sequence) - 1, most).round().astype(int)]
