"""Compares a rewritten network with the float32 one, layer by layer, to find where it departs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.onnx_engine import run_as_written
from hybridnet_ros.engine.parity import Layer
from hybridnet_ros.engine.typed_onnx import CONVOLUTIONS, element_types, fold_constants, load_onnx


def compare_layers(onnx: bytes, rewritten: bytes, image: NDArray[np.uint8]) -> list[Layer]:
    """Every convolution's output and the depth, in the order of computation; empty if ONNX Runtime cannot compute it.

    Args:
        onnx: the float32 network.
        rewritten: the same in another precision, with the same names.
        image: uint8 [H, W, 3] at a network size.
    """
    reference, other = fold_constants(load_onnx(onnx)), load_onnx(rewritten)
    produced = {name for node in other.graph.node for name in node.output}
    layers = {
        name: node.op_type
        for node in reference.graph.node
        for name in node.output
        if name in produced and (node.op_type in CONVOLUTIONS or name == "depth")
    }
    try:
        expected, found = (_values(model, list(layers), image) for model in (reference, other))
    except EngineError:
        return []
    return [_layer(name, operator, expected[name], found[name]) for name, operator in layers.items()]


def _values(model: ModelProto, names: list[str], image: NDArray[np.uint8]) -> dict[str, NDArray]:
    types = element_types(model)
    shown = ModelProto()
    shown.CopyFrom(model)
    listed = {output.name for output in shown.graph.output}
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, types[name], None) for name in names if name not in listed
    )
    return run_as_written(shown.SerializeToString(), image[np.newaxis])


def _layer(name: str, operator: str, expected: NDArray, found: NDArray) -> Layer:
    values = found.astype(np.float64)
    finite = np.isfinite(values)
    error = np.linalg.norm((values - expected)[finite]) / max(float(np.linalg.norm(expected)), 1e-12)
    return Layer(name, operator, float(error), int(finite.size - np.count_nonzero(finite)))
