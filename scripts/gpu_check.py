#!/usr/bin/env python3
"""Everything that only a GPU can tell, in one go: tests, plans in every precision with their parity, and speed.

    python3 scripts/gpu_check.py RESULTS

Takes the Python it runs in, with NumPy, OpenCV, onnx, onnxruntime, jsonschema, pytest, cuda-python and TensorRT or
TensorRT-RTX, and installs nothing: it is for machines without a network too. Each step is a process of its own, so that
one that fails or crashes costs none of the others. The exit code is 0 if all of them went well.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

CAMERA = (1242, 375)
BATCH = 4


def info(results: Path) -> None:
    """What there is."""
    run_hybridnet("info")


def tests(results: Path) -> None:
    """Sessions, sizes, batches, a full GPU, damaged plans: against ONNX Runtime on the CPU."""
    import pytest

    options = ["-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider", "-rA", "--tb=short"]
    code = pytest.main([*options, f"--junitxml={results / 'tests.xml'}", str(ROOT / "test/engine/test_on_gpu.py")])
    report = (results / "tests.xml").read_text()
    if code != 0 or "<skipped" in report:
        raise SystemExit("the tests failed, or were skipped")


def plans(results: Path) -> None:
    """A plan of the driving network in each precision; what is refused is noted with the reason."""
    from hybridnet_ros.engine.build import build_plan
    from hybridnet_ros.engine.errors import EngineError
    from hybridnet_ros.engine.plan_manifest import PRECISIONS

    built = {}
    for precision in PRECISIONS:
        started = time.monotonic()
        try:
            plan = build_plan("driving", precision, [CAMERA], BATCH, progress=lambda *_: None).plan
        except EngineError as error:
            built[precision] = {"refused": str(error)}
        else:
            built[precision] = {"plan": str(plan.path), "manifest": plan.manifest.to_dict()}
        built[precision]["seconds"] = round(time.monotonic() - started, 1)
        print(precision, json.dumps(built[precision]), flush=True)
    (results / "plans.json").write_text(json.dumps(built, indent=2) + "\n")
    if not any("plan" in one for one in built.values()):
        raise SystemExit("no precision could be built")


def speed(results: Path) -> None:
    """`hybridnet benchmark engine` of every plan that was built, and of ONNX Runtime."""
    built = json.loads((results / "plans.json").read_text())
    contenders = {"onnx_cpu": ["driving", "--runtimes", "onnx_cpu"]}
    contenders |= {precision: [one["plan"]] for precision, one in built.items() if "plan" in one}
    for name, words in contenders.items():
        run_hybridnet(
            "benchmark", "engine", *words, "--batch", f"1,{BATCH}", "--size", "x".join(map(str, CAMERA)),
            "--images", str(ROOT / "engines" / "images"), "--seconds", "5",
            "--output", str(results / f"speed_{name}.json"),
        )  # fmt: skip


STEPS: dict[str, Callable[[Path], None]] = {"info": info, "tests": tests, "plans": plans, "speed": speed}


def run_hybridnet(*words: str) -> None:
    """Runs a `hybridnet` command in this process; raises SystemExit if it fails."""
    from hybridnet_ros.cli import main

    try:
        main(words)
    except SystemExit as end:
        if end.code:
            raise


def main() -> int:
    """Run all steps, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder for logs, JSON and plans")
    parser.add_argument("--step", choices=STEPS, action="append", help="only this one; may be given again (all)")
    parser.add_argument("--here", action="store_true", help="in this process, which writes no log")
    arguments = parser.parse_args()
    results = arguments.results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("HYBRIDNET_CACHE", str(results / "cache"))
    steps = arguments.step or list(STEPS)
    if arguments.here:
        for step in steps:
            STEPS[step](results)
        return 0
    failed = []
    for step in steps:
        command = [sys.executable, __file__, str(results), "--here", "--step", step]
        with (results / f"{step}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        outcome = "ok" if code == 0 else f"FAILED ({code})"
        print(f"{(results / f'{step}.log').read_text()}\n=== {step}: {outcome}", flush=True)
        failed += [step] if code else []
    print("GPU CHECK OK" if not failed else f"GPU CHECK FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
