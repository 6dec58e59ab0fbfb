#!/usr/bin/env python3
"""Measures how much longer `hybridnet evaluate-bag` takes than its engine alone, side by side on the same frames.

    python scripts/measure_evaluation.py [--frames 1000] [--rounds 2] [--output engines/measured/evaluation.json]

The demo bag is repeated to a recording of so many frames (1242x375 JPEG, CameraInfo, LiDAR depth as 16-bit PNG). Then,
in each round, one after the other:

    engine        only `engine.predict` on decoded frames in memory, the same number of frames; from the moment when the
                  engine is open to the moment when the last frame is done. Twice: in one process with a thread for each
                  core, as a user runs it, and in one process of one thread for each core, as evaluate-bag runs it
    plain         hybridnet evaluate-bag --no-bag: reads and decodes, confidence, class shares, steadiness, report
    references    the same with --depth-topic: also decodes LiDAR depth and measures by distance and class
    predictions   references, and the bag of predictions is written (2.8 MB a frame)

The commands run with one worker of one thread for each core. For each two times are given: `work_s`, from the start
of the workers until all frames are measured, and `whole_s`, the whole command, with the start of Python, the opening of
engines, pictures and report.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hybridnet_ros.engine import open_engine
from hybridnet_ros.machine import machine
from hybridnet_ros.messages import to_rgb
from hybridnet_ros.offline.bag import open_bag, typestore

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "demo" / "kitti_sequence"
IMAGE, DEPTH, PERIOD_NS = "/camera/image_rect/compressed", "/lidar/depth/compressed", 100_000_000
FX = 721.54
_PATIENCE_S = 300.0
COMMANDS = {
    "plain": ["--no-bag"],
    "references": ["--no-bag", "--depth-topic", DEPTH],
    "predictions": ["--depth-topic", DEPTH],
}


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="of the recording")
    parser.add_argument("--rounds", type=int, default=2, help="how often everything is measured")
    parser.add_argument("--engine", default="driving", help="name or .onnx file")
    parser.add_argument("--output", type=Path, default=ROOT / "engines" / "measured" / "evaluation.json")
    options = parser.parse_args()
    workers = len(os.sched_getaffinity(0))
    rounds = []
    with tempfile.TemporaryDirectory(prefix="hybridnet_measure_") as folder:
        bag = Path(folder) / "drive"
        repeat_demo(bag, options.frames)
        for number in range(options.rounds):
            times: dict[str, Any] = {
                "engine_s": engine_alone(options.engine, options.frames, 1, workers),
                "engine_in_workers_s": engine_alone(options.engine, options.frames, workers, 1),
            }
            print(f"round {number + 1}: " + ", ".join(f"{key} {value:.2f}" for key, value in times.items()), flush=True)
            for name, words in COMMANDS.items():
                times[name] = command(bag, Path(folder) / name, options.engine, words)
                for what, alone in itertools.product(("work", "whole"), ("engine", "engine_in_workers")):
                    times[name][f"{what}_over_{alone}"] = times[name][f"{what}_s"] / times[f"{alone}_s"] - 1
                print(f"  {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in times[name].items()), flush=True)
            rounds.append(times)
    result = {
        "frames": options.frames,
        "image": "1242x375 JPEG",
        "workers": workers,
        "threads_a_worker": 1,
        "engine": options.engine,
        "machine": machine(),
        "rounds": rounds,
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(options.output)


def repeat_demo(target: Path, frames: int) -> None:
    """Writes the demo's frames over and over, with stamps that go on, as the bag `target`."""
    types = typestore()
    with open_bag(DEMO) as bag:
        kinds = {topic.name: topic.type for topic in bag.topics}
        records = list(bag.messages())
    start = records[0].stamp_ns
    moments = sorted({record.stamp_ns for record in records})
    with Writer(target, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {name: writer.add_connection(name, kind, typestore=types) for name, kind in kinds.items()}
        for number in range(frames):
            stamp_ns = start + number * PERIOD_NS
            for record in records:
                if record.stamp_ns == moments[number % len(moments)]:
                    stamp = record.message.header.stamp
                    stamp.sec, stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
                    data = types.serialize_cdr(record.message, kinds[record.topic])
                    writer.write(connections[record.topic], stamp_ns, data)


def engine_alone(engine: str, frames: int, workers: int, threads: int) -> float:
    """Seconds that `workers` processes of so many threads take to predict `frames` frames together."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    shares = [frames // workers + (number < frames % workers) for number in range(workers)]
    processes = [context.Process(target=_predict, args=(engine, share, threads, ready)) for share in shares]
    for process in processes:
        process.start()
    try:
        ready.wait(_PATIENCE_S)
    except threading.BrokenBarrierError:
        sys.exit(f"the engine did not open within {_PATIENCE_S:.0f} s in every worker")
    begun = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - begun
    if any(process.exitcode for process in processes):
        sys.exit("the engine failed alone")
    return seconds


def _predict(engine: str, frames: int, threads: int, ready: Any) -> None:
    with open_bag(DEMO) as bag:
        images = [to_rgb(record.message) for record in bag.messages(IMAGE)]
    with open_engine(engine, "onnx_cpu", threads) as opened:
        opened.predict(images[0][None], FX)
        ready.wait()
        for number in range(frames):
            opened.predict(images[number % len(images)][None], FX)
    os._exit(0)  # the end of Python is not the engine's


def command(bag: Path, output: Path, engine: str, words: list[str]) -> dict[str, float]:
    """Times of one `hybridnet evaluate-bag`."""
    call = [sys.executable, "-m", "hybridnet_ros.cli", "evaluate-bag", str(bag), "--engine", engine, "--runtime",
            "onnx_cpu", "--output", str(output), *words]  # fmt: skip
    begun = time.perf_counter()
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    whole = time.perf_counter() - begun
    if done.returncode:
        sys.exit(done.stderr)
    run = json.loads((output / "evaluation.json").read_text())["run"]
    shutil.rmtree(output)
    return {"work_s": run["seconds"], "whole_s": whole, "engine_p50_ms": run["engine_ms_p50"]}


if __name__ == "__main__":
    main()
