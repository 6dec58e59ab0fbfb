#!/usr/bin/env python3
"""Measures the engine beside the time that a word takes from one core to the other, again and again.

    python scripts/measure_cores.py [--seconds 60] [--output engines/measured/cores.json]

In a virtual machine the host may move its cores between places that share a cache and places that do not. The threads
of a network hand each layer to each other, so that they wait longer where the way is longer, while cores that work by
themselves are as fast as ever. Needs a C compiler (`cc`) and two cores; of more,
the first two are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hybridnet_ros.engine import Engine, EngineError, open_engine
from hybridnet_ros.machine import machine
from hybridnet_ros.messages import to_rgb
from hybridnet_ros.offline.bag import open_bag

ROOT = Path(__file__).resolve().parents[1]
IMAGE, FX = "/camera/image_rect/compressed", 721.54
TURN_S = 0.6
# Two threads, each bound to a core, answer each other through one word of memory; prints nanoseconds for one way.
PING_PONG = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
enum { ROUNDS = 300000 };
static _Alignas(128) atomic_int word;
static void bind_to(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  sched_setaffinity(0, sizeof cores, &cores);
}
static void say_and_wait(int said, int answer) {
  atomic_store_explicit(&word, said, memory_order_release);
  while (atomic_load_explicit(&word, memory_order_acquire) != answer) {}
}
static void *other(void *core) {
  bind_to(*(int *)core);
  for (int i = 0; i < ROUNDS; i++) {
    while (atomic_load_explicit(&word, memory_order_acquire) != 2 * i + 1) {}
    atomic_store_explicit(&word, 2 * i + 2, memory_order_release);
  }
  return 0;
}
int main(int count, char **words) {
  if (count != 3) return 1;
  int mine = atoi(words[1]), theirs = atoi(words[2]);
  struct timespec begun, done;
  pthread_t thread;
  pthread_create(&thread, 0, other, &theirs);
  bind_to(mine);
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (int i = 0; i < ROUNDS; i++) say_and_wait(2 * i + 1, 2 * i + 2);
  clock_gettime(CLOCK_MONOTONIC, &done);
  pthread_join(thread, 0);
  double ns = (done.tv_sec - begun.tv_sec) * 1e9 + (done.tv_nsec - begun.tv_nsec);
  printf("%.1f\n", ns / ROUNDS / 2);
}
"""


def main() -> None:
    """Measure, print and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for all of it")
    parser.add_argument("--engine", default="driving", help="name or .onnx file")
    parser.add_argument("--runtimes", default="onnx_cpu,openvino", help="comma-separated")
    parser.add_argument("--output", type=Path, default=ROOT / "engines" / "measured" / "cores.json")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("there is one core here: between two of them is what is measured")
    if shutil.which("cc") is None:
        sys.exit("there is no C compiler `cc`: install one (Debian: build-essential)")
    try:
        engines = {runtime: open_engine(options.engine, runtime) for runtime in options.runtimes.split(",")}
    except EngineError as error:
        sys.exit(str(error))
    with open_bag(ROOT / "demo" / "kitti_sequence") as bag:
        image = to_rgb(next(iter(bag.messages(IMAGE))).message)[None]
    for engine in engines.values():
        engine.predict(image, FX)
    turns = []
    with tempfile.TemporaryDirectory(prefix="hybridnet_cores_") as folder:
        program = Path(folder) / "ping_pong"
        subprocess.run(["cc", "-O2", "-pthread", "-xc", "-", "-o", program], input=PING_PONG, text=True, check=True)
        begun = time.perf_counter()
        while (now := time.perf_counter() - begun) < options.seconds:
            turn = {"second": round(now, 1)}
            turn |= {f"{runtime}_p50_ms": round(median_ms(engine, image), 1) for runtime, engine in engines.items()}
            said = subprocess.run([program, *map(str, cores)], capture_output=True, text=True, check=True).stdout
            turn["between_cores_ns"] = float(said)
            turns.append(turn)
            print(", ".join(f"{name} {value}" for name, value in turn.items()), flush=True)
    result = {"engine": options.engine, "image": "1242x375 rgb8", "machine": machine(), "turns": turns}
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(options.output)


def median_ms(engine: Engine, image: NDArray[Any]) -> float:
    """Of the calls in TURN_S seconds."""
    times, end = [], time.perf_counter() + TURN_S
    while (begun := time.perf_counter()) < end:
        engine.predict(image, FX)
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


if __name__ == "__main__":
    main()
