"""The command line of `hybridnet benchmark`: one word more says what is measured, each in a module of its own."""

from __future__ import annotations

import argparse
import importlib

DESCRIPTION = """\
Measures on this machine, and writes what it measured as JSON.
"""

BENCHMARKS = {
    "engine": ("hybridnet_ros.benchmark.engine_command", "the network in every runtime that works here, side by side"),
    "node": ("hybridnet_ros.benchmark.node_command", "the node between a camera and a listener, each a process"),
    "transport": ("hybridnet_ros.benchmark.transport_command", "images from process to process, without any node"),
    "table": ("hybridnet_ros.benchmark.table_command", "what was measured and kept, as the table in README.md"),
}
"""Each benchmark's module, with `add_arguments(parser)`, `main(arguments) -> exit code` and EXAMPLES, and its purpose.

All are imported for their arguments, so what they need is imported in their `main` only.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the benchmarks and the options of each."""
    modules = {name: importlib.import_module(module) for name, (module, _) in BENCHMARKS.items()}
    # The first example of each.
    lines = [line for module in modules.values() for line in module.EXAMPLES.splitlines()[1:2]]
    parser.description = DESCRIPTION
    parser.epilog = "\n".join(["examples:", *lines, "", "`hybridnet benchmark WHAT --help` says more."])
    subparsers = parser.add_subparsers(dest="benchmark", metavar="WHAT", required=True)
    for name, module in modules.items():
        module.add_arguments(
            subparsers.add_parser(name, help=BENCHMARKS[name][1], formatter_class=argparse.RawDescriptionHelpFormatter)
        )


def main(arguments: argparse.Namespace) -> int:
    """Run the benchmark that is asked for; returns the exit code."""
    code: int = importlib.import_module(BENCHMARKS[arguments.benchmark][0]).main(arguments)
    return code
