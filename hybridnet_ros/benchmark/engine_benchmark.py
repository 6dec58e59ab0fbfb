"""`hybridnet benchmark engine`: the engines that open here, timed in turns, and what was found."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hybridnet_ros.benchmark.images import read_images
from hybridnet_ros.benchmark.measure import Timing, measure
from hybridnet_ros.benchmark.meters import Meters, resident_bytes
from hybridnet_ros.benchmark.report import Report, Row
from hybridnet_ros.engine import RUNTIMES, Engine, EngineError, open_engine
from hybridnet_ros.engine.engine import find_engine
from hybridnet_ros.machine import machine

if TYPE_CHECKING:  # needs the package onnx, without which there is no floor
    from hybridnet_ros.benchmark.floor import Cost, Floor, Peaks

IMAGES = 40
PROCESSOR_RUNTIMES = ("onnx_cpu", "openvino")
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
        engine: open.
        runtime: what the table calls what runs it.
        onnx: contents of its ONNX file, for its arithmetic; None where there is none.
        opened_bytes: by how much the process grew when it was opened.
        on_processor: whether the processor computes, and not a GPU.
    """

    engine: Engine
    runtime: str
    onnx: bytes | None
    opened_bytes: int
    on_processor: bool

    @property
    def name(self) -> str:
        """Different for every contender."""
        manifest = self.engine.manifest
        return f"{manifest.network} {manifest.precision} {self.runtime}"


def open_engines(
    names_or_paths: Sequence[str],
    runtimes: Sequence[str] | None,
    threads: int | None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Contender]:
    """Every engine in each of `runtimes`, or in each that works here.

    Raises:
        EngineError: one that was asked for does not open, or none works.
    """
    contenders, reasons = [], []
    for name in names_or_paths:
        for runtime in runtimes or _runtimes(name):
            progress(f"opening {name} in {runtime}")
            try:
                contenders.append(_contender(name, runtime, threads))
            except EngineError as error:
                if runtimes:
                    raise
                reasons.append(f"{name} in {runtime}: {error}")
    if not contenders:
        raise EngineError("no runtime works here: " + "; ".join(reasons))
    return contenders


def _runtimes(name_or_path: str) -> list[str]:
    """What might run an engine: a TensorRT plan runs in TensorRT alone."""
    return ["tensorrt"] if name_or_path.endswith(".plan") else [runtime for runtime in RUNTIMES if runtime != "auto"]


def _contender(name_or_path: str, runtime: str, threads: int | None) -> Contender:
    before = resident_bytes()
    engine = open_engine(name_or_path, runtime, threads)
    opened_bytes = resident_bytes() - before
    path = find_engine(name_or_path) if not name_or_path.endswith(".plan") else None
    onnx = engine.manifest.read_onnx(path.with_name(engine.manifest.onnx)) if path is not None else None
    return Contender(engine, runtime, onnx, opened_bytes, runtime in PROCESSOR_RUNTIMES)


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
    network_size = contenders[0].engine.network_size(width, height)
    load_before = os.getloadavg()[0]
    meters = Meters()
    progress("measuring the processor's peaks")
    cost, peaks, floor = _floor(contenders, network_size)
    floor_ms = max(floor.arithmetic_ms, floor.memory_ms) if floor else None
    engines = {each.name: each.engine for each in contenders}
    rows: list[Row] = []
    for batch in options.batch:
        timings = measure(engines, images, batch, options.seconds, meters, progress)
        rows += [_row(each, timings[each.name], floor_ms if each.on_processor else None) for each in contenders]
    memory = meters.memory()
    for each in contenders:
        each.engine.close()
    return Report(
        onnx_sha256={each.engine.manifest.network: each.engine.manifest.onnx_sha256 for each in contenders},
        size=(width, height),
        network_size=network_size,
        machine=machine(),
        software=_software(),
        meters=meters.names,
        memory_bytes=dict(memory),
        load=(load_before, os.getloadavg()[0]),
        cost=cost,
        peaks=peaks,
        floor=floor,
        rows=rows,
    )


def _floor(
    contenders: Sequence[Contender], network_size: tuple[int, int]
) -> tuple[Cost, Peaks, Floor] | tuple[None, None, None]:
    """The least time that the first float32 network takes; nothing if there is none, or onnx is not installed."""
    onnx = next((each.onnx for each in contenders if each.onnx and each.engine.manifest.precision == "float32"), None)
    if onnx is None:
        return None, None, None
    try:
        from hybridnet_ros.benchmark.floor import cost, floor, measure_peaks
        from hybridnet_ros.engine.typed_onnx import load_onnx
    except ImportError:
        return None, None, None
    each, peaks = cost(load_onnx(onnx), *network_size), measure_peaks()
    return each, peaks, floor(each, peaks)


def _row(contender: Contender, timing: Timing, floor_ms: float | None) -> Row:
    return Row(
        network=contender.engine.manifest.network,
        precision=contender.engine.manifest.precision,
        runtime=contender.runtime,
        description=contender.engine.description,
        batch=timing.batch,
        calls=len(timing.call_ms),
        p50_ms=timing.percentile(50),
        p95_ms=timing.percentile(95),
        p99_ms=timing.percentile(99),
        images_per_s=timing.images_per_s,
        opened_bytes=contender.opened_bytes,
        watts=timing.energy.watts(),
        floor_ratio=timing.percentile(50) / (timing.batch * floor_ms) if floor_ms else None,
    )


def _software() -> Mapping[str, str]:
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
