"""What a sample is, and how its files are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray


class DataError(Exception):
    """A data folder or file is missing or wrong; the message names it and what was expected."""


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it. Either target may be missing.

    Attributes:
        name: says which file it is, for error messages.
        image: uint8 [H, W, 3] rgb.
        fx: horizontal focal length in px of `image`.
        labels: uint8 [H, W] class ids, 255 = unlabelled.
        depth: float32 [H, W] metres, NaN = unknown.
    """

    name: str
    image: NDArray[np.uint8]
    fx: float
    labels: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None


class Samples(Protocol):
    """A dataset: samples by number, each read from disk when asked for."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`; raises IndexError behind the last."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Rgb image; DataError names the file when it cannot be decoded."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_png(path: Path, dtype: type) -> NDArray:
    """Single-channel PNG exactly as stored; DataError names the file when it is not of `dtype`."""
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype != dtype:
        raise DataError(f"{path} is {values.dtype} {values.shape}, expected a single channel of {np.dtype(dtype).name}")
    return values


def _read(path: Path, flags: int) -> NDArray:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    values = cv2.imread(str(path), flags)
    if values is None:
        raise DataError(f"{path} cannot be decoded: it is truncated or not an image")
    return values


def image_names(folder: Path) -> list[str]:
    """Names without suffix of the JPEG images in `folder`, sorted; DataError when there are none."""
    names = sorted(path.stem for path in folder.glob("*.jpg"))
    if not names:
        raise DataError(f"no *.jpg in {folder}: is the data folder given with --data the right one?")
    return names
