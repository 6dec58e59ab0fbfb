"""The datasets by the names that configs give them, with labels in the label set that the run wants."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.scene.labels import LabelSet
from training.config import ConfigError, SourceConfig, TruthConfig
from training.data.camera_height import AtHeight
from training.data.camvid import CamVid
from training.data.cityscapes import Cityscapes
from training.data.folder import PlainFolder
from training.data.kitti import KittiDepth, KittiDepthBenchmark, KittiSemantics
from training.data.label_sets import label_table, read_label_set
from training.data.nyuv2 import NyuV2
from training.data.road_scenes import RoadScenes
from training.data.sample import Sample, Samples

# Each: folder, split, whether labels are wanted, whether depth is.
_DATASETS: dict[str, Callable[[Path, str | None, bool, bool], Samples]] = {
    "road_scenes": lambda folder, split, labels, depth: RoadScenes(folder, labels, depth),
    "camvid": lambda folder, split, labels, depth: CamVid(folder),
    "cityscapes": Cityscapes,
    "nyuv2": NyuV2,
    "kitti": lambda folder, split, labels, depth: KittiDepth(folder),
    "kitti_depth": lambda folder, split, labels, depth: KittiDepthBenchmark(folder, split),
    "kitti_semantics": lambda folder, split, labels, depth: KittiSemantics(folder),
    "folder": lambda folder, split, labels, depth: PlainFolder(folder, labels, depth),
}
_WITH_SPLITS = ("cityscapes", "nyuv2", "kitti_depth")


def open_truth(truth: TruthConfig, data: Path, labels: bool, depth: bool) -> Samples:
    """The dataset as it is, labels in its own label set.

    Raises:
        DataError: a folder or file is missing.
        ConfigError: the dataset has no splits, and one is asked for.
    """
    if truth.split is not None and truth.kind not in _WITH_SPLITS:
        raise ConfigError(f"{truth.kind} at {truth.path} has no splits: leave out split: {truth.split}")
    return _DATASETS[truth.kind](data / truth.path, truth.split, labels, depth)


def open_source(source: SourceConfig, data: Path, label_set: LabelSet) -> Samples:
    """The dataset, its labels as class ids of `label_set`.

    Raises:
        DataError: a folder or file is missing.
        ConfigError: it has labels of another label set, from which none are known to be made; or it has no splits; or
            its camera's height is given, and it has no labels that tell where the road is.
    """
    truth = TruthConfig(kind=source.kind, path=source.path, split=source.split, about=source.use)
    height = source.camera_height if source.depth else None
    samples = open_truth(truth, data, source.labels or height is not None, source.depth)
    if height is not None:
        names = read_label_set(samples.label_set).names if samples.label_set else ()
        if "road" not in names:
            raise ConfigError(f"camera_height of {source.path}: it has no labels that tell where the road is")
        samples = AtHeight(samples, height, names.index("road"))
    if not source.labels or samples.label_set is None:
        return Chosen(samples, None, source.labels, source.depth)
    return Chosen(samples, label_table(label_set, samples.label_set), source.labels, source.depth)


@dataclass(frozen=True)
class Chosen:
    """The targets of a dataset that a run wants, in its label set."""

    samples: Samples
    table: NDArray[np.uint8] | None
    labels: bool
    depth: bool

    @property
    def label_set(self) -> str | None:
        """That of the dataset."""
        return self.samples.label_set if self.labels else None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`."""
        sample = self.samples[index]
        labels = sample.labels if self.labels else None
        if labels is not None and self.table is not None:
            labels = self.table[labels]
        return replace(sample, labels=labels, depth=sample.depth if self.depth else None)


def class_shares(samples: Samples, classes: int) -> NDArray[np.float64]:
    """Share of each class in the labelled pixels, float64 [classes]; zeros without labels. Reads every sample."""
    pixels = np.zeros(classes)
    for index in range(len(samples) if samples.label_set is not None else 0):
        labels = samples[index].labels
        if labels is not None:
            pixels += np.bincount(labels.ravel(), minlength=256)[:classes]
    return pixels / max(pixels.sum(), 1)
