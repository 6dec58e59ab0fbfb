"""The kept measurements of engines as a table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridnet_ros.benchmark.report import BENCHMARK, FORMAT_VERSION

_HEAD = "| network | camera | runtime | batch | p50 (ms) | p95 (ms) | p99 (ms) | images/s | x floor | measured |"


class TableError(Exception):
    """There is nothing to make a table of, or no place for it; says where that was looked for."""


def engine_table(folder: Path) -> str:
    """One line for each engine, runtime and batch size in the JSON files of `hybridnet benchmark engine` in `folder`.

    Other files, such as the demo's, are left alone.

    Raises:
        TableError: there is no such file, or one is of another version.
    """
    lines = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("benchmark") != BENCHMARK:
            continue
        if report["format_version"] != FORMAT_VERSION:
            raise TableError(f"{path} has version {report['format_version']}, expected {FORMAT_VERSION}: measure again")
        lines += [_line(row, report["size"], path, folder) for row in report["rows"]]
    if not lines:
        raise TableError(f"{folder} holds no measurement of `hybridnet benchmark engine`: keep one with --output")
    return "\n".join([_HEAD, "|" + "---|" * (_HEAD.count("|") - 1), *lines])


def with_table(text: str, table: str, begin: str, end: str) -> str:
    """`text` with `table` between the lines `begin` and `end`.

    Raises:
        TableError: it does not have exactly one such pair of lines.
    """
    if text.count(f"{begin}\n") != 1 or text.count(f"\n{end}") != 1 or text.index(begin) > text.index(end):
        raise TableError(f"expected one line {begin} and after it one line {end}")
    before, _, rest = text.partition(f"{begin}\n")
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def _line(row: dict[str, Any], size: Sequence[int], path: Path, folder: Path) -> str:
    cells = (
        row["network"],
        "{}x{}".format(*size),
        row["runtime"],
        str(row["batch"]),
        *(f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms", "p99_ms", "images_per_s")),
        "" if row["floor_ratio"] is None else f"{row['floor_ratio']:.2f}",
        f"[{path.stem}]({'/'.join(folder.parts[-2:])}/{path.name})",
    )
    return f"| {' | '.join(cells)} |"
