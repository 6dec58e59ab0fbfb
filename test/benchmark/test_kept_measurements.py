"""README's table is what the kept measurements say, figure by figure."""

from __future__ import annotations

import json
from pathlib import Path

from hybridnet_ros.benchmark.table import engine_table, with_table
from hybridnet_ros.benchmark.table_command import BEGIN, END
from hybridnet_ros.engine import load_manifest

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_in_readme_is_the_one_of_the_kept_measurements() -> None:
    text = (ROOT / "README.md").read_text()
    assert text == with_table(text, engine_table(ROOT / "engines" / "measured"), BEGIN, END), (
        "run: hybridnet benchmark table --write README.md"
    )


def test_what_was_measured_are_the_engines_that_are_shipped() -> None:
    shipped = {load_manifest(path).onnx_sha256 for path in (ROOT / "engines").glob("*.json")}
    for path in (ROOT / "engines" / "measured").glob("*.json"):
        report = json.loads(path.read_text())
        if report.get("benchmark") == "engine":
            assert set(report["onnx_sha256"].values()) <= shipped, path
