"""CamVid as the SegNet tutorial gives it, 480x360, eleven classes labelled by people; validation on its own classes."""

from pathlib import Path

import numpy as np

from training.data.road_scenes import FOCAL_LENGTH_PER_WIDTH
from training.data.sample import Sample, image_names, read_image, read_png


class CamVid:
    """Samples with the eleven human classes (0 sky ... 10 bicyclist, 255 unlabelled), without depth."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds `image/*.jpg` and `label/*.png`."""
        self.folder = folder
        self.names = image_names(folder / "image")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = self.names[index]
        path = self.folder / "image" / f"{name}.jpg"
        image = read_image(path)
        return Sample(
            str(path),
            image,
            FOCAL_LENGTH_PER_WIDTH * image.shape[1],
            labels=read_png(self.folder / "label" / f"{name}.png", np.uint8),
        )
