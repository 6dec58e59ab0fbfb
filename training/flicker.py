"""How steady an engine's answers are from frame to frame.

    python -m training.flicker driving --data DATA
    python -m training.flicker driving_int8 --data DATA --output flicker.json

The frames are those of the config's `validation.sequence`. Each pixel is followed by optical flow, there and back;
those that cannot be followed, or that changed their looks, are left out. It is the measure of `hybridnet evaluate-bag`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybridnet_ros.engine import RUNTIMES, open_engine
from hybridnet_ros.engine.engine import Engine
from hybridnet_ros.engine.perception import perceive
from hybridnet_ros.engine.steadiness import Steadiness
from training.command import add_config_of_engine, new_parser, reports
from training.config import ConfigError, SequenceConfig, load_config
from training.data.sample import DataError, image_names, read_image

NEAREST, FARTHEST = 0.1, 80.0  # metres; depth beyond is not followed


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


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("flicker", __doc__)
    parser.add_argument("engine", help="an engine's name, or an .onnx file")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    add_config_of_engine(parser, "names the frames")
    parser.add_argument(
        "--runtime", default="auto", choices=RUNTIMES, help="what runs the engine (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    sequence = load_config(options.config).validation.sequence
    if sequence is None:
        raise ConfigError(f"{options.config}: validation.sequence names no frames to look at")
    with open_engine(options.engine, options.runtime) as engine:
        figures = flicker(engine, options.data, sequence)
        description = engine.description
    print(
        f"labels of {100 * figures['labels_changed']:.2f} % of the pixels change from frame to frame, "
        f"depth by {100 * figures['depth_change']:.2f} % (median); {figures['pairs']} pairs"
    )
    if options.output:
        options.output.write_text(
            json.dumps({"engine": description, "sequence": sequence.about, **figures}, indent=2) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
