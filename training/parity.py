"""The parity gate: an exported network does what it was made of does, on real images, or it is not written.

It is passed twice: by the network as exported, which must do the same, and by the file, whose weights are rounded.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from hybridnet_ros.engine import Prediction
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import Parity
from training.data.sample import Sample

TOLERANCES = {
    "labels_disagreement": 0.001,  # share of pixels
    "depth_abs_rel": 0.001,  # mean over pixels of |difference| / PyTorch's depth
    "depth_max_rel": 0.05,
    "confidence_difference": 0.5,  # mean, of 255
    "depth_non_finite": 0,  # pixels
}
# With packed weights labels differ where the network is unsure: on 0.2 % of the pixels with Cityscapes' 19 classes, on
# 1.2 % with NYUv2's 40; depth by 0.2 %. What that costs is in the figures, which are measured on the file.
PACKED_TOLERANCES = {
    "labels_disagreement": 0.04,
    "depth_abs_rel": 0.01,
    "depth_max_rel": 0.5,
    "confidence_difference": 5.0,
    "depth_non_finite": 0,
}
_WORST = ("depth_max_rel", "depth_non_finite")  # of all images; of the others the mean


class ParityError(Exception):
    """An engine does not do what it was made of does; nothing was written."""


def compare(
    reference: Engine,
    candidate: Engine,
    samples: Sequence[Sample],
    outputs: Sequence[str],
    tolerances: Mapping[str, float],
) -> Parity:
    """How far `candidate` is from `reference` in `outputs`, which says which of the `tolerances` count.

    Raises:
        ParityError: lists everything that is beyond its tolerance.
    """
    parts = (*outputs, "confidence") if "labels" in outputs else outputs
    counting = {key: value for key, value in tolerances.items() if key.split("_")[0] in parts}
    return measure_parity(reference, candidate, samples, counting)


def measure_parity(
    reference: Engine, candidate: Engine, samples: Sequence[Sample], tolerances: Mapping[str, float]
) -> Parity:
    """As `compare`, of an engine with all outputs."""
    differences: list[dict[str, float]] = []
    for sample in samples:
        image = sample.image[np.newaxis]
        differences.append(_difference(reference.predict(image, sample.fx), candidate.predict(image, sample.fx)))
    measured = {
        key: float((np.max if key in _WORST else np.mean)([difference[key] for difference in differences]))
        for key in tolerances
    }
    beyond = [
        f"{key} is {value:.3g}, at most {tolerances[key]:.3g} allowed"
        for key, value in measured.items()
        if not value <= tolerances[key]
    ]
    if beyond:
        raise ParityError(f"{candidate.manifest.network} differs from what it was made of: " + "; ".join(beyond))
    return Parity(images=len(samples), measured=measured, tolerances=dict(tolerances))


def _difference(expected: Prediction, found: Prediction) -> dict[str, float]:
    relative = np.abs(found.depth - expected.depth) / expected.depth
    return {
        "labels_disagreement": float(np.mean(found.labels != expected.labels)),
        "depth_abs_rel": float(np.mean(relative)),
        "depth_max_rel": float(np.max(relative)),
        "confidence_difference": float(np.mean(np.abs(found.confidence.astype(int) - expected.confidence))),
        "depth_non_finite": float(np.sum(~np.isfinite(found.depth))),
    }
