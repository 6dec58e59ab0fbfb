"""From camera images to depth and labels: opens an engine file and runs it on images of any size.

    engine = open_engine("driving")
    prediction = engine.predict(images, fx=721.5)

The network itself runs in a `Session` (session.py; onnx_engine.py is one). What every runtime has in common is here:
checking what goes in, and choosing the network size and the factor between its depth and the camera's.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.choice import Source, choose_session, named_plan
from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.manifest import Manifest, load_manifest
from hybridnet_ros.engine.session import Session
from hybridnet_ros.engine.stand_in import MANIFEST, NAME, StandIn
from hybridnet_ros.resources import ResourceError, share_path

RUNTIMES = ("auto", "tensorrt", "onnx_cuda", "openvino", "onnx_cpu")

_NAME_PREFIX = "hybridnet_"

_log = logging.getLogger("hybridnet")


@dataclass(frozen=True)
class Prediction:
    """What the network sees in N images of H x W px; the arrays are the caller's own.

    Attributes:
        depth: float32 [N, H, W], metres along the optical axis, finite everywhere (see `scene.depth.limit_depth`).
        labels: uint8 [N, H, W], class ids of the engine's label set.
        confidence: uint8 [N, H, W], probability of that class, 0 to 255.
    """

    depth: NDArray[np.float32]
    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8]


class Engine:
    """A network ready to run; may be used from several threads, and as a context manager that closes it.

    Attributes:
        manifest: what the network is, its classes among it.
        runtime: the one of RUNTIMES that runs it.
        description: network, runtime and why that runtime, in one line.
    """

    def __init__(self, manifest: Manifest, session: Session) -> None:
        """An engine from its parts; most callers want `open_engine`."""
        self.manifest = manifest
        self.runtime = session.runtime
        self.description = f"{manifest.network} ({len(manifest.labels)} classes) on {session.description}"
        self._session: Session | None = session

    def network_size(self, width: int, height: int) -> tuple[int, int]:
        """The (width, height) in px at which the network sees an image of `width` x `height`."""
        return network_size(width, height, self.manifest.input.multiple, self.manifest.input.pixels)

    def takes(self, width: int, height: int) -> bool:
        """Is the runtime made for images of this size? TensorRT is for those that its plan was built for."""
        return self._session is not None and self._session.takes(self.network_size(width, height))

    def predict(self, images: NDArray[np.uint8], fx: float | Sequence[float] | None = None) -> Prediction:
        """Depth and labels of images, at the images' own size.

        Args:
            images: uint8 [N, H, W, 3] rgb; need not be contiguous.
            fx: focal length in px of the images as they are given, one for all or one for each. Without it depth is
                as at the training focal length: right up to one factor that only the camera knows.

        Raises:
            EngineError: the images or fx are not as above, the engine is closed, or the runtime failed.
        """
        _check_images(images)
        session = self._session
        if session is None:
            raise EngineError("the engine is closed: open it again with open_engine")
        count, height, width, _ = images.shape
        network_size = self.network_size(width, height)
        scales = self._depth_scales(fx, count, network_size[0] / width)
        return Prediction(*session.predict(images, network_size, scales))

    def close(self) -> None:
        """Frees the network; closing twice does no harm."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def __enter__(self) -> Engine:
        """The engine itself, for `with open_engine(...) as engine`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the engine."""
        self.close()

    def _depth_scales(self, fx: float | Sequence[float] | None, count: int, resize: float) -> NDArray[np.float32]:
        """For each image, metres per metre of the network, which believes that its image has the training fx."""
        if fx is None:
            return np.ones(count, np.float32)
        # In plain Python: for the few numbers that a node has at a time NumPy takes 0.2 ms.
        try:
            pixels = [float(one) for one in fx] if isinstance(fx, Iterable) else [float(fx)] * count
        except (TypeError, ValueError):
            raise EngineError(f"fx must be a number of px, or one for each image; got {fx!r}") from None
        if len(pixels) != count:
            raise EngineError(f"fx has {len(pixels)} values for {count} images: give one, or one for each image")
        if not all(math.isfinite(one) and one > 0 for one in pixels):
            raise EngineError(
                f"fx must be positive and finite, in px; got {fx}: calibrate the camera, "
                "or leave fx out to get depth at the training focal length"
            )
        return np.array([one * resize / self.manifest.fx for one in pixels], np.float32)


def open_engine(name_or_path: str | Path = "driving", runtime: str = "auto", threads: int | None = None) -> Engine:
    """Opens an engine.

    Args:
        name_or_path: name of a shipped engine, or a path to an .onnx file, to a TensorRT .plan built from one, or to
            the .json manifest of either; or "stand-in", which is no network (see stand_in.py).
        runtime: one of RUNTIMES. "auto" is TensorRT where there is a plan for exactly this GPU and TensorRT that has
            passed its parity gate (`hybridnet build-engine` makes one), else ONNX Runtime on CUDA where that works,
            else on the CPU.
        threads: CPU threads to compute with; all cores this process may use when None.

    Raises:
        EngineError: there is no such engine or runtime, or the file is damaged; says which and what to do.
    """
    if runtime not in RUNTIMES:
        raise EngineError(f"unknown runtime {runtime!r}: choose one of {', '.join(RUNTIMES)}")
    if threads is not None and threads < 1:
        raise EngineError(f"threads must be at least 1, got {threads}: leave it out to use every core")
    name, plan = str(name_or_path), None
    if name == NAME:
        return Engine(MANIFEST, StandIn())
    path = find_engine(name)
    described = named_plan(path)
    if described is not None:
        name, plan = described.engine, path.with_suffix(".plan")
        path = find_engine(name)
    manifest = load_manifest(path.with_suffix(".json"))
    if path.suffix == ".json":
        path = path.with_name(manifest.onnx)
    source = Source(name, path, manifest, manifest.read_onnx(path), plan)
    engine = Engine(manifest, choose_session(source, runtime, threads or len(os.sched_getaffinity(0))))
    _log.info("engine %s: %s", path.name, engine.description)
    return engine


def shipped_engines() -> dict[str, Path]:
    """The engines that came with this package, by name."""
    try:
        folder = share_path("engines")
    except ResourceError:
        return {}
    return {path.stem[len(_NAME_PREFIX) :]: path for path in sorted(folder.glob(f"{_NAME_PREFIX}*.onnx"))}


def find_engine(name_or_path: str | Path) -> Path:
    """The .onnx file, plan or manifest that is meant; EngineError if there is none."""
    path = Path(name_or_path).expanduser()
    if path.suffix in (".onnx", ".json", ".plan"):
        if not path.is_file():
            raise EngineError(
                f"there is no engine {path}: give the path of an .onnx file or the name of a shipped engine "
                f"({', '.join(shipped_engines()) or 'none is installed'})"
            )
        return path
    shipped = shipped_engines()
    if str(name_or_path) not in shipped:
        raise EngineError(
            f"no engine is called {str(name_or_path)!r}: choose one of {', '.join(shipped) or '(none is installed)'}, "
            "or give the path of an .onnx file"
        )
    return shipped[str(name_or_path)]


@lru_cache(maxsize=64)
def network_size(width: int, height: int, multiple: int, pixels: int) -> tuple[int, int]:
    """Sides that are multiples of `multiple`, shaped like width x height, with about `pixels` px, never enlarged."""
    shrink = min(1.0, math.sqrt(pixels / (width * height)))

    def rounded(side: int) -> set[int]:
        steps = side * shrink / multiple
        return {max(1, math.floor(steps)) * multiple, max(1, math.ceil(steps)) * multiple}

    def misfit(size: tuple[int, int]) -> float:
        # A wrong shape counts twice: it gives the network two focal lengths, a wrong area only costs time or detail.
        stretch_x, stretch_y = math.log(size[0] / (width * shrink)), math.log(size[1] / (height * shrink))
        return 2 * abs(stretch_x - stretch_y) + abs(stretch_x + stretch_y)

    return min(itertools.product(rounded(width), rounded(height)), key=misfit)


def _check_images(images: NDArray[np.uint8]) -> None:
    if not isinstance(images, np.ndarray):
        raise EngineError(f"images must be a NumPy array uint8 [N, H, W, 3], got {type(images).__name__}")
    shape = list(images.shape)
    if images.dtype != np.uint8:
        raise EngineError(f"images must be uint8 [N, H, W, 3], got {images.dtype} {shape}: convert them to 0 to 255")
    if images.ndim != 4 or shape[3] != 3:
        raise EngineError(f"images must be [N, H, W, 3] rgb, got {shape}: give one image as image[np.newaxis]")
    if 0 in shape:
        raise EngineError(f"images must not be empty, got {shape}: is the camera sending pictures?")
