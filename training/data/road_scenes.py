"""Road scenes with a teacher's labels and depth.

`image/*.jpg`, and beside them, where known, `label19_pseudo/*.png` and `depth_pseudo/*.png`. Labels are Cityscapes
training ids, 255 where the teacher was not sure. Depth codes c give 100 ** (c / 255) metres, 0 unknown, at half the
image's size, for a camera with the focal length 0.5809 * image width (KITTI's).
"""

from pathlib import Path

import cv2
import numpy as np

from training.data.sample import DataError, Sample, image_names, read_image, read_labels, read_png

FOCAL_LENGTH_PER_WIDTH = 0.5809
CLASSES = 19


class RoadScenes:
    """Samples of one folder; a target whose folder is missing, or that is not wanted, is None."""

    label_set: str | None

    def __init__(self, folder: Path, labels: bool = True, depth: bool = True) -> None:
        """Look the folder over; DataError when an image lacks its target."""
        self.folder = folder
        self.names = image_names(folder / "image")
        self.labels = labels and (folder / "label19_pseudo").is_dir()
        self.label_set = "cityscapes19" if self.labels else None
        self.depth = depth and (folder / "depth_pseudo").is_dir()
        if not (self.labels or self.depth):
            raise DataError(f"{folder} has neither label19_pseudo nor depth_pseudo: there is nothing to learn from it")
        for wanted, kind in ((self.labels, "label19_pseudo"), (self.depth, "depth_pseudo")):
            for name in self.names if wanted else ():
                if not (folder / kind / f"{name}.png").is_file():
                    raise DataError(f"{folder}/image/{name}.jpg has no {kind}/{name}.png")
        levels = np.arange(256, dtype=np.float32)
        self.metres = np.where(levels == 0, np.nan, 100.0 ** (levels / 255.0)).astype(np.float32)

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
            labels = read_labels(self.folder / "label19_pseudo" / f"{name}.png", CLASSES, image)
        if self.depth:
            codes = read_png(self.folder / "depth_pseudo" / f"{name}.png", np.uint8)
            depth = self.metres[cv2.resize(codes, (width, height), interpolation=cv2.INTER_NEAREST)]
        return Sample(str(path), image, FOCAL_LENGTH_PER_WIDTH * width, labels, depth)
