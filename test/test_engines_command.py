"""`hybridnet engines` on real files: what is shipped, a small engine of one's own, and the same tampered with."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hybridnet_ros.benchmark.report import BENCHMARK
from hybridnet_ros.cli import main
from hybridnet_ros.engine import load_manifest
from hybridnet_ros.engine.engine import shipped_engines
from tiny import write_tiny_engine


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A real engine with a card."""
    path = write_tiny_engine(tmp_path)
    manifest = load_manifest(path.with_suffix(".json"))
    path.with_suffix(".md").write_text(f"# tiny\n\n{manifest.onnx_sha256}\n\n{manifest.licence}\n")
    return path


def engines(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["engines", *map(str, words)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def failed(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, str]:
    """What `verify` finds wrong, which it must say with exit code 1, in text and in JSON."""
    assert engines("verify", path) == 1
    text = capsys.readouterr().out
    assert engines("verify", path, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"] is False
    wrong = {check["what"]: check["found"] for check in answer["engines"][str(path)] if not check["passed"]}
    assert "FAILED" in text and text.count("FAIL  ") == len(wrong)
    assert all(found in text for found in wrong.values())
    return wrong


def test_what_is_shipped_is_listed_described_and_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines() == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[1:]] == sorted(shipped_engines())
    assert engines("describe", "driving", "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    manifest = load_manifest(shipped_engines()["driving"].with_suffix(".json"))
    assert (
        facts["onnx_sha256"] == manifest.onnx_sha256 and facts["bytes"] == shipped_engines()["driving"].stat().st_size
    )
    assert f"mean_iou {manifest.accuracy[0].value:.3f}" in listed[1]
    assert engines("verify") == 0
    assert capsys.readouterr().out.count(": verified\n") == len(shipped_engines())


def test_an_engine_of_ones_own_is_described(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engines("verify", engine) == 0
    capsys.readouterr()
    assert engines("describe", engine) == 0
    text = capsys.readouterr().out
    for needle in ("road, car, sky", "Apache-2.0", "CC0-1.0", "mIoU on none", "1 to 100 m", "no measurement is kept"):
        assert needle in text


def test_speed_is_that_of_this_very_file(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = load_manifest(engine.with_suffix(".json"))
    row = {"network": "tiny", "runtime": "onnx_cpu", "batch": 1, "p50_ms": 2.0, "images_per_s": 500.0}
    rows = [row, {**row, "batch": 4}, {**row, "network": "another"}]
    (engine.parent / "measured").mkdir()
    kept = engine.parent / "measured" / "here.json"
    for sha256, count in ((manifest.onnx_sha256, 1), ("0" * 64, 0)):
        report = {
            "benchmark": BENCHMARK,
            "size": [96, 64],
            "machine": "M",
            "rows": rows,
            "onnx_sha256": {"tiny": sha256},
        }
        kept.write_text(json.dumps(report))
        assert engines("describe", engine, "--json") == 0
        assert len(json.loads(capsys.readouterr().out)[0]["speed"]) == count


def test_a_file_that_was_changed_or_cut_is_found(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = engine.read_bytes()
    for content in (whole + b"more", whole[:-100], b""):
        engine.write_bytes(content)
        wrong = failed(capsys, engine)
        assert list(wrong) == ["file"] and "SHA-256 differs" in wrong["file"]


def test_a_cut_file_is_found_though_its_manifest_was_made_to_match(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.write_bytes(engine.read_bytes()[:-100])
    manifest = load_manifest(engine.with_suffix(".json"))
    sha256 = hashlib.sha256(engine.read_bytes()).hexdigest()
    replace(manifest, onnx_sha256=sha256).save(engine.with_suffix(".json"))
    wrong = failed(capsys, engine)
    assert set(wrong) == {"network", "card"}, "and the card is still of the old file"


def test_missing_files_are_found(engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "copy").mkdir()
    for suffix, what in ((".md", "card"), (".json", "manifest"), (".onnx", "engine")):
        copy = Path(shutil.copy(engine, tmp_path / "copy"))
        for each in (".json", ".md"):
            shutil.copy(engine.with_suffix(each), tmp_path / "copy")
        copy.with_suffix(suffix).unlink()
        wrong = failed(capsys, copy)
        assert list(wrong) == [what]
        assert str(copy.with_suffix(suffix)) in wrong[what]
    assert engines("verify", tmp_path / "copy" / "tiny.json") == 1, "the manifest is there, the file it names is not"
    assert "cannot read the engine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "what"),
    [({"licence": " "}, "licence"), ({"accuracy": []}, "accuracy"), ({"onnx_sha256": "no"}, "manifest"),
     ({"fx": -1}, "manifest")],
)  # fmt: skip
def test_a_manifest_that_does_not_say_enough_is_found(
    change: dict[str, object], what: str, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = engine.with_suffix(".json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    assert list(failed(capsys, engine)) == [what]


def test_one_bad_engine_fails_and_the_others_are_looked_at_all_the_same(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("verify", "no_such", engine) == 1
    text = capsys.readouterr().out
    assert "no_such: FAILED" in text and f"{engine}: verified" in text


def test_an_unknown_engine_cannot_be_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines("describe", "no_such") == 1
    assert "no engine is called 'no_such': choose one of driving" in capsys.readouterr().err
