"""KITTI images with measured depth: `image/*.jpg`, `depth*/*.png` uint16, metres = value / 256, 0 = not measured."""

from pathlib import Path

import numpy as np

from training.data.sample import DataError, Sample, image_names, read_image, read_png

FX = 721.5377  # of the rectified colour camera, px at 1242 px width


class KittiDepth:
    """Samples with LiDAR depth, without labels."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds `image/` and `depth/` (accumulated) or `depth_lidar/` (one sweep)."""
        depth_folders = [path for path in (folder / "depth", folder / "depth_lidar") if path.is_dir()]
        if not depth_folders:
            raise DataError(f"{folder} has neither depth/ nor depth_lidar/")
        self.folder, self.depth_folder = folder, depth_folders[0]
        self.names = image_names(folder / "image")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = self.names[index]
        path = self.folder / "image" / f"{name}.jpg"
        image = read_image(path)
        values = read_png(self.depth_folder / f"{name}.png", np.uint16)
        depth = np.where(values == 0, np.nan, values / 256.0).astype(np.float32)
        return Sample(str(path), image, FX * image.shape[1] / 1242, depth=depth)
