"""One's own data: a plain folder.

dataset.yaml          fx: 721.5            focal length, px, of the images
                      label_set: NAME      of config/labels, where there are labels
                      depth_steps: 256     PNG steps a metre, where there is depth
image/NAME.jpg|.png   rgb
labels/NAME.png       uint8 class ids, 255 = unlabelled; the folder may be missing
depth/NAME.png        uint16, metres * depth_steps, 0 = unknown; the folder may be missing

An image may lack one of its targets, not both. Check a folder with `python -m training.check FOLDER`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.config import ConfigError
from training.data.label_sets import read_label_set
from training.data.sample import DataError, Sample, expect_size, read_image, read_labels, read_png


class FolderConfig(BaseModel):
    """dataset.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fx: float = Field(gt=0)
    label_set: str | None = None
    depth_steps: float | None = Field(None, gt=0)


class PlainFolder:
    """Samples of a plain folder; a target that is missing, or not wanted, is None."""

    def __init__(self, folder: Path, labels: bool = True, depth: bool = True) -> None:
        """Look the folder over; DataError names the first thing that is missing or of no use."""
        self.folder = folder
        self.config = _read_config(folder / "dataset.yaml")
        self.labels = labels and (folder / "labels").is_dir()
        self.depth = depth and (folder / "depth").is_dir()
        if not (self.labels or self.depth):
            raise DataError(f"{folder} has neither labels/ nor depth/ that are wanted: nothing to learn from it")
        for wanted, key, value in (
            (self.labels, "label_set", self.config.label_set),
            (self.depth, "depth_steps", self.config.depth_steps),
        ):
            if wanted and value is None:
                raise DataError(f"{folder / 'dataset.yaml'} lacks {key}, without which the files mean nothing")
        self.label_set = self.config.label_set if self.labels else None
        try:
            self.classes = len(read_label_set(self.label_set)) if self.label_set else 0
        except ConfigError as error:
            raise DataError(f"{folder / 'dataset.yaml'}: label_set: {error}") from error
        self.images = sorted(p for p in (folder / "image").glob("*") if p.suffix in (".jpg", ".jpeg", ".png"))
        if not self.images:
            raise DataError(f"no *.jpg or *.png in {folder / 'image'}")
        self._look_over()

    def _look_over(self) -> None:
        """Every image needs a target, and every target an image."""
        names = [image.stem for image in self.images]
        if twice := [name for name in names if names.count(name) > 1] if len(set(names)) < len(names) else []:
            raise DataError(f"{self.folder / 'image'} has {twice[0]} twice, with two suffixes: remove one of them")
        targets: set[str] = set()
        for wanted, kind in ((self.labels, "labels"), (self.depth, "depth")):
            found = {path.stem for path in (self.folder / kind).glob("*.png")} if wanted else set()
            if orphans := sorted(found - set(names)):
                raise DataError(f"{self.folder / kind / orphans[0]}.png has no image: add {orphans[0]}.jpg to image/")
            targets |= found
        for image in self.images:
            if image.stem not in targets:
                raise DataError(f"{image} has neither labels nor depth: add {image.stem}.png to one of the two folders")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample from disk."""
        path = self.images[index]
        image = read_image(path)
        labels = depth = None
        labels_path, depth_path = (self.folder / kind / f"{path.stem}.png" for kind in ("labels", "depth"))
        if self.labels and labels_path.is_file():
            labels = read_labels(labels_path, self.classes, image)
        if self.depth and depth_path.is_file():
            stored = read_png(depth_path, np.uint16)
            expect_size(depth_path, stored, image)
            steps = self.config.depth_steps
            depth = np.where(stored == 0, np.nan, stored / np.float64(steps or 1)).astype(np.float32)
        return Sample(str(path), image, self.config.fx, labels, depth)


def _read_config(path: Path) -> FolderConfig:
    try:
        values: Any = yaml.safe_load(path.read_text())
        return FolderConfig.model_validate(values)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; it says fx, label_set and depth_steps") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise DataError(f"{path}: {wrong}") from error
