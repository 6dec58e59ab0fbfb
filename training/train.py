r"""Train a network.

    python -m training.train training/configs/driving.yaml --data DATA --run runs/driving
    python -m training.train --resume --data DATA --run runs/driving
    python -m training.train training/configs/driving.yaml --set network=fcn8s --set seed=2 --data DATA --run runs/fcn8s
    python -m training.train training/configs/cityscapes.yaml --data DATA --run runs/hybridnet \
        --init runs/depthnet/best.safetensors --init-blocks global_depth refining_depth
    python -m training.train training/configs/driving.yaml --data DATA --run runs/mine \
        --init engines/hybridnet_driving.onnx --set optimiser.steps=1000 --set optimiser.average_from=250

Before the first step every file of the data is read once, and the first bad one named.
SIGINT and SIGTERM end the run after the step in hand, with a checkpoint; --resume goes on at exactly that step.

On all GPUs of a machine, and on two machines (the same line on each; the first process writes the run's folder). The
lone dashes keep torchrun from taking --run for an option of its own:
    torchrun --nproc-per-node gpu -m -- training.train training/configs/nyuv2.yaml --data DATA --run runs/nyuv2
    torchrun --nnodes 2 --nproc-per-node gpu --rdzv-backend c10d --rdzv-endpoint HOST:29400 \
        -m -- training.train training/configs/nyuv2.yaml --data DATA --run runs/nyuv2

A step learns from optimiser.batch images on each process, optimiser.accumulate times over. N processes learn what one
process learns with N times the batch: batch normalisation, dropout and the losses' means are over the images of all.
With accumulate, batch normalisation and dropout see one pass at a time. --resume takes any number of processes that
gives as many images a step.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from training.check import check_config
from training.command import add_device, new_parser, reports
from training.processes import Processes, ReportedElsewhere
from training.run_folder import RunFolder
from training.trainer import NonFiniteLossError, Trainer


@reports(NonFiniteLossError)
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = new_parser("train", __doc__)
    parser.add_argument(
        "config", type=Path, nargs="?", help="the run's description, e.g. training/configs/driving.yaml"
    )
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="changes", help="change a key of the config"
    )
    parser.add_argument(
        "--init",
        type=Path,
        help="start from the weights of a run, e.g. runs/first/best.safetensors, or last.safetensors for the averaged "
        "ones, or of a float32 engine, e.g. engines/hybridnet_driving.onnx",
    )
    parser.add_argument(
        "--init-blocks", nargs="+", default=[], metavar="BLOCK", help="take over these blocks only, e.g. global_depth"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    add_device(parser)
    options = parser.parse_args(arguments)
    if (options.config is None) != options.resume:
        parser.error("give a config to start a run, or --resume to go on with one")
    if options.resume and (options.init or options.changes):
        parser.error("--init and --set start a run, --resume goes on with one as it is: give one of them")
    if options.init_blocks and not options.init:
        parser.error("--init-blocks names blocks of the weights given with --init")
    processes = Processes.join(options.device)
    try:
        trainer = _trainer(options, processes)

        def stop(signum: int, frame: object) -> None:
            trainer.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            trainer.train()
        finally:  # the caller may have more to do
            for number, handler in before.items():
                signal.signal(number, handler)
    except ReportedElsewhere:
        return 1
    processes.leave()
    return 0


def _trainer(options: argparse.Namespace, processes: Processes) -> Trainer:
    if options.resume:
        run = processes.from_first(lambda: RunFolder.open(options.run))
    else:
        run = processes.from_first(
            lambda: RunFolder.create(
                options.run, options.config, options.changes, options.init, options.init_blocks, processes.count
            )
        )
        # Each machine has its own disks.
        processes.together(lambda: check_config(run.config, options.data) if processes.local_rank == 0 else None)
    trainer = Trainer(run, options.data, processes.device, processes)
    if options.resume:
        trainer.resume()
    elif options.init:
        trainer.start_from(options.init, options.init_blocks)
    given = options.resume or (options.init and (not options.init_blocks or "features" in options.init_blocks))
    if trainer.from_chance and not given and processes.first:
        print("note: the features start from chance: network.weights, a file with ImageNet's, would help them")
    return trainer


if __name__ == "__main__":
    sys.exit(main())
