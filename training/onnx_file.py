"""A network as an ONNX file, and the run of one that says less than an engine."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from hybridnet_ros.engine import EngineError
from hybridnet_ros.engine.session import Maps, ResizingSession
from training.evaluate import filled
from training.networks import EngineGraph

# TensorRT 8.6 (JetPack 6.0) reads no later one.
OPSET = 17

# Smaller tensors are not worth a node: biases, constants of the arithmetic.
_LEAST_HALVED = 1024


def write_onnx(graph: EngineGraph, path: Path, size: tuple[int, int]) -> None:
    """Export with dynamic batch and image size; `size` (height, width) is only what the graph is traced with.

    The file holds its weights in 16 bits, which halves it; what runs it computes in float32.
    """
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
    onnx.save(halve_weights(onnx.load(path)), path)


def halve_weights(network: ModelProto) -> ModelProto:
    """The network, its weights stored as float16 and cast to float32; in place.

    Runtimes cast once, when they load it (constant folding), and `hybridnet build-engine` folds constants before
    TensorRT sees them. Tensors that float16 cannot hold stay.
    """
    graph = network.graph
    stored, casts = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _LEAST_HALVED:
            stored.append(tensor)
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.isfinite(halved).all():
            stored.append(tensor)
            continue
        name = f"{tensor.name}/float16"
        stored.append(numpy_helper.from_array(halved, name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], name=f"{tensor.name}/Cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    for field, items in ((graph.initializer, stored), (graph.node, nodes)):
        del field[:]
        field.extend(items)
    return network


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
