"""`hybridnet build-engine`: a TensorRT plan of an engine, for this machine."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from hybridnet_ros.engine.builder import BUILDER_THREAD
from hybridnet_ros.engine.plan_manifest import PRECISIONS
from hybridnet_ros.engine.plans import DEFAULT_PRECISION
from hybridnet_ros.terminal import Progress, positive

DESCRIPTION = """\
Builds a TensorRT plan of an engine for the GPU of this machine, compares its answers with those of the ONNX file on
real images, and keeps it in a cache, where everything that opens the engine finds it. A plan that answers otherwise
is refused. What is in the cache already is not built again.

It needs TensorRT 8.6 or 10.3 to 11 (a Jetson has it; else pip install tensorrt) or TensorRT-RTX (pip install
tensorrt-rtx-cu13), and in a checkout pip install '.[tensorrt]'. TensorRT-RTX also builds where there is no GPU; the
plan is then compared at its first use. The cache is ~/.cache/hybridnet, or the folder in HYBRIDNET_CACHE.
"""
EXAMPLES = """\
examples:
  hybridnet build-engine --size 1242x375                          the shipped engine for one camera, in 16 bits
  hybridnet build-engine --size 1920x1080 --size 640x480          cameras of two sizes
  hybridnet build-engine --size 640x480 --batch 4                 up to four cameras of one size at once
  hybridnet build-engine ~/my_network.onnx --size 640x480 --precision fp32
  hybridnet build-engine --size 640x480 --precision int8 --calibration ~/pictures_of_my_camera

Ctrl-C stops the build and leaves nothing behind.
"""
_BAR = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "engine", nargs="?", default="driving", help="name of a shipped engine or path of an .onnx file (driving)"
    )
    parser.add_argument(
        "--size", type=image_size, action="append", required=True, metavar="WIDTHxHEIGHT", dest="sizes",
        help="of the camera's images, as they are published; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=DEFAULT_PRECISION, help=f"what it computes in ({DEFAULT_PRECISION})"
    )
    parser.add_argument("--batch", type=positive(int), default=1, help="most images at once (1)")
    parser.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="pictures to find the scales of int8 with (the shipped ones)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Build; returns the exit code."""
    from hybridnet_ros.engine.build import build_plan
    from hybridnet_ros.engine.errors import BuildCancelled, EngineError

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    progress = Progress()
    try:
        built = build_plan(
            arguments.engine,
            arguments.precision,
            arguments.sizes,
            int(arguments.batch),
            progress=lambda phase, fraction: progress.show(progress_line(phase, fraction)),
            calibration=arguments.calibration,
        )
    except (BuildCancelled, KeyboardInterrupt):
        progress.close()
        return _fail("stopped; nothing was kept", code=130)
    except EngineError as error:
        progress.close()
        return _fail(str(error))
    progress.close()
    manifest = built.plan.manifest
    key = manifest.key
    if built.cached:
        print(f"already built, on {manifest.built[:10]}: {built.plan.path}")
    else:
        print(f"built in {manifest.build_seconds:.0f} s: {built.plan.path} ({manifest.plan_bytes / 1e6:.1f} MB)")
    print(
        f"{key.precision} for {key.flavour} {key.version}, compute capability {key.compute_capability}, {key.profile}"
    )
    if manifest.parity is None:
        print("not compared with its ONNX file yet, for want of a GPU: that is done at its first use")
    else:
        measured = ", ".join(
            f"{name.replace('_', ' ')} {value:.2g}" for name, value in manifest.parity.measured.items()
        )
        print(f"compared with its ONNX file on {manifest.parity.images} images on {manifest.parity.gpu}: {measured}")
    return 0


def image_size(text: str) -> tuple[int, int]:
    """An argparse type: "1242x375" is (1242, 375)."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write it like 1242x375")
    return int(match[1]), int(match[2])


def progress_line(phase: str, fraction: float | None) -> str:
    """A bar where it is known how much is done."""
    if fraction is None:
        return phase
    done = round(fraction * _BAR)
    return f"[{'#' * done}{'.' * (_BAR - done)}] {fraction:4.0%} {phase}"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(reason: str, code: int = 1) -> int:
    print(f"hybridnet build-engine: {reason}", file=sys.stderr, flush=True)
    # TensorRT 8.6 cannot be told to stop: Python must not take itself apart around its thread.
    if any(thread.name == BUILDER_THREAD for thread in threading.enumerate()):
        os._exit(code)
    return code
