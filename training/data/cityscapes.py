"""Cityscapes in its official layout.

leftImg8bit/SPLIT/CITY/*_leftImg8bit.png
gtFine/SPLIT/CITY/*_gtFine_labelIds.png
disparity/SPLIT/CITY/*_disparity.png    uint16 p: 0 is invalid, else the disparity d = (p - 1) / 256 px
camera/SPLIT/CITY/*_camera.json         depth Z = baseline * fx / d
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.label_sets import read_label_set
from training.data.sample import IGNORE, DataError, Sample, expect_files, expect_size, read_image, read_labels, read_png

IDS = 34  # 0 to 33 in the labelIds files

_IMAGE = "_leftImg8bit.png"


class Cityscapes:
    """Samples of one split; a target that is not wanted is None."""

    label_set = "cityscapes19"

    def __init__(self, folder: Path, split: str | None = "train", labels: bool = True, depth: bool = True) -> None:
        """Look the folder over; DataError names what is missing, and the package it comes with."""
        self.folder, self.labels, self.depth = folder, labels, depth
        split = split or "train"
        images = folder / "leftImg8bit" / split
        self.images = sorted(images.glob(f"*/*{_IMAGE}"))
        if not self.images:
            raise DataError(
                f"no */*{_IMAGE} in {images}: unpack leftImg8bit_trainvaltest.zip into {folder}, "
                "or correct the path or the split (train, val)"
            )
        for wanted, packages, kinds in (
            (labels, "gtFine_trainvaltest.zip", ("gtFine",)),
            (depth, "disparity_trainvaltest.zip and camera_trainvaltest.zip", ("disparity",)),
            (True, "camera_trainvaltest.zip", ("camera",)),
        ):
            files = [self._beside(image, kind) for kind in kinds for image in self.images if wanted]
            expect_files(files, f"unpack {packages} into {folder}")
        self.classes = classes_by_id()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        path = self.images[index]
        image = read_image(path)
        baseline, fx = read_camera(self._beside(path, "camera"))
        labels = depth = None
        if self.labels:
            labels = read_labels(self._beside(path, "gtFine"), self.classes, image)
        if self.depth:
            disparity = self._beside(path, "disparity")
            depth = depth_from_disparity(read_png(disparity, np.uint16), baseline * fx)
            expect_size(disparity, depth, image)
        return Sample(str(path), image, fx, labels, depth)

    def _beside(self, image: Path, kind: str) -> Path:
        endings = {"gtFine": "_gtFine_labelIds.png", "disparity": "_disparity.png", "camera": "_camera.json"}
        name = image.name[: -len(_IMAGE)] + endings[kind]
        return self.folder / kind / image.parent.parent.name / image.parent.name / name


def depth_from_disparity(stored: NDArray[Any], baseline_fx: float) -> NDArray[np.float32]:
    """Metres float32 [H, W] of uint16 [H, W]; NaN where the disparity is invalid, or zero, which is infinitely far."""
    disparity = (stored.astype(np.float32) - 1) / 256
    known = disparity > 0
    return np.where(known, baseline_fx / np.where(known, disparity, 1), np.nan).astype(np.float32)


def read_camera(path: Path) -> tuple[float, float]:
    """Baseline in metres and fx in px; DataError names the file when it has them not."""
    try:
        camera = json.loads(path.read_text())
        baseline, fx = float(camera["extrinsic"]["baseline"]), float(camera["intrinsic"]["fx"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} gives no extrinsic.baseline and intrinsic.fx ({error!r}): unpack it again") from error
    if not (0 < baseline < 10 and fx > 0):
        raise DataError(f"{path} gives a baseline of {baseline} m and fx of {fx} px: unpack it again")
    return baseline, fx


def classes_by_id() -> list[int]:
    """For each id of the labelIds files its training id, 255 where it is not evaluated."""
    classes = [IGNORE] * IDS
    for training_id, label_id in enumerate(read_label_set("cityscapes19").ids):
        classes[label_id] = training_id
    return classes
