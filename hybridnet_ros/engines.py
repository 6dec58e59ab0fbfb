"""`hybridnet engines`: which networks there are, what each is, and whether its files are what they claim."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hybridnet_ros.engine import EngineError, Manifest, load_manifest
from hybridnet_ros.engine.engine import find_engine, shipped_engines

DESCRIPTION = """\
The networks that came with hybridnet_ros, or your own: lists them, describes one from its manifest, or verifies that
the ONNX file, manifest, licence and model card belong together. `verify` exits with 1 where something does not match.
It measures nothing: what each accuracy was measured by is a command that it names.
"""
EXAMPLES = """\
examples:
  hybridnet engines                              the shipped engines, one line each
  hybridnet engines describe driving_int8        classes, sizes, training data, licence, accuracy and speed of one
  hybridnet engines verify                       all shipped engines
  hybridnet engines verify my_network.onnx       your own, with its .json and .md beside it
  hybridnet engines list --json                  for programs
"""
ACTIONS = ("list", "describe", "verify")
_HEADLINES = ("mean_iou", "abs_rel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("action", nargs="?", default="list", choices=ACTIONS, help="what to do (list)")
    parser.add_argument(
        "engines", nargs="*", metavar="ENGINE", help="names of shipped engines or paths of .onnx files (all shipped)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def main(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    chosen: Sequence[str] = arguments.engines or sorted(shipped_engines())
    if not chosen:
        print("hybridnet engines: none is installed; give the path of an .onnx file", file=sys.stderr)
        return 1
    if arguments.action == "verify":
        return _verify(chosen, arguments.json)
    try:
        facts = [engine_facts(name) for name in chosen]
    except EngineError as error:
        print(f"hybridnet engines: {error}; `hybridnet engines verify` looks at each file", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for line in _table(facts) if arguments.action == "list" else _descriptions(facts):
            print(line)
    return 0


def engine_facts(name: str) -> dict[str, Any]:
    """What is known of an engine: its name, file, size in bytes, manifest, and speed where it was measured.

    Raises:
        EngineError: there is no such engine, or its manifest cannot be read.
    """
    path = find_engine(name)
    manifest = load_manifest(path.with_suffix(".json"))
    path = path.with_name(manifest.onnx)
    return {
        "name": name,
        "file": str(path),
        "bytes": path.stat().st_size if path.is_file() else None,
        **manifest.to_dict(),
        "speed": _speeds(manifest, path.parent / "measured"),
    }


def _speeds(manifest: Manifest, folder: Path) -> list[dict[str, Any]]:
    """The measurements of this very file that are kept beside it, single images only; batches are in the README."""
    from hybridnet_ros.benchmark.report import BENCHMARK

    found = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("benchmark") != BENCHMARK:
            continue
        if report["onnx_sha256"].get(manifest.network) != manifest.onnx_sha256:
            continue
        width, height = report["size"]
        found += [
            {"runtime": row["runtime"], "p50_ms": row["p50_ms"], "images_per_s": row["images_per_s"],
             "width": width, "height": height, "machine": report["machine"]}
            for row in report["rows"] if row["network"] == manifest.network and row["batch"] == 1
        ]  # fmt: skip
    return found


def _table(facts: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [("name", "classes", "size", "precision", "accuracy", "ms (fastest)", "licence")]
    for each in facts:
        fastest = min(each["speed"], key=lambda speed: float(speed["p50_ms"]), default=None)
        rows.append(
            (
                each["name"],
                f"{len(each['labels']['names'])} {each['labels']['name']}",
                "missing" if each["bytes"] is None else f"{each['bytes'] / 1e6:.1f} MB",
                each["precision"],
                _headline(each["accuracy"]),
                "not measured" if fastest is None else f"{fastest['p50_ms']:.0f} {fastest['runtime']}",
                each["licence"].partition(" (")[0],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _headline(accuracy: Sequence[dict[str, Any]]) -> str:
    """One figure for each task."""
    found = {each["metric"]: each["value"] for each in accuracy}
    named = [f"{metric} {found[metric]:.3f}" for metric in _HEADLINES if metric in found]
    return ", ".join(named or [f"{metric} {value:.4g}" for metric, value in list(found.items())[:2]]) or "none claimed"


def _descriptions(facts: Sequence[dict[str, Any]]) -> Iterator[str]:
    for place, each in enumerate(facts):
        if place:
            yield ""
        yield f"{each['name']}: {each['network']}"
        rows = list(_rows(each))
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            yield f"  {name:<{width}}  {value}"


def _rows(each: dict[str, Any]) -> Iterator[tuple[str, str]]:
    size, training, (low, high) = each["input"], each["training"], each["depth_range"]
    megabytes = "missing" if each["bytes"] is None else f"{each['bytes'] / 1e6:.1f} MB"
    yield "file", f"{each['file']}, {megabytes}, {each['precision']}, SHA-256 {each['onnx_sha256']}"
    yield "classes", f"{len(each['labels']['names'])}, {each['labels']['name']}: {', '.join(each['labels']['names'])}"
    yield (
        "network size",
        f"{size['width']} x {size['height']} in training; about {size['pixels']} px, sides multiples of "
        f"{size['multiple']}",
    )
    yield "depth", f"{low:g} to {high:g} m where the resized image has a focal length of {each['fx']:.1f} px"
    yield "beyond range", ", ".join(each["beyond"]) or "no class"
    yield (
        "trained",
        f"{training['recipe']}, {training['steps']} steps, seed {training['seed']}, commit {training['commit'][:10]}",
    )
    for source in training["data"]:
        yield f"data: {source['name']}", f"{source['licence']}, used for {source['use']}"
    yield "licence", each["licence"]
    for figure in each["accuracy"]:
        yield f"{figure['metric']} on {figure['dataset']}", f"{figure['value']:.4g}   ({figure['command']})"
    for speed in each["speed"]:
        yield (
            f"speed: {speed['runtime']}",
            f"{speed['p50_ms']:.1f} ms (p50), {speed['images_per_s']:.1f} images/s at {speed['width']}x"
            f"{speed['height']} on {speed['machine']}",
        )
    if not each["speed"]:
        yield "speed", f"no measurement is kept; hybridnet benchmark engine {each['name']}"


def _verify(names: Sequence[str], as_json: bool) -> int:
    """Look at each engine; 1 where anything of any does not match."""
    from hybridnet_ros.engine.verify import Check, verify

    results: dict[str, list[Check]] = {}
    for name in names:
        try:
            path = find_engine(name)
        except EngineError as error:
            results[name] = [Check("engine", False, str(error))]
        else:
            results[name] = verify(path)
    passed = all(check.passed for checks in results.values() for check in checks)
    if as_json:
        plain = {name: [vars(check) for check in checks] for name, checks in results.items()}
        print(json.dumps({"passed": passed, "engines": plain}, indent=2, ensure_ascii=False))
        return 0 if passed else 1
    for name, checks in results.items():
        wrong = sum(not check.passed for check in checks)
        print(f"{name}: {'FAILED, ' + str(wrong) + ' of ' + str(len(checks)) + ' checks' if wrong else 'verified'}")
        for check in checks:
            print(f"  {'ok  ' if check.passed else 'FAIL'}  {check.what:<8}  {check.found}")
    return 0 if passed else 1
