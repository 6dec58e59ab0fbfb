"""How steady an engine's answers are from frame to frame.

    python -m training.flicker driving --data DATA
    python -m training.flicker driving_int8 --data DATA --output flicker.json

The frames are those of the config's `validation.sequence`. Each pixel is followed by optical flow, there and back;
those that cannot be followed, or that changed their looks, are left out. It is the measure of `hybridnet evaluate-bag`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.perception import perceive
from hybridnet_ros.engine.steadiness import Steadiness
from training.command import reports
from training.config import ConfigError, SequenceConfig, ValidationConfig
from training.data.sample import DataError, image_names, read_image
from training.sequence import FARTHEST, NEAREST, look_at_sequence


def flicker(engine: Engine, data: Path, sequence: SequenceConfig) -> dict[str, float]:
    """Means over all pairs of consecutive frames.

    Returns:
        labels_changed: share of followed pixels whose label changes.
        depth_change: median over followed pixels of |ln(depth / depth before)|, the camera's own motion included.
        pairs: pairs of frames compared.

    Raises:
        DataError: the frames are missing or cannot be read, or no two can be compared.
    """
    folder = data / sequence.path / "image"
    steadiness = Steadiness()
    steady: list[float] = []
    changes: list[float] = []
    for name in image_names(folder):
        image = read_image(folder / f"{name}.jpg")
        labels, depth = steadiness.add(image, perceive(engine, image, sequence.fx, NEAREST, FARTHEST))
        if labels is not None and depth is not None:
            steady.append(labels)
            changes.append(depth)
    if not steady:
        raise DataError(f"no two frames in {folder} show the same: give consecutive frames of one camera")
    return {
        "labels_changed": 1 - float(np.mean(steady)),
        "depth_change": float(np.mean(changes)),
        "pairs": len(steady),
    }


def _of_config(engine: Engine, data: Path, validation: ValidationConfig) -> dict[str, float]:
    if validation.sequence is None:
        raise ConfigError("validation.sequence: the config names no consecutive frames: give them, or another --config")
    return flicker(engine, data, validation.sequence)


def _lines(figures: dict[str, float]) -> list[str]:
    return [
        f"labels of {100 * figures['labels_changed']:.2f} % of the pixels change from frame to frame, "
        f"depth by {100 * figures['depth_change']:.2f} % (median); {figures['pairs']} pairs"
    ]


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    return look_at_sequence("flicker", __doc__, arguments, _of_config, _lines)


if __name__ == "__main__":
    sys.exit(main())
