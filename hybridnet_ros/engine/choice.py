"""Which runtime runs an engine on this machine, and why: a TensorRT plan that is right for it, else ONNX Runtime."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import EngineError, PlanError, TensorRTError, UnknownSizeError
from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.engine.plan_manifest import PlanManifest, load_plan_manifest
from hybridnet_ros.engine.plans import Plan, find_plan, load_plan_file, remove_plan, save_parity
from hybridnet_ros.engine.session import Maps, Session
from hybridnet_ros.engine.tensorrt_module import Gpu, NoGpuError, TensorRT, find_gpu, load_tensorrt

_log = logging.getLogger("hybridnet")


@dataclass(frozen=True)
class Source:
    """An engine's ONNX file, read and verified.

    Attributes:
        name: what the user calls it, for commands in messages.
        path: the file.
        manifest: its manifest.
        onnx: its contents.
        plan: a TensorRT plan of it that the user named; None to look in the cache.
    """

    name: str
    path: Path
    manifest: Manifest
    onnx: bytes
    plan: Path | None = None


def choose_session(source: Source, runtime: str, threads: int) -> Session:
    """A session on the runtime that is asked for, or for "auto" on the best one that works here.

    Raises:
        EngineError: it does not work here; says why and what to do.
    """
    if runtime in ("onnx_cpu", "onnx_cuda"):
        return onnx_session(source, runtime, threads)
    if runtime == "openvino":
        return _openvino_session(source, threads)
    try:
        tensorrt = _tensorrt_session(source)
    except EngineError as error:
        if runtime == "tensorrt" or source.plan is not None:
            raise EngineError(f"runtime tensorrt: {error}") from error
        session = onnx_session(source, "auto", threads)
        session.description += f"; no TensorRT: {_brief(error)}"
        return session
    return _ByPlans(tensorrt, source, partial(onnx_session, source, "auto", threads) if runtime == "auto" else None)


def onnx_session(source: Source, runtime: str, threads: int) -> Session:
    """A session in ONNX Runtime: "onnx_cpu", "onnx_cuda" or "auto"."""
    try:  # here and not at the top, so that all but opening an engine works on machines without ONNX Runtime
        from hybridnet_ros.engine.onnx_engine import OnnxSession
    except ImportError as error:
        raise EngineError(
            f"ONNX Runtime cannot be imported ({error}): install it with pip install onnxruntime"
        ) from error
    return OnnxSession(source.onnx, source.path, runtime, threads)


def _openvino_session(source: Source, threads: int) -> Session:
    try:  # OpenVINO is an extra
        from hybridnet_ros.engine.openvino_engine import OpenVinoSession
    except ImportError as error:
        raise EngineError(
            f"runtime openvino: OpenVINO cannot be imported ({error}): install it with pip install openvino, "
            "or choose the runtime onnx_cpu or auto"
        ) from error
    return OpenVinoSession(source.onnx, source.path, threads)


def named_plan(path: Path) -> PlanManifest | None:
    """The manifest of the TensorRT plan that `path` is, or is the manifest of; None if it is another kind of file."""
    if path.suffix == ".plan":
        return load_plan_manifest(path.with_suffix(".json"))
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "plan_sha256" in content:
            return load_plan_manifest(path)
    return None


def _tensorrt_session(source: Source, sizes: Sequence[tuple[int, int]] = ()) -> Session:
    """A session on a plan for network `sizes` that is right for this GPU and has passed its parity gate."""
    gpu = find_gpu()
    if source.manifest.precision != "float32":
        raise PlanError(
            f"plans are built from float32 engines, and {source.path.name} is {source.manifest.precision}: take the "
            "float32 engine, and an 8-bit plan of it with hybridnet build-engine ENGINE --precision int8"
        )
    trt = load_tensorrt(gpu)
    plan = _plan(source, trt, sizes)
    session = run_plan(trt, plan)
    try:
        _pass_gate(source, plan, session, gpu)
    except BaseException:
        session.close()
        raise
    return session


def run_plan(trt: TensorRT, plan: Plan) -> Session:
    """A session on a plan, whether or not it has passed its parity gate; raises EngineError."""
    try:  # cuda-python is an extra, and not needed unless there is a plan
        from hybridnet_ros.engine.tensorrt_engine import TensorRTSession
    except ImportError as error:
        raise TensorRTError(
            f"cuda-python cannot be imported ({error}): install it with pip install 'hybridnet_ros[tensorrt]'"
        ) from error
    return TensorRTSession(trt, plan)


def _plan(source: Source, trt: TensorRT, sizes: Sequence[tuple[int, int]]) -> Plan:
    if source.plan is not None and not sizes:
        return load_plan_file(source.plan, source.name, source.manifest, trt)
    search = find_plan(source.name, source.manifest, trt, sizes=sizes)
    if search.plan is None:
        raise PlanError(search.reason)
    return search.plan


def _pass_gate(source: Source, plan: Plan, session: Session, gpu: Gpu) -> None:
    """Measures the plan's parity if that was not done on this GPU; a plan that fails is not used and not kept."""
    unchecked = plan.manifest.unchecked(gpu)
    if unchecked is None:
        return
    from hybridnet_ros.engine.parity import ParityError, check_plan

    _log.info("checking the plan %s against its ONNX file: %s", plan.path.name, unchecked)
    try:
        parity = check_plan(plan, source.onnx, session, gpu)
    except ParityError:
        if source.plan is None:
            remove_plan(plan)
        raise
    save_parity(plan, parity)


def _brief(error: EngineError) -> str:
    """Why there is no TensorRT; short where there is nothing that it could run on."""
    return "no NVIDIA GPU" if isinstance(error, NoGpuError) else str(error)


class _ByPlans:
    """TensorRT with one plan, with others of the cache for the sizes they were built for, and else ONNX Runtime."""

    def __init__(self, first: Session, source: Source, fallback: Callable[[], Session] | None) -> None:
        self.runtime, self.description = first.runtime, first.description
        self._first, self._source, self._fallback = first, source, fallback
        self._others: dict[tuple[int, int], Session] = {}
        self._lock = threading.Lock()

    def predict(self, images: NDArray[np.uint8], network_size: tuple[int, int], scales: NDArray[np.float32]) -> Maps:
        """See `Session.predict`."""
        session = self._others.get(network_size, self._first)
        try:
            return session.predict(images, network_size, scales)
        except UnknownSizeError as error:
            with self._lock:
                if network_size not in self._others:
                    self._others[network_size] = self._other(network_size, error)
        return self._others[network_size].predict(images, network_size, scales)

    def takes(self, network_size: tuple[int, int]) -> bool:
        """Does a plan that is open take this size? That of another size is opened with its first image."""
        session = self._others.get(network_size, self._first)
        return session.runtime == self.runtime and session.takes(network_size)

    def close(self) -> None:
        """Frees all."""
        for session in {id(one): one for one in (self._first, *self._others.values())}.values():
            session.close()

    def _other(self, network_size: tuple[int, int], error: UnknownSizeError) -> Session:
        """What runs a size that the first plan does not take; raises `error` if nothing does."""
        name = self._source.path.name
        try:
            session = _tensorrt_session(self._source, (network_size,))
        except EngineError:
            if self._fallback is None:
                raise error from None
            session = (
                next((one for one in self._others.values() if one.runtime != self.runtime), None) or self._fallback()
            )
            _log.warning("%s also runs on %s: %s", name, session.description, error)
        else:
            _log.info("%s also runs on %s", name, session.description)
        return session
