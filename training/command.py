"""What the commands `python -m training.NAME` share: their parser, options that several take, and how they fail."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import get_args

import torch

from hybridnet_ros.engine import EngineError, Manifest
from training.config import ConfigError, RunConfig, Weights, load_config
from training.data.sample import DataError
from training.tiles import PAPER, WHOLE, read_grid

_Main = Callable[..., int]


def new_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m training.NAME`; its help shows the description, the module's own, as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m training.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_device(parser: argparse.ArgumentParser, about: str = "where PyTorch runs") -> None:
    """--device, a GPU where there is one."""
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, help=f"{about} (default here: %(default)s)")


def add_config_of_engine(parser: argparse.ArgumentParser, about: str) -> None:
    """--config, the description of the run that an engine came from; for `config_of_engine`."""
    parser.add_argument("--config", type=Path, help=f"{about} (default: the recipe that the engine's manifest names)")


def config_of_engine(given: Path | None, manifest: Manifest) -> RunConfig:
    """What --config gave, else the recipe of the engine with the changes that it was trained with.

    Raises:
        ConfigError: it cannot be read, or the manifest names none that is here.
    """
    if given is not None:
        return load_config(given)
    recipe = Path(__file__).parents[1] / manifest.training.recipe
    if not recipe.is_file():
        raise ConfigError(
            f"{manifest.network} was made by {manifest.training.recipe or 'no recipe that it names'}, which is not "
            "here: give its description with --config"
        )
    return load_config(recipe, manifest.training.details.get("changes", ()))


def add_weights(parser: argparse.ArgumentParser) -> None:
    """--weights, which weights of a run are taken."""
    parser.add_argument(
        "--weights",
        choices=get_args(Weights),
        help="of a run: averaged over steps at its best validation (best) or at its last checkpoint (average), or that "
        "checkpoint's as they are (last) (default: those that its engine is made of, its config's engine.weights)",
    )


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """--weights, --split and --tiles: which weights of a run are scored, on what, and on how much of an image."""
    add_weights(parser)
    parser.add_argument("--split", help="score on this split of the datasets, e.g. test, in place of the config's")
    parser.add_argument(
        "--tiles",
        type=read_grid,
        nargs="?",
        const=PAPER,
        default=WHOLE,
        metavar="COLUMNSxROWS",
        help=f"score images cut into tiles as well, {PAPER} as in the paper where no grid is given",
    )


def reports(*others: type[Exception]) -> Callable[[_Main], _Main]:
    """For a command's `main`: what is wrong with a config, the data or an engine, and `others`, is said in one line.

    The command then ends with 1. Any other exception is an error of ours, and keeps its traceback.
    """
    expected: tuple[type[Exception], ...] = (ConfigError, DataError, EngineError, *others)

    def decorate(main: _Main) -> _Main:
        @wraps(main)
        def reporting(arguments: Sequence[str] | None = None) -> int:
            try:
                return main(arguments)
            except expected as error:
                print(f"error: {error}", file=sys.stderr)
                return 1

        return reporting

    return decorate
