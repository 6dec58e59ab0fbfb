"""KITTI: depth from LiDAR, as PNG uint16, metres = value / 256, 0 = not measured; and the semantic benchmark."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.cityscapes import classes_by_id
from training.data.sample import (
    DataError,
    Sample,
    expect_files,
    expect_size,
    image_names,
    read_image,
    read_labels,
    read_png,
)

FX = 721.5377  # of the rectified colour camera, px at 1242 px width


class KittiDepth:
    """`image/*.jpg` with `depth/*.png` (accumulated) or `depth_lidar/*.png` (one sweep); no labels."""

    label_set = None

    def __init__(self, folder: Path) -> None:
        """Look the folder over; DataError names what is missing."""
        depth_folders = [path for path in (folder / "depth", folder / "depth_lidar") if path.is_dir()]
        if not depth_folders:
            raise DataError(f"{folder} has neither depth/ nor depth_lidar/")
        self.folder, self.depth_folder = folder, depth_folders[0]
        self.names = image_names(folder / "image")
        expect_files([self.depth_folder / f"{name}.png" for name in self.names], "every image needs its depth")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = self.names[index]
        path = self.folder / "image" / f"{name}.jpg"
        image = read_image(path)
        depth = read_depth(self.depth_folder / f"{name}.png", image)
        return Sample(str(path), image, FX * image.shape[1] / 1242, depth=depth)


class KittiDepthBenchmark:
    """The depth benchmark in its official layout, beside the raw recordings; left colour camera, no labels.

    SPLIT/DRIVE/proj_depth/groundtruth/image_02/*.png
    raw/DATE/DRIVE/image_02/data/*.png (or .jpg)
    raw/DATE/calib_cam_to_cam.txt
    """

    label_set = None

    def __init__(self, folder: Path, split: str | None = "train") -> None:
        """Look the folder over; DataError names what is missing. Drives without depth are left out."""
        split = split or "train"
        self.depths = sorted((folder / split).glob("*/proj_depth/groundtruth/image_02/*.png"))
        if not self.depths:
            raise DataError(
                f"no */proj_depth/groundtruth/image_02/*.png in {folder / split}: unpack data_depth_annotated.zip "
                f"into {folder}, or correct the path or the split (train, val)"
            )
        self.images = [_raw_image(folder / "raw", depth) for depth in self.depths]
        expect_files(self.images, f"unpack the raw recordings into {folder / 'raw'}")
        dates = {image.parents[3] for image in self.images}
        self.fx = {date: read_fx(date / "calib_cam_to_cam.txt") for date in sorted(dates)}

    def __len__(self) -> int:
        """Number of images."""
        return len(self.depths)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        path = self.images[index]
        image = read_image(path)
        return Sample(str(path), image, self.fx[path.parents[3]], depth=read_depth(self.depths[index], image))


class KittiSemantics:
    """The semantic benchmark: `training/image_2/*.png` and `training/semantic/*.png` in Cityscapes' ids; no depth."""

    label_set = "cityscapes19"

    def __init__(self, folder: Path) -> None:
        """Look the folder over; DataError names what is missing."""
        self.folder = folder / "training"
        self.names = image_names(self.folder / "image_2", "*.png")
        files = [self.folder / "semantic" / f"{name}.png" for name in self.names]
        expect_files(files, f"unpack data_semantics.zip into {folder}")
        self.classes = classes_by_id()

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = f"{self.names[index]}.png"
        path = self.folder / "image_2" / name
        image = read_image(path)
        labels = read_labels(self.folder / "semantic" / name, self.classes, image)
        return Sample(str(path), image, FX * image.shape[1] / 1242, labels)


def read_depth(path: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Metres float32 [H, W], NaN where nothing was measured; DataError names a file of another size or type."""
    values: NDArray[Any] = read_png(path, np.uint16)
    expect_size(path, values, image)
    return np.where(values == 0, np.nan, values / 256.0).astype(np.float32)


def read_fx(path: Path) -> float:
    """Focal length of the rectified left colour camera, px; DataError names the file when it is not in there."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        return float(lines["P_rect_02"].split()[0])
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(f"{path} gives no P_rect_02 ({error!r}): unpack the raw calibration of that date") from error


def _raw_image(raw: Path, depth: Path) -> Path:
    """The image of a depth map .../DRIVE/proj_depth/groundtruth/image_02/NUMBER.png."""
    drive = depth.parents[3].name
    image = raw / drive[:10] / drive / "image_02" / "data" / depth.name
    jpeg = image.with_suffix(".jpg")
    return jpeg if jpeg.is_file() else image
