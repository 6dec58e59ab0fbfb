"""Frames on which a network does worst, for its card: chosen by score, and by nobody's taste."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.scene.metrics import DepthMetrics
from training.config import RunConfig
from training.data.label_sets import label_table, read_label_set
from training.data.sample import IGNORE, Sample
from training.data.sources import open_source, open_truth
from training.evaluate import scored

FRAMES = 30  # of each source, evenly spread; looking at all takes long and shows the same


@dataclass(frozen=True)
class Failure:
    """A frame, and why it is shown."""

    sample: Sample
    why: str


def find_failures(engine: Engine, config: RunConfig, data: Path) -> list[Failure]:
    """The worst image of each task's truth, then of each source without depth the frame it is least sure of.

    Sources without depth are other cameras and other light; nothing says there how far anything is.
    """
    validation, label_set = scored(config, config.claims), read_label_set(config.data.label_set)
    found: list[Failure] = []
    if validation.labels is not None:
        truth = open_truth(validation.labels, data, labels=True, depth=False)
        right, place = min((_share_right(engine, truth[i], truth.label_set), i) for i in range(len(truth)))
        about = f"{validation.labels.about}: the image with the fewest labels right ({right:.2f}) of {len(truth)}"
        found.append(Failure(truth[place], about))
    if validation.depth is not None:
        truth = open_truth(validation.depth, data, labels=False, depth=True)
        error, place = max((_abs_rel(engine, truth[i], validation.depth.cap), i) for i in range(len(truth)))
        about = f"{validation.depth.about}: the image with the greatest AbsRel ({error:.2f}) of {len(truth)}"
        found.append(Failure(truth[place], about))
    for source in config.data.sources:
        samples = open_source(source, data, label_set)
        if samples[0].depth is not None:
            continue
        places = np.unique(np.linspace(0, len(samples) - 1, FRAMES).round().astype(int)).tolist()
        sure, place = min((_confidence(engine, samples[i]), i) for i in places)
        about = f"{source.path}, a source of training labels: least sure ({sure:.2f}) of {len(places)} images"
        found.append(Failure(samples[place], about))
    return found


def _share_right(engine: Engine, sample: Sample, truth_set: str | None) -> float:
    """Share of the labelled pixels that are right, in the truth's classes where the network's are told from them."""
    if sample.labels is None or truth_set is None:
        return 1.0
    own, label_set = engine.manifest.labels, read_label_set(truth_set)
    found, truth = engine.predict(sample.image[np.newaxis], sample.fx).labels[0], sample.labels
    if own.name in label_set.mappings:
        found = label_set.mapping_from(own.name)[found]
    elif (table := label_table(own, label_set.name)) is not None:
        truth = table[truth]
    labelled = truth != IGNORE
    return float(np.mean(found[labelled] == truth[labelled])) if labelled.any() else 1.0


def _abs_rel(engine: Engine, sample: Sample, cap: float | None) -> float:
    if sample.depth is None:
        return 0.0
    metrics = DepthMetrics(cap=cap)
    metrics.add(engine.predict(sample.image[np.newaxis], sample.fx).depth[0], sample.depth)
    return float(metrics.pooled()["abs_rel"])


def _confidence(engine: Engine, sample: Sample) -> float:
    return float(engine.predict(sample.image[np.newaxis], sample.fx).confidence.mean()) / 255
