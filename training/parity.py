"""The parity gate: an exported network does what it was made of does, on real images, or it is not written."""

from collections.abc import Mapping, Sequence

import numpy as np

from hybridnet_ros.engine import Prediction
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.manifest import Parity
from training.data.sample import Sample

# A file holds its weights in 16 bits: a network that has hardly learnt is unsure everywhere and differs most.
TOLERANCES = {
    "labels_disagreement": 0.002,  # share of pixels
    "depth_abs_rel": 0.001,  # mean over pixels of |difference| / PyTorch's depth
    "depth_max_rel": 0.05,
    "confidence_difference": 0.5,  # mean, of 255
    "depth_non_finite": 0,  # pixels
}
_WORST = ("depth_max_rel", "depth_non_finite")  # of all images; of the others the mean


class ParityError(Exception):
    """An engine does not do what it was made of does; nothing was written."""


def compare(
    reference: Engine, candidate: Engine, samples: Sequence[Sample], outputs: Sequence[str] = ("depth", "labels")
) -> Parity:
    """How far `candidate` is from `reference` in `outputs`.

    Raises:
        ParityError: lists everything that is beyond its tolerance.
    """
    parts = (*outputs, "confidence") if "labels" in outputs else outputs
    tolerances = {key: value for key, value in TOLERANCES.items() if key.split("_")[0] in parts}
    return measure_parity(reference, candidate, samples, tolerances)


def measure_parity(
    reference: Engine, candidate: Engine, samples: Sequence[Sample], tolerances: Mapping[str, float]
) -> Parity:
    """As `compare`, within tolerances of the caller's own."""
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
