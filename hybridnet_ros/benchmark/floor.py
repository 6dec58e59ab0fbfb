"""The least time that a network's arithmetic and its memory traffic take on a machine: what a runtime is measured by.

Nothing is taken from data sheets: the processor's own peaks are measured in the same run.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, shape_inference

from hybridnet_ros.engine.typed_onnx import fold_constants

_MATRIX = 2048
_COPIED_BYTES = 256 * 2**20
_ATTEMPTS = 5


@dataclass(frozen=True)
class Cost:
    """What one image costs, however it is computed.

    Attributes:
        macs: multiplications with addition, of all convolutions and matrix products.
        least_bytes: every weight, the image and the answers once: nothing else has to leave the processor's caches.
        layer_bytes: what the convolutions read and write if every map between them goes through memory.
    """

    macs: int
    least_bytes: int
    layer_bytes: int


@dataclass(frozen=True)
class Peaks:
    """What the processor reaches when it does nothing else.

    Attributes:
        flops: float32 operations a second, in NumPy's product of two large matrices.
        bytes_per_s: read and written while a large array is copied by all cores.
    """

    flops: float
    bytes_per_s: float


@dataclass(frozen=True)
class Floor:
    """Milliseconds that one image takes at least, in float32."""

    arithmetic_ms: float
    memory_ms: float


def cost(network: ModelProto, width: int, height: int) -> Cost:
    """What the float32 `network` costs for an image of `width` x `height` px."""
    model = fold_constants(network)  # shapes behind a padding are known only when its arithmetic is done
    for value in model.graph.input:
        for dimension, size in zip(value.type.tensor_type.shape.dim, (1, height, width, 3), strict=True):
            dimension.dim_value = size
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes.update(weights)
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    weight_bytes = sum(4 * math.prod(dims) for dims in weights.values())
    answer_bytes = (4 + 1 + 1) * height * width
    return Cost(
        macs=sum(_macs(node, shapes) for node in layers),
        least_bytes=weight_bytes + 3 * height * width + answer_bytes,
        layer_bytes=sum(4 * math.prod(shapes[name]) for node in layers for name in (*node.input, *node.output)),
    )


def _macs(node: NodeProto, shapes: dict[str, list[int]]) -> int:
    """Every number of the output is one product of a kernel (or a row) with what it lies on."""
    output = math.prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return output * math.prod(shapes[node.input[1]][1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return output * shapes[node.input[0]][-2 if transposed else -1]


def measure_peaks() -> Peaks:
    """The processor's peaks, now; takes a second or two."""
    random = np.random.default_rng(0)
    left, right = (random.random((_MATRIX, _MATRIX), np.float32) for _ in range(2))
    product = np.empty_like(left)
    multiply_s = _best(lambda: np.matmul(left, right, out=product))

    cores = len(os.sched_getaffinity(0))
    source = np.ones(_COPIED_BYTES // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:
        copy_s = _best(lambda: list(pool.map(lambda part: np.copyto(*part), parts)))
    return Peaks(flops=2 * _MATRIX**3 / multiply_s, bytes_per_s=2 * source.nbytes / copy_s)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the quickest of some attempts."""
    times = []
    for _ in range(_ATTEMPTS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def floor(each: Cost, peaks: Peaks) -> Floor:
    """The least time for one image on a processor with these peaks."""
    return Floor(1e3 * 2 * each.macs / peaks.flops, 1e3 * each.least_bytes / peaks.bytes_per_s)
