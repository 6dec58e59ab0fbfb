"""Labels and depth of a dataset's images, scored against what the dataset says."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine import Prediction
from hybridnet_ros.scene.labels import LabelSet
from hybridnet_ros.scene.metrics import DepthMetrics, SegmentationMetrics
from training.config import ConfigError, DepthTruthConfig, TruthConfig, ValidationConfig
from training.data.label_sets import label_table, read_label_set
from training.data.sample import Sample, Samples

USUAL_CAP = 80.0  # metres, of driving


def passes(validation: ValidationConfig) -> Iterator[tuple[TruthConfig | None, DepthTruthConfig | None]]:
    """What is scored in one look at a dataset's images: both tasks where both truths are of the same, else each."""
    labels, depth = validation.labels, validation.depth
    if labels and depth and (labels.kind, labels.path, labels.split) == (depth.kind, depth.path, depth.split):
        yield labels, depth
        return
    if labels:
        yield labels, None
    if depth:
        yield None, depth


class LabelScores:
    """Labels in the truth's classes where the network's can be told from them, else the truth in the network's.

    Attributes:
        label_set: the classes that are scored.
        images: that had labels.
    """

    def __init__(self, own: LabelSet, samples: Samples) -> None:
        """`own` are the network's classes; ConfigError when the dataset has no labels, or classes of no relation."""
        if samples.label_set is None:
            raise ConfigError("validation.labels: the dataset has no labels")
        self.label_set = read_label_set(samples.label_set)
        self._table: NDArray[np.uint8] | None = None
        self._truth_table: NDArray[np.uint8] | None = None
        if own.name in self.label_set.mappings:
            self._table = self.label_set.mapping_from(own.name)
        else:
            self._truth_table, self.label_set = label_table(own, samples.label_set), own
        self._metrics = SegmentationMetrics(len(self.label_set), self.label_set.ignore)
        self.images = 0

    def wants(self, sample: Sample) -> bool:
        """Has it labels?"""
        return sample.labels is not None

    def seen(self, prediction: Prediction) -> NDArray[np.uint8]:
        """The predicted labels uint8 [H, W] in the classes that are scored."""
        found = prediction.labels[0]
        return found if self._table is None else self._table[found]

    def true(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels uint8 [H, W] of the dataset in the classes that are scored."""
        return labels if self._truth_table is None else self._truth_table[labels]

    def add(self, prediction: Prediction, sample: Sample) -> None:
        """Add what was seen in one image, if the image has labels."""
        if sample.labels is not None:
            self._metrics.add(self.seen(prediction), self.true(sample.labels))
            self.images += 1

    def figures(self) -> dict[str, Any]:
        """G, C, IoU, and both by class."""
        return self._metrics.to_dict(self.label_set.names)


class DepthScores:
    """Depth to the config's cap; to 80 m and of any distance too, with one prediction.

    Attributes:
        images: that had a depth.
    """

    def __init__(self, cap: float | None) -> None:
        """`cap` in metres; None: none."""
        self.cap = cap
        self._metrics = {limit: DepthMetrics(limit) for limit in (cap, USUAL_CAP, None)}
        self.images = 0

    def wants(self, sample: Sample) -> bool:
        """Has it a depth?"""
        return sample.depth is not None

    def add(self, prediction: Prediction, sample: Sample) -> None:
        """Add what was seen in one image, if the image has a depth."""
        if sample.depth is None:
            return
        for metrics in self._metrics.values():
            metrics.add(prediction.depth[0], sample.depth)
        self.images += 1

    def figures(self) -> dict[str, Any]:
        """`pooled` and `per_image` to the config's cap, and under `to_80_m` and `uncapped` to others."""
        own, usual, uncapped = (
            {"pooled": metrics.pooled(), "per_image": metrics.per_image()}
            for metrics in (self._metrics[self.cap], self._metrics[USUAL_CAP], self._metrics[None])
        )
        return {"cap_m": self.cap, **own, "to_80_m": usual, "uncapped": uncapped}
