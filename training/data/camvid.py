"""CamVid as the SegNet tutorial gives it, 480x360, eleven classes labelled by people."""

from pathlib import Path

from training.data.road_scenes import FOCAL_LENGTH_PER_WIDTH
from training.data.sample import Sample, expect_files, image_names, read_image, read_labels

CLASSES = 11


class CamVid:
    """Samples with the eleven human classes (0 sky ... 10 bicyclist, 255 unlabelled), without depth."""

    label_set = "camvid11"

    def __init__(self, folder: Path) -> None:
        """`folder` holds `image/*.jpg` and `label/*.png`."""
        self.folder = folder
        self.names = image_names(folder / "image")
        expect_files([folder / "label" / f"{name}.png" for name in self.names], "every image needs its labels")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        name = self.names[index]
        path = self.folder / "image" / f"{name}.jpg"
        image = read_image(path)
        labels = read_labels(self.folder / "label" / f"{name}.png", CLASSES, image)
        return Sample(str(path), image, FOCAL_LENGTH_PER_WIDTH * image.shape[1], labels)
