"""The command line of `hybridnet benchmark transport`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hybridnet_ros.benchmark.node_command import rates, size
from hybridnet_ros.benchmark.ros_benchmark import run_benchmark
from hybridnet_ros.terminal import Progress, positive

DESCRIPTION = """\
Measures what becomes of raw images between two processes, with no node involved: how many arrive, and how old they are
then, from the stamp (taken just before they are published) until they have arrived whole in the other process. Best
effort and reliable, with the Fast DDS profile that comes with this package and with Fast DDS's own settings.
"""
EXAMPLES = """\
examples:
  hybridnet benchmark transport                              720p and 1080p at 30 and 60 Hz, about three minutes
  hybridnet benchmark transport --sizes 640x480 --rates 15   your camera
  hybridnet benchmark transport --output engines/measured/transport.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "--sizes", type=sizes, default=((1280, 720), (1920, 1080)), help="WIDTHxHEIGHT,... in px (1280x720,1920x1080)"
    )
    parser.add_argument("--rates", type=rates, default=(30.0, 60.0), help="Hz, comma-separated (30,60)")
    parser.add_argument("--seconds", type=positive(float), default=8.0, help="of each run (8)")
    parser.add_argument("--output", type=Path, help="write everything to this JSON file")


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON; returns the exit code."""

    def measure(module: Any, folder: Path, progress: Progress) -> Any:
        return module.run(arguments.sizes, arguments.rates, arguments.seconds, folder, progress)

    return run_benchmark("transport", measure, arguments.output)


def sizes(text: str) -> tuple[tuple[int, int], ...]:
    """An argparse type: sizes in px, comma-separated."""
    return tuple(size(word) for word in text.split(","))
