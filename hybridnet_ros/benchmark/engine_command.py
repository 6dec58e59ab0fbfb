"""The command line of `hybridnet benchmark engine`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from hybridnet_ros.terminal import Progress, positive

DESCRIPTION = """\
Measures how long the network takes for a camera's pictures in every runtime that works here, side by side and in turns,
with throughput, memory, power where it can be read, and the least time that the arithmetic would take on this
processor. A call is everything from camera pictures to depth and labels of their size: resizing, copies and network.
"""
EXAMPLES = """\
examples:
  hybridnet benchmark engine                                       the shipped engine, all runtimes, the demo's pictures
  hybridnet benchmark engine --size 1920x1080 --batch 1,4          another camera, alone and four of them
  hybridnet benchmark engine driving driving_int8 --runtimes onnx_cpu,openvino
  hybridnet benchmark engine my_network.onnx my_fp16.plan --images ~/pictures
  hybridnet benchmark engine --output engines/measured/NAME.json   to keep; `hybridnet benchmark table` shows it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "engines", nargs="*", default=["driving"], metavar="ENGINE", help="shipped engine's name, or a path (driving)"
    )
    add_measuring_arguments(parser)


def add_measuring_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options that say how to measure, whatever is measured."""
    parser.add_argument("--runtimes", type=_words, help="of the engines, comma-separated (all that work here)")
    parser.add_argument("--size", type=_size, help="camera's WIDTHxHEIGHT in px (the pictures')")
    parser.add_argument("--batch", type=_counts, default=(1,), help="images in a call, comma-separated (1)")
    parser.add_argument("--seconds", type=positive(float), default=10.0, help="for each runtime and batch (10)")
    parser.add_argument("--threads", type=positive(int), help="CPU threads (all cores)")
    parser.add_argument("--images", type=Path, help="folder of pictures (the demo's recording)")
    parser.add_argument("--output", type=Path, help="write everything to this JSON file")


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON; returns the exit code."""
    from hybridnet_ros.benchmark.engine_benchmark import Options, open_engines, run
    from hybridnet_ros.benchmark.images import ImagesError
    from hybridnet_ros.engine import EngineError

    progress = Progress()
    try:
        engines = open_engines(arguments.engines, arguments.runtimes, arguments.threads, progress.show)
        report = run(engines, Options.of(arguments), progress.show)
    except (EngineError, ImagesError, OSError) as error:
        progress.close()
        print(f"hybridnet benchmark engine: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.close()
        print("hybridnet benchmark engine: stopped", file=sys.stderr)
        return 130
    progress.close()
    print(report.table())
    if arguments.output:
        report.save(arguments.output)
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, for instance 1242x375, got {text!r}")
    return int(match[1]), int(match[2])


def _counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(int(word) for word in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers like 1 or 1,4, got {text!r}")
    return counts


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))
