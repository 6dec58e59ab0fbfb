"""Make an engine from its recipe: everything between the data folder and the files that a robot opens.

    python -m training.make training/configs/driving.yaml --data DATA
    python -m training.make training/configs/indoor.yaml --data DATA --run runs/indoor --output engines
    python -m training.make training/configs/indoor.yaml --data DATA --set seed=2 --run runs/indoor_2 --output other

One after the other it does what these commands do, each of which can be run by itself: training.imagenet where the
weights that the recipe starts from are not in the data folder, training.train, training.export, training.quantize.
Ctrl-C ends it with a checkpoint; the same command goes on from there. A run trained on many GPUs (training.train --help
says how) is taken as it is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from training.command import add_device, new_parser, reports
from training.config import RunConfig, load_config
from training.evaluate import scored
from training.export import export
from training.imagenet import write_imagenet
from training.model_card import read_prose
from training.networks.weights import imagenet_file
from training.parity import ParityError
from training.planned_run import PlannedRun
from training.quantize import LossError, quantize_engine
from training.run_folder import RunFolder


def fetch_weights(config: RunConfig, data: Path) -> None:
    """Have the ImageNet weights that a run starts from in the data folder, where they are timm's.

    Raises:
        ConfigError: timm's cannot be had.
    """
    features, weights = config.network.features, config.network.weights
    if features is None or weights is None or (data / weights).exists():
        return
    if weights == Path("weights") / imagenet_file(features):
        print(f"wrote {write_imagenet(features, data)}")


@reports(ParityError, LossError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("make", __doc__)
    parser.add_argument("recipe", type=Path, help="the run's description, e.g. training/configs/driving.yaml")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument(
        "--run", type=Path, help="the run's folder (default: runs/NAME, as the recipe calls its engine)"
    )
    parser.add_argument("--output", type=Path, default=Path("engines"), help="where to write (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="change a key of the recipe"
    )
    add_device(parser)
    options = parser.parse_args(arguments)
    config = load_config(options.recipe, options.changes)
    run = PlannedRun(config.engine.name, options.recipe, tuple(options.changes), config)
    folder = options.run or Path("runs") / config.engine.name
    claims = scored(config, config.claims)
    if config.network.upsampling and config.network.refining_depth:
        read_prose(config)  # before hours are spent on training
    fetch_weights(config, options.data)
    if not run.finished(folder) and not run.train(folder, options.data, options.device):
        return 1
    target = export(RunFolder.open(folder), options.data, options.output)
    print(f"wrote {target}")
    if claims.labels and claims.depth:  # else nothing could tell what 8 bits cost
        manifest = quantize_engine(str(target), config, options.data, options.output)
        print(f"wrote {options.output / manifest.onnx}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
