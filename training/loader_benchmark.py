"""Whether the data keep up: images/s of loading and augmentation beside those that the network trains at.

    python -m training.loader_benchmark training/configs/nyuv2.yaml --data DATA --output engines/measured/loader.json
    python -m training.loader_benchmark training/configs/cityscapes.yaml --set data.workers=8 --data DATA

In each round, one after the other, on the same machine: the loader alone, with the config's workers; the network alone,
on batches that lie in memory; and both as in a run. The loader is no bottleneck where it is several times as fast as
the network.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hybridnet_ros.machine import machine
from training.command import add_device, new_parser, reports
from training.run_folder import RunFolder
from training.trainer import Trainer

_KINDS = ("loader", "training", "together")


def images_per_s(trainer: Trainer, kind: str, seconds: float) -> float:
    """Throughput of the loader, of training, or of both together, over at least so long and three steps."""
    batches = trainer.batches()
    # What the workers have prepared by the time the first batch is there is used up before the clock starts.
    held = [next(batches) for _ in range(1 + 2 * trainer.config.data.workers // trainer.passes)]

    def work() -> Iterator[None]:
        number = 0
        while True:
            passes = held[number % len(held)] if kind == "training" else next(batches)
            if kind != "loader":
                trainer.train_step(passes)["total"].item()
            number += 1
            yield

    steps = work()
    next(steps)
    start, done = time.perf_counter(), 0
    while done < 3 or time.perf_counter() - start < seconds:
        next(steps)
        done += 1
    return done * trainer.images_a_step / (time.perf_counter() - start)


def measure(trainer: Trainer, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures of a config's network and data."""
    config = trainer.config
    found = [{kind: round(images_per_s(trainer, kind, seconds), 2) for kind in _KINDS} for _ in range(rounds)]
    middle = {kind: median(each[kind] for each in found) for kind in _KINDS}
    return {
        "benchmark": "loader",
        "machine": machine(),
        "device": str(trainer.device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "network": config.network.model_dump(mode="json"),
        "sources": [f"{source.kind} {source.path}" for source in config.data.sources],
        "crop": list(config.data.crop),
        "batch": config.optimiser.batch,
        "workers": config.data.workers,
        "images_per_s": middle,
        "loader_over_training": round(middle["loader"] / middle["training"], 2),
        "rounds": found,
    }


@reports()
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("loader_benchmark", __doc__)
    parser.add_argument("config", type=Path, help="a run's description, e.g. training/configs/nyuv2.yaml")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="as in training"
    )
    parser.add_argument("--rounds", type=int, default=3, help="the median of so many is taken (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (%(default)s)")
    add_device(parser)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        run = RunFolder.create(Path(folder), options.config, options.changes)
        figures = measure(Trainer(run, options.data, torch.device(options.device)), options.rounds, options.seconds)
    rates = figures["images_per_s"]
    print(
        f"loader {rates['loader']:.1f} images/s, training {rates['training']:.1f}, "
        f"both together {rates['together']:.1f}: the loader is {figures['loader_over_training']:.1f} times as fast"
    )
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
