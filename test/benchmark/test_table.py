"""The table that `hybridnet benchmark table` makes of measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hybridnet_ros.benchmark.table import TableError, engine_table, with_table
from hybridnet_ros.benchmark.table_command import BEGIN, END
from hybridnet_ros.cli import main


def row(**changes: object) -> dict[str, object]:
    return {"network": "net", "runtime": "onnx_cpu", "batch": 1, "p50_ms": 1.25, "p95_ms": 2.0, "p99_ms": 3.0,
            "images_per_s": 123.45, "floor_ratio": None, **changes}  # fmt: skip


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    folder = tmp_path / "engines" / "measured"
    folder.mkdir(parents=True)
    report = {
        "benchmark": "engine",
        "format_version": 1,
        "size": [64, 48],
        "rows": [row(), row(batch=4, floor_ratio=1.5)],
    }
    (folder / "machine.json").write_text(json.dumps(report))
    (folder / "demo.json").write_text("{}")
    return folder


def test_a_line_for_every_row_with_its_file(measured: Path) -> None:
    lines = engine_table(measured).splitlines()
    assert len(lines) == 4
    assert lines[2] == (
        "| net | 64x48 | onnx_cpu | 1 | 1.2 | 2.0 | 3.0 | 123.5 |  | [machine](engines/measured/machine.json) |"
    )
    assert "| 4 |" in lines[3] and "| 1.50 |" in lines[3]


def test_it_is_written_where_it_stands(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "table", "--folder", str(measured), "--write", str(readme)])
    assert ended.value.code == 0
    assert readme.read_text() == f"before\n\n{BEGIN}\n{engine_table(measured)}\n{END}\n\nafter\n"
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", "table", "--folder", str(tmp_path)])
    assert ended.value.code == 1
    assert "holds no measurement" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"])
def test_a_file_without_its_place_is_left_alone(text: str) -> None:
    with pytest.raises(TableError, match="expected one line"):
        with_table(text, "table", BEGIN, END)


def test_a_measurement_of_another_version_is_named(measured: Path) -> None:
    (measured / "old.json").write_text(json.dumps({"benchmark": "engine", "format_version": 0, "rows": []}))
    with pytest.raises(TableError, match="old.json has version 0"):
        engine_table(measured)
