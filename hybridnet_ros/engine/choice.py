"""Which runtime runs an engine on this machine, and why: a TensorRT plan that is right for it, else ONNX Runtime."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
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
    return tensorrt if runtime == "tensorrt" else _TensorRTOrOnnx(tensorrt, source, threads)


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


def _tensorrt_session(source: Source) -> Session:
    """A session on a plan that is right for this GPU and has passed its parity gate."""
    gpu = find_gpu()
    trt = load_tensorrt(gpu)
    plan = _plan(source, trt)
    try:  # cuda-python is an extra, and not needed unless there is a plan
        from hybridnet_ros.engine.tensorrt_engine import TensorRTSession
    except ImportError as error:
        raise TensorRTError(
            f"cuda-python cannot be imported ({error}): install it with pip install 'hybridnet_ros[tensorrt]'"
        ) from error
    session = TensorRTSession(trt, plan)
    try:
        _pass_gate(source, plan, session, gpu)
    except BaseException:
        session.close()
        raise
    return session


def _plan(source: Source, trt: TensorRT) -> Plan:
    if source.plan is not None:
        return load_plan_file(source.plan, source.name, source.manifest, trt)
    search = find_plan(source.name, source.manifest, trt)
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
        parity = check_plan(plan, source.onnx, session)
    except ParityError:
        if source.plan is None:
            remove_plan(plan)
        raise
    save_parity(plan, parity)


def _brief(error: EngineError) -> str:
    """Why there is no TensorRT; short where there is nothing that it could run on."""
    return "no NVIDIA GPU" if isinstance(error, NoGpuError) else str(error)


class _TensorRTOrOnnx:
    """TensorRT for the sizes its plan was built for, ONNX Runtime for others, so that "auto" takes any camera."""

    def __init__(self, tensorrt: Session, source: Source, threads: int) -> None:
        self.runtime, self.description = tensorrt.runtime, tensorrt.description
        self._tensorrt, self._source, self._threads = tensorrt, source, threads
        self._onnx: Session | None = None
        self._told: set[tuple[int, int]] = set()

    def predict(self, images: NDArray[np.uint8], network_size: tuple[int, int], scales: NDArray[np.float32]) -> Maps:
        """See `Session.predict`."""
        try:
            return self._tensorrt.predict(images, network_size, scales)
        except UnknownSizeError as error:
            if self._onnx is None:
                self._onnx = onnx_session(self._source, "auto", self._threads)
            if network_size not in self._told:
                self._told.add(network_size)
                _log.warning("%s runs on %s: %s", self._source.path.name, self._onnx.description, error)
        return self._onnx.predict(images, network_size, scales)

    def close(self) -> None:
        """Frees both."""
        self._tensorrt.close()
        if self._onnx is not None:
            self._onnx.close()
