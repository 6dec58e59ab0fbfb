"""Runs an engine's ONNX file with ONNX Runtime, on CUDA or on the CPU. The only file that imports onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.session import Maps, ResizingSession

# An input or output: type and axes, where a number is a fixed size and a name one that is left open.
_Argument = tuple[str, Sequence[str | int | None]]

_INPUTS: dict[str, _Argument] = {"image": ("tensor(uint8)", ("N", "H", "W", 3))}
_OUTPUTS: dict[str, _Argument] = {
    "depth": ("tensor(float)", ("N", "H", "W")),
    "labels": ("tensor(uint8)", ("N", "H", "W")),
    "confidence": ("tensor(uint8)", ("N", "H", "W")),
}
_LOG_NOTHING = 4  # all but what is fatal: errors arrive as exceptions, and the user gets them in our words


class OnnxSession(ResizingSession):
    """A network in ONNX Runtime; may be run from several threads.

    Attributes:
        runtime: "onnx_cuda" or "onnx_cpu".
        description: where it runs and why, for people.
    """

    def __init__(self, onnx: bytes, path: Path, runtime: str, threads: int) -> None:
        """Loads the contents `onnx` of the file `path` and checks its inputs and outputs.

        Args:
            onnx: the file's contents, verified against its manifest.
            path: where they came from, for messages.
            runtime: "auto", "onnx_cuda" or "onnx_cpu".
            threads: CPU threads.

        Raises:
            EngineError: the file is no ONNX network, has other inputs or outputs, or `runtime` does not work here.
        """
        on_cuda, reason = (None, "as asked") if runtime == "onnx_cpu" else _cuda_session(onnx, threads)
        if runtime == "onnx_cuda" and on_cuda is None:
            raise EngineError(
                f"runtime onnx_cuda: {reason}. Install onnxruntime-gpu in place of onnxruntime with the CUDA and cuDNN "
                "it asks for, check the GPU with nvidia-smi, or choose the runtime onnx_cpu or auto"
            )
        if on_cuda is not None:
            self.runtime, where = "onnx_cuda", "CUDA"
        else:
            self.runtime, where = "onnx_cpu", f"CPU, {threads} thread{'s' if threads > 1 else ''}"
        self.description = f"ONNX Runtime {ort.__version__}, {where} ({reason})"
        self._session = on_cuda or _cpu_session(onnx, path, threads)
        _check(path, "inputs", self._session.get_inputs(), _INPUTS)
        _check(path, "outputs", self._session.get_outputs(), _OUTPUTS)

    def run(self, images: NDArray[np.uint8]) -> Maps:
        """Depth, labels and confidence [N, H, W], in fresh memory, of uint8 images [N, H, W, 3]."""
        try:
            depth, labels, confidence = self._session.run(list(_OUTPUTS), {"image": images})
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise EngineError(f"ONNX Runtime failed on images {list(images.shape)}: {_first_line(error)}") from error
        return depth, labels, confidence

    def close(self) -> None:
        """Frees the network."""
        del self._session


def run_as_written(onnx: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray]:
    """Every output of a network on the CPU, computed as its file says, without any optimisation.

    Raises:
        EngineError: ONNX Runtime cannot compute it; it has no bfloat16, for instance.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"image": images}), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise EngineError(f"ONNX Runtime cannot compute the network: {_first_line(error)}") from error


def _cuda_session(onnx: bytes, threads: int) -> tuple[ort.InferenceSession | None, str]:
    """A session on CUDA and why; or none, and why not."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return None, "this ONNX Runtime has no CUDA"
    try:
        session = _session(onnx, threads, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        return None, f"CUDA did not start: {_first_line(error)}"
    # Where a library is missing ONNX Runtime raises nothing: it prints what is missing and goes on without CUDA.
    if "CUDAExecutionProvider" not in session.get_providers():
        return None, "CUDA did not start, ONNX Runtime printed why"
    return session, "CUDA works"


def _cpu_session(onnx: bytes, path: Path, threads: int) -> ort.InferenceSession:
    try:
        return _session(onnx, threads, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        raise EngineError(
            f"ONNX Runtime cannot load {path}: {_first_line(error)}; "
            "export it again with python -m training.export or restore it with git checkout"
        ) from error


def _session(onnx: bytes, threads: int, providers: list[str]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    options.intra_op_num_threads = threads
    # While a frame is computed the threads spin between operators, which is faster than waking them each time. When it
    # is done they stop: by default they would spin on between frames, which at 10 Hz doubles the CPU time of the node,
    # on cores that carry the camera driver and DDS as well.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # x86 processors without 8-bit instructions (VNNI) add up products of 8 bits in 16, which overflow without a word:
    # of the driving network in 8 bits, depth was 9 % off in place of 3. There it is computed exactly, and slower.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(onnx, options, providers=providers)


def _check(path: Path, what: str, found: list[ort.NodeArg], expected: dict[str, _Argument]) -> None:
    """Refuses a network whose inputs or outputs are not those of every engine."""
    arguments = {argument.name: (argument.type, argument.shape) for argument in found}
    if arguments.keys() != expected.keys() or not all(
        arguments[name][0] == kind and _fits(arguments[name][1], axes) for name, (kind, axes) in expected.items()
    ):
        raise EngineError(
            f"{path} is no HybridNet engine: its {what} are {_listed(arguments)}; expected {_listed(expected)}; "
            "export it with python -m training.export"
        )


def _fits(shape: Sequence[str | int | None], axes: Sequence[str | int | None]) -> bool:
    return len(shape) == len(axes) and all(
        size == axis if isinstance(axis, int) else not isinstance(size, int)
        for size, axis in zip(shape, axes, strict=True)
    )


def _listed(arguments: dict[str, _Argument]) -> str:
    return ", ".join(
        f"{name} {kind.replace('tensor', '').strip('()')} [{', '.join(str(size) for size in shape)}]"
        for name, (kind, shape) in arguments.items()
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
