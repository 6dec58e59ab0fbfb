"""What the commands share that look at an engine's answers to frames, in no need of a truth."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hybridnet_ros.engine import RUNTIMES, open_engine
from hybridnet_ros.engine.engine import Engine
from training.command import add_config_of_engine, config_of_engine, new_parser
from training.config import ValidationConfig

NEAREST, FARTHEST = 0.1, 80.0  # metres; depth beyond is not compared

Figures = TypeVar("Figures", bound=Mapping[str, Any])


def look_at_sequence(
    name: str,
    description: str | None,
    arguments: Sequence[str] | None,
    measure: Callable[[Engine, Path, ValidationConfig], Figures],
    say: Callable[[Figures], Iterable[str]],
) -> int:
    """The command `python -m training.NAME`: measures, prints what `say` makes of the figures, and writes them.

    Raises:
        ConfigError, DataError, EngineError: as `training.command.reports` says them.
    """
    parser = new_parser(name, description)
    parser.add_argument("engine", help="an engine's name, or an .onnx file")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    add_config_of_engine(parser, "names the frames")
    parser.add_argument(
        "--runtime", default="auto", choices=RUNTIMES, help="what runs the engine (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args(arguments)
    with open_engine(options.engine, options.runtime) as engine:
        claims = config_of_engine(options.config, engine.manifest).claims
        figures = measure(engine, options.data, claims)
        frames = claims.sequence or claims.depth
        described = {"engine": engine.description, "frames": frames.about if frames else None, **figures}
    print(*say(figures), sep="\n")
    if options.output:
        options.output.write_text(json.dumps(described, indent=2) + "\n")
    return 0
