"""The command line of `hybridnet benchmark table`: README's table of what `hybridnet benchmark engine` measured."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DESCRIPTION = """\
Prints the kept measurements of engines, engines/measured/*.json, as a table in Markdown, or puts it into a file between
the lines
    <!-- hybridnet benchmark table -->
    <!-- end of table -->
so that no figure is copied by hand.
"""
EXAMPLES = """\
examples:
  hybridnet benchmark table                        print it
  hybridnet benchmark table --write README.md      renew it where it stands
"""
BEGIN, END = "<!-- hybridnet benchmark table -->", "<!-- end of table -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "--folder", type=Path, default=Path("engines/measured"), help="with the JSON files (engines/measured)"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the table in this file")


def main(arguments: argparse.Namespace) -> int:
    """Print or write the table; returns the exit code."""
    from hybridnet_ros.benchmark.table import TableError, engine_table, with_table

    try:
        table = engine_table(arguments.folder)
        if arguments.write:
            text = arguments.write.read_text(encoding="utf-8")
            arguments.write.write_text(with_table(text, table, BEGIN, END), encoding="utf-8")
        else:
            print(table)
    except (TableError, OSError) as error:
        print(f"hybridnet benchmark table: {error}", file=sys.stderr)
        return 1
    return 0
