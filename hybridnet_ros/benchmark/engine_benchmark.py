"""`hybridnet benchmark engine`: the engines that open here, timed in turns, and what was found."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hybridnet_ros.benchmark.images import read_images
from hybridnet_ros.benchmark.measure import Timing, measure
from hybridnet_ros.benchmark.meters import Meters, resident_bytes
from hybridnet_ros.benchmark.report import Report, Row
from hybridnet_ros.engine import RUNTIMES, Engine, EngineError, open_engine
from hybridnet_ros.machine import machine

IMAGES = 40
SOFTWARE = ("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino", "torch",
            "tensorrt", "tensorrt-rtx", "tensorrt_rtx", "cuda-python")  # fmt: skip
"""Packages whose versions go into the report where they are installed."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        size: camera's (width, height) in px; the pictures' when None.
        batch: images in a call, each measured.
        seconds: of timed calls for each engine and batch.
        images: folder of pictures; the demo's recording when None.
    """

    size: tuple[int, int] | None
    batch: tuple[int, ...]
    seconds: float
    images: Path | None

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Options:
        """From the command line."""
        return cls(arguments.size, arguments.batch, arguments.seconds, arguments.images)


@dataclass(frozen=True)
class Contender:
    """An engine to be timed.

    Attributes:
        name: what the table calls it.
        engine: open.
        opened_bytes: by how much the process grew when it was opened.
    """

    name: str
    engine: Engine
    opened_bytes: int


def open_engines(
    name_or_path: str,
    runtimes: Sequence[str] | None,
    threads: int | None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Contender]:
    """The engine in each of `runtimes`, or in each that works here.

    Raises:
        EngineError: one that was asked for does not open, or none works.
    """
    contenders, reasons = [], []
    for runtime in runtimes or [runtime for runtime in RUNTIMES if runtime != "auto"]:
        progress(f"opening {runtime}")
        try:
            contenders.append(contender(runtime, partial(open_engine, name_or_path, runtime, threads)))
        except EngineError as error:
            if runtimes:
                raise
            reasons.append(f"{runtime}: {error}")
    if not contenders:
        raise EngineError("no runtime works here: " + "; ".join(reasons))
    return contenders


def contender(name: str, opened: Callable[[], Engine]) -> Contender:
    """What `opened` opens, and the memory that this took."""
    before = resident_bytes()
    engine = opened()
    return Contender(name, engine, resident_bytes() - before)


def run(
    contenders: Sequence[Contender], options: Options, progress: Callable[[str], None] = lambda line: None
) -> Report:
    """Time every contender at every batch size; closes them.

    Raises:
        EngineError: one of them failed on the pictures.
        ImagesError: there are no pictures.
    """
    images = read_images(options.images, options.size, IMAGES)
    height, width = images[0].shape[:2]
    meters = Meters()
    manifest = contenders[0].engine.manifest
    engines = {each.name: each.engine for each in contenders}
    rows: list[Row] = []
    for batch in options.batch:
        timings = measure(engines, images, batch, options.seconds, meters, progress)
        rows += [_row(each, timings[each.name]) for each in contenders]
    memory = meters.memory()
    network_size = contenders[0].engine.network_size(width, height)
    for each in contenders:
        each.engine.close()
    return Report(
        network=manifest.network,
        onnx_sha256=manifest.onnx_sha256,
        size=(width, height),
        network_size=network_size,
        machine=machine(),
        software=_software(),
        meters=meters.names,
        memory_bytes=dict(memory),
        rows=rows,
    )


def _row(contender: Contender, timing: Timing) -> Row:
    return Row(
        name=contender.name,
        description=contender.engine.description,
        batch=timing.batch,
        calls=len(timing.call_ms),
        p50_ms=timing.percentile(50),
        p95_ms=timing.percentile(95),
        p99_ms=timing.percentile(99),
        images_per_s=timing.images_per_s,
        opened_bytes=contender.opened_bytes,
        watts=timing.energy.watts(),
    )


def _software() -> Mapping[str, str]:
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
