"""What takes the place of TensorRT in checks without a GPU: the same few calls, answered by ONNX Runtime.

Its "plan" is an ONNX file, and its networks run in the stand-in driver's stream, on its "GPU memory".
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import onnxruntime

from hybridnet_ros.engine.manifest import load_manifest
from hybridnet_ros.engine.plan_manifest import PlanKey, PlanManifest, Profile, Tensor
from hybridnet_ros.engine.plans import Plan
from hybridnet_ros.engine.tensorrt_module import TensorRT, find_gpu

DRIVER = ctypes.CDLL("libcuda.so.1")
COUNTS = ("device", "pinned", "streams", "graphs", "modules", "retained")

_numbers = itertools.count()
_in_work = {}


@ctypes.CFUNCTYPE(None, ctypes.c_long)
def _do(number: int) -> None:
    _in_work[number]()


def counts() -> dict[str, int]:
    """What the driver holds."""
    numbers = (ctypes.c_int * len(COUNTS))()
    DRIVER.stand_in_counts(numbers)
    return dict(zip(COUNTS, numbers, strict=True))


def fail(name: str = "", status: int = 0, skip: int = 0) -> None:
    """From now on every call of `name` but the first `skip` fails with `status`."""
    DRIVER.stand_in_fail(name.encode(), status, skip)


DataType = Enum("DataType", ["UINT8", "FLOAT"])


class Logger:
    def __init__(self):
        self.errors, self.warnings = [], []

    def clear(self):
        self.errors.clear()
        self.warnings.clear()


@dataclass
class Runtime:
    logger: Logger

    def deserialize_cuda_engine(self, data):
        if len(data) < 100:
            self.logger.errors.append("Serialization assertion failed")
            return None
        return CudaEngine(self.logger, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]))


@dataclass
class CudaEngine:
    logger: Logger
    network: onnxruntime.InferenceSession
    num_io_tensors: int = 4

    def _tensors(self):
        return [*self.network.get_inputs(), *self.network.get_outputs()]

    def get_tensor_name(self, index):
        return self._tensors()[index].name

    def get_tensor_dtype(self, name):
        [kind] = [tensor.type for tensor in self._tensors() if tensor.name == name]
        return DataType.UINT8 if kind == "tensor(uint8)" else DataType.FLOAT

    def create_execution_context(self):
        if Context.none_left:
            self.logger.errors.append("Cuda Runtime (out of memory)")
            return None
        return Context(self)


@dataclass
class Context:
    engine: CudaEngine
    addresses: dict = field(default_factory=dict)
    shape: tuple = ()
    profile: int = -1
    none_left: ClassVar[bool] = False
    broken: ClassVar[bool] = False
    made: ClassVar[list] = []

    def __post_init__(self):
        self.made.append(self)

    def set_optimization_profile_async(self, profile, stream):
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return name == "image"

    def get_tensor_shape(self, name):
        return self.shape if name == "image" else self.shape[:3]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        if self.broken:
            self.engine.logger.errors.append("IExecutionContext::enqueueV3: Error Code 1")
            return False
        number = next(_numbers)
        _in_work[number] = self._run
        return DRIVER.stand_in_submit(ctypes.c_void_p(stream), _do, ctypes.c_long(number)) == 0

    def _run(self):
        names = ["depth", "labels", "confidence"]
        answers = self.engine.network.run(names, {"image": self._at("image", self.shape, np.uint8)})
        for name, answer in zip(names, answers, strict=True):
            self._at(name, self.shape[:3], answer.dtype)[...] = answer

    def _at(self, name, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = (ctypes.c_ubyte * size).from_address(self.addresses[name])
        return np.frombuffer(block, dtype).reshape(shape)


class StandInTensorRT(TensorRT):
    logger = Logger()


def tensorrt() -> TensorRT:
    """A TensorRT on the stand-in GPU."""
    module = SimpleNamespace(__version__="0.0.0", Runtime=Runtime, DataType=DataType)
    return StandInTensorRT("tensorrt", module, find_gpu())


def plan(onnx: Path, trt: TensorRT, sizes, batch: int = 1) -> Plan:
    """A plan of an ONNX file for network `sizes` (width, height)."""
    manifest = load_manifest(onnx.with_suffix(".json"))
    data = onnx.read_bytes()
    key = PlanKey.of(manifest.onnx_sha256, trt, "fp32", Profile(tuple(sizes), batch))
    described = PlanManifest(
        network=manifest.network,
        engine=str(onnx),
        key=key,
        cameras=tuple(sizes),
        gpu=trt.gpu,
        options={},
        inputs=(Tensor("image", "UINT8", (-1, -1, -1, 3)),),
        outputs=(Tensor("depth", "FLOAT", (-1, -1, -1)),),
        plan_sha256=hashlib.sha256(data).hexdigest(),
        plan_bytes=len(data),
        built="2026-01-01T00:00:00Z",
        build_seconds=0.0,
    )
    return Plan(onnx.with_suffix(".plan"), described, data)
