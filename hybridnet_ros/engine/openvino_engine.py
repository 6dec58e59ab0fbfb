"""Runs an engine's ONNX file with OpenVINO on the CPU. The only file that imports openvino.

It computes in bfloat16 where the processor has instructions for that, which is where it is faster than ONNX Runtime.
Labels and depth are then as accurate on validation data, but not the same, so it is never chosen unasked. Elsewhere it
computes in float32.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.session import Maps, ResizingSession

_OUTPUTS = ("depth", "labels", "confidence")
_MOST_SIZES = 8
"""Sizes that are kept ready: a network compiled for one size is a quarter faster than one for all, and takes 0.5 s."""


class OpenVinoSession(ResizingSession):
    """A network in OpenVINO, compiled for each size when that is first seen; may be run from several threads."""

    runtime = "openvino"

    def __init__(self, onnx: bytes, path: Path, threads: int) -> None:
        """Reads the contents `onnx` of the file `path`, which names them in messages.

        Raises:
            EngineError: the file is no ONNX network, or has other inputs or outputs than an engine.
        """
        precision = "bfloat16" if has_bfloat16() else "float32"
        self.description = f"OpenVINO {ov.__version__.split('-')[0]}, CPU, {precision}, {threads} " + (
            "threads" if threads > 1 else "thread"
        )
        self._core = ov.Core()
        self._settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16() else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._network: Any = self._core.read_model(onnx)
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot load {path}: {_last_line(error)}; choose the runtime onnx_cpu"
            ) from error
        names = [{name for port in ports for name in port.get_names()} for ports in
                 (self._network.inputs, self._network.outputs)]  # fmt: skip
        if names[0] != {"image"} or not names[1] >= set(_OUTPUTS):
            raise EngineError(
                f"{path} is no HybridNet engine: its inputs are {sorted(names[0])}, its outputs {sorted(names[1])}; "
                "export it with python -m training.export"
            )
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def run(self, images: NDArray[np.uint8]) -> Maps:
        """Depth, labels and confidence [N, H, W], in fresh memory, of uint8 images [N, H, W, 3]."""
        with self._lock:
            try:
                request = self._request(images.shape)
                request.infer({"image": images}, share_inputs=True)
                depth, labels, confidence = (np.array(request.get_tensor(name).data) for name in _OUTPUTS)
            except RuntimeError as error:
                raise EngineError(f"OpenVINO failed on images {list(images.shape)}: {_last_line(error)}") from error
        return depth, labels, confidence

    def close(self) -> None:
        """Frees the network."""
        self._requests.clear()
        self._network = None

    def _request(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._requests:
            sized = self._network.clone()
            sized.reshape(list(shape))
            self._requests[shape] = self._core.compile_model(sized, "CPU", self._settings).create_infer_request()
            if len(self._requests) > _MOST_SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        return self._requests[shape]


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _last_line(error: Exception) -> str:
    """What went wrong; OpenVINO says first in which of its own files."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
