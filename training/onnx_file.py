"""A network as an ONNX file, and the run of one that says less than an engine."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from hybridnet_ros.engine import EngineError
from hybridnet_ros.engine.session import Maps, ResizingSession
from training.evaluate import filled
from training.networks import EngineGraph

# TensorRT 8.6 (JetPack 6.0) reads no later one.
OPSET = 17

# Smaller tensors are not worth their nodes: biases, constants of the arithmetic.
_LEAST_HALVED = 1024
# Of driving, the large ones in 8 bits cost 0.3 % of AbsRel; those of 8192 and more would cost 0.5 % on top, for a third
# of what the large ones save.
_LEAST_IN_8_BITS = 65536


def write_onnx(graph: EngineGraph, path: Path, size: tuple[int, int]) -> None:
    """Export with dynamic batch and image size; `size` (height, width) is only what the graph is traced with."""
    image = torch.zeros((1, *size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # This exporter is the one that writes opset 17; it says at every call that a newer one exists.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Local response normalisation asks whether its input is empty, which it never is.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            graph.eval(),
            (image,),
            str(path),
            input_names=["image"],
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamic_axes={name: {0: "batch", 1: "height", 2: "width"} for name in ("image", *graph.outputs)},
            dynamo=False,
        )


def pack_weights(network: ModelProto) -> ModelProto:
    """The network in a third of the bytes, in place: it still computes in float32, from rounded weights.

    Weights of large convolutions become int8 with a scale for each output channel, other tensors float16 where that can
    hold them. Runtimes make float32 of them once, when they load the file (constant folding), and
    `hybridnet build-engine` does before TensorRT sees them.
    """
    graph = network.graph
    read_by: dict[str, list[tuple[str, int]]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            read_by.setdefault(name, []).append((node.op_type, place))
    stored: list[TensorProto] = []
    unpacking: list[NodeProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        packed: tuple[list[TensorProto], list[NodeProto]] | None = None
        if values.dtype == np.float32:
            if values.size >= _LEAST_IN_8_BITS and set(read_by.get(tensor.name, ())) == {("Conv", 1)}:
                packed = _in_8_bits(tensor.name, values)
            elif values.size >= _LEAST_HALVED:
                packed = _halved(tensor.name, values)
        tensors, nodes = packed or ([tensor], [])
        stored += tensors
        unpacking += nodes
    nodes = [*unpacking, *graph.node]
    for field, items in ((graph.initializer, stored), (graph.node, nodes)):
        del field[:]
        field.extend(items)
    return network


def _in_8_bits(name: str, weights: NDArray[np.float32]) -> tuple[list[TensorProto], list[NodeProto]]:
    """What stands for the weights [out, in, h, w] of a convolution: codes, scales [out, 1, 1, 1], and their product."""
    scales = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / np.float32(127)
    scales[scales == 0] = 1  # a channel of zeros
    codes, factors, numbers = f"{name}/int8", f"{name}/scale", f"{name}/float32"
    tensors = [
        numpy_helper.from_array(np.rint(weights / scales).astype(np.int8), codes),
        numpy_helper.from_array(scales, factors),
    ]
    return tensors, [
        helper.make_node("Cast", [codes], [numbers], name=f"{name}/Cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [numbers, factors], [name], name=f"{name}/Mul"),
    ]


def _halved(name: str, values: NDArray[np.float32]) -> tuple[list[TensorProto], list[NodeProto]] | None:
    """What stands for a tensor in 16 bits; None where float16 cannot hold it."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        return None
    short = f"{name}/float16"
    cast = helper.make_node("Cast", [short], [name], name=f"{name}/Cast", to=TensorProto.FLOAT)
    return [numpy_helper.from_array(halves, short)], [cast]


class PartSession(ResizingSession):
    """ONNX Runtime on a network of one task, as an engine's session; what it does not say is filled for nobody."""

    runtime = "onnx_cpu"
    description = f"ONNX Runtime {ort.__version__}, CPU"

    def __init__(self, onnx: bytes) -> None:
        """Load the contents of a file; EngineError when ONNX Runtime cannot."""
        try:
            self._session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise EngineError(f"ONNX Runtime cannot load the exported network: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: NDArray[np.uint8]) -> Maps:
        """Depth, labels and confidence [N, H, W] of uint8 [N, H, W, 3]."""
        values: list[NDArray[Any]] = self._session.run(self._outputs, {"image": images})
        return filled(dict(zip(self._outputs, values, strict=True)), images)

    def close(self) -> None:
        """Nothing to free."""
