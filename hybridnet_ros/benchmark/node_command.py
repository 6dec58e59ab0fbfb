"""The command line of `hybridnet benchmark node`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hybridnet_ros.benchmark.ros_benchmark import run_benchmark
from hybridnet_ros.terminal import Progress, positive

DESCRIPTION = """\
Measures the node as a robot has it: a camera in one process, the node in a second, a listener in a third, over DDS.
The camera plays the demo's recorded drive at any size. For each rate: how many frames were answered, why the others
were not, and the age of the answers, from the stamp of the image (taken just before the camera publishes it) until
the last of its five outputs was published by the node, and until it had arrived in the listener's process. Then it
searches for the highest rate at which less than 5 % of the frames are dropped.

The stand-in engine answers every image with one prepared scene, in no time, so that what is measured is the node
itself. --compare puts a node beside it that is written the usual way: one callback, a queue of 10, copies as in
cv_bridge, Fast DDS as it comes.
"""
EXAMPLES = """\
examples:
  hybridnet benchmark node                                       the node itself, 1280x720 rgb8 at 10, 30 and 60 Hz
  hybridnet benchmark node --compare                             beside a node that is written the usual way
  hybridnet benchmark node --engine driving --jpeg --overload 5  with a network, and five times what it can serve
  hybridnet benchmark node --engine driving --runtime openvino   with what it would not choose by itself
  hybridnet benchmark node --output engines/measured/node.json   to keep
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--engine", default="stand-in", help="stand-in, name of a shipped engine, or path (stand-in)")
    parser.add_argument("--runtime", default="auto", help="what runs the engine, see `hybridnet info` (auto)")
    parser.add_argument("--threads", type=positive(int), help="CPU threads of the engine (all cores)")
    parser.add_argument("--size", type=size, default=(1280, 720), help="of the images, WIDTHxHEIGHT in px (1280x720)")
    parser.add_argument("--jpeg", action="store_true", help="compressed images; else raw rgb8")
    parser.add_argument("--reliable", action="store_true", help="the camera publishes reliably; else best effort")
    parser.add_argument("--rates", type=rates, default=(10.0, 30.0, 60.0), help="Hz, comma-separated (10,30,60)")
    parser.add_argument("--seconds", type=positive(float), default=10.0, help="of each run (10)")
    parser.add_argument("--no-search", action="store_true", help="do not search for the highest rate")
    parser.add_argument("--overload", type=positive(float), help="also at so many times the highest rate")
    parser.add_argument("--compare", action="store_true", help="also a node that is written the usual way")
    parser.add_argument("--no-profile", action="store_true", help="leave Fast DDS its own settings in all processes")
    parser.add_argument("--logs", type=Path, help="folder for what the processes say (a temporary one)")
    parser.add_argument("--output", type=Path, help="write everything to this JSON file")


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON; returns the exit code."""

    def measure(module: Any, folder: Path, progress: Progress) -> Any:
        logs = arguments.logs or folder
        logs.mkdir(parents=True, exist_ok=True)
        return module.run(module.Options.of(arguments), logs, progress)

    return run_benchmark("node", measure, arguments.output)


def size(text: str) -> tuple[int, int]:
    """An argparse type: (width, height) in px from WIDTHxHEIGHT."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) >= 32 and int(height) >= 32):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT of 32 px at least, as in 1280x720, got {text!r}")
    return int(width), int(height)


def rates(text: str) -> tuple[float, ...]:
    """An argparse type: rates in Hz, comma-separated."""
    number = positive(float)
    try:
        return tuple(number(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected rates like 30 or 10,30,60, got {text!r}") from None
