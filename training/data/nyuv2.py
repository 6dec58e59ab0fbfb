"""NYUv2's 1449 labelled images: image/NNNN.jpg, depth/NNNN.png, label40/NNNN.png, label13/NNNN.png, splits.json.

Depth is uint8 D, metres = (D + 0.5) / 25.5, dense (filled in), at the image's size or at half of it. label40 is the
class less one; in these files what has no label was put into the last class, other prop. label13, which the test part
has, is 0 there and so tells the two apart: in the train part other prop is ignored, in the test part only what has no
label is.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.sample import IGNORE, DataError, Sample, expect_files, expect_size, read_image, read_labels, read_png

FX_PER_WIDTH = 518.9 / 640  # Kinect
CLASSES, OTHERPROP = 40, 39
CLASSES_13 = 14  # with 0, unlabelled

# Of the training split, what is learnt from and what weights are chosen on: the last tenth. The images are in the order
# of their scenes, so the two share one scene at the most.
_PARTS = {"train_fit": slice(0, 9), "train_held": slice(9, 10)}  # tenths


class NyuV2:
    """Samples of one split, 40 classes; a label set of 13 is made from them by its mapping."""

    label_set = "nyu40"

    def __init__(self, folder: Path, split: str | None = "train", labels: bool = True, depth: bool = True) -> None:
        """Look the folder over; DataError names what is missing."""
        self.folder, self.labels, self.depth = folder, labels, depth
        path = folder / "splits.json"
        try:
            splits = json.loads(path.read_text())
            self.names = _names(splits, split or "train")
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path} gives no splits ({error}): is the data folder the right one?") from error
        except KeyError as error:
            known = ", ".join([*splits, *_PARTS])
            raise DataError(f"{path} has no split {split}: there is {known}") from error
        for kind, suffix, wanted in (("image", "jpg", True), ("depth", "png", depth), ("label40", "png", labels)):
            if wanted:
                files = [folder / kind / f"{name}.{suffix}" for name in self.names]
                expect_files(files, f"splits.json lists it, and {kind} is wanted")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = self.names[index]
        path = self.folder / "image" / f"{name}.jpg"
        image = read_image(path)
        height, width = image.shape[:2]
        labels = depth = None
        if self.labels:
            labels = read_labels(self.folder / "label40" / f"{name}.png", CLASSES, image)
            thirteen = self.folder / "label13" / f"{name}.png"
            unlabelled = labels == OTHERPROP
            if thirteen.is_file():
                unlabelled = read_labels(thirteen, CLASSES_13, image) == 0
            labels = np.where(unlabelled, IGNORE, labels).astype(np.uint8)
        if self.depth:
            file = self.folder / "depth" / f"{name}.png"
            stored = read_png(file, np.uint8)
            if stored.shape == (height // 2, width // 2):
                stored = _at_every_pixel(stored, (width, height))
            expect_size(file, stored, image)
            depth = (stored.astype(np.float32) + np.float32(0.5)) / np.float32(25.5)
        return Sample(str(path), image, FX_PER_WIDTH * width, labels, depth)


def _at_every_pixel(stored: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """What was stored of every second pixel, from the first on, at all of (width, height), interpolated between."""
    every_second = np.array([(2.0, 0.0, 0.0), (0.0, 2.0, 0.0)])
    values = cv2.warpAffine(stored.astype(np.float32), every_second, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, np.float32)


def _names(splits: dict[str, list[int]], split: str) -> list[str]:
    part = _PARTS.get(split)
    numbers = sorted(splits["train"]) if part else splits[split]
    if part:
        numbers = numbers[len(numbers) * part.start // 10 : len(numbers) * part.stop // 10]
    return [f"{int(number):04d}" for number in numbers]
