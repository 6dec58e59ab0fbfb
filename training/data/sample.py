"""What a sample is, and how its files are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

IGNORE = 255


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

    @property
    def label_set(self) -> str | None:
        """Name of the label set that the labels are of; None without labels."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`; raises IndexError behind the last."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Rgb image; DataError names the file when it cannot be decoded."""
    return np.asarray(cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def read_png(path: Path, dtype: type) -> NDArray[Any]:
    """Single-channel PNG exactly as stored; DataError names the file when it is not of `dtype`."""
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.ndim != 2 or values.dtype != dtype:
        raise DataError(f"{path} is {values.dtype} {values.shape}, expected a single channel of {np.dtype(dtype).name}")
    return values


def read_labels(path: Path, classes: Sequence[int] | int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids uint8 [H, W] of an image's size, 255 = unlabelled.

    Args:
        path: PNG of one byte a pixel.
        classes: the number of classes, or for each value that the file may hold, the class id it means.
        image: that the labels are of.

    Raises:
        DataError: names the file and the first value that means nothing, or both sizes.
    """
    labels = np.asarray(read_png(path, np.uint8), np.uint8)
    expect_size(path, labels, image)
    known = classes if isinstance(classes, int) else len(classes)
    wrong = labels[(labels >= known) & (labels != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{path} has the label {wrong[0]}: expected 0 to {known - 1}, or {IGNORE} for unlabelled. "
            "Is it of another label set, or a picture in colour?"
        )
    if isinstance(classes, int):
        return labels
    table = np.full(256, IGNORE, np.uint8)
    table[:known] = classes
    return table[labels]


def expect_size(path: Path, values: NDArray[Any], image: NDArray[np.uint8]) -> None:
    """DataError names `path` unless `values` [H, W] is as large as the image."""
    (height, width), (rows, columns) = image.shape[:2], values.shape[:2]
    if (rows, columns) != (height, width):
        raise DataError(f"{path} is {columns}x{rows}, its image {width}x{height}: they must be of one size")


def _read(path: Path, flags: int) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    data = path.read_bytes()
    # A decoder fills up what a cut file lacks with grey or black and only warns, on a stream that nobody reads.
    if (data[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in data[-12:]) or (
        data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-1024:]
    ):
        raise DataError(f"{path} cannot be decoded: it is truncated, copy it again")
    values = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if values is None:
        raise DataError(f"{path} cannot be decoded: it is truncated or not an image, copy it again")
    return values


def image_names(folder: Path, pattern: str = "*.jpg") -> list[str]:
    """Names without suffix of the images in `folder`, sorted; DataError when there are none."""
    names = sorted(path.stem for path in folder.glob(pattern))
    if not names:
        raise DataError(f"no {pattern} in {folder}: is the data folder given with --data the right one?")
    return names


def expect_files(paths: Sequence[Path], reason: str) -> None:
    """DataError names the first of the files that is missing, how many are, and why they are wanted."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"there is no file {missing[0]}{more}: {reason}")
