"""Rewrites a float32 engine into one whose ONNX file itself says which layer computes in 16 bits.

TensorRT 10 and newer, and TensorRT-RTX, take precision from the file ("strongly typed") and no longer from a flag. The
normalisation of the image stays in float32, and so do the last convolutions before the outputs with all that follows:
depth must not get the steps of a logarithm in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
    version_converter,
)
from onnx.reference import ReferenceEvaluator

from hybridnet_ros.engine.errors import EngineError

HALF_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}

CONVOLUTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QUANTISED_HALF_OPSET = 19
_QUANTISATION = ("QuantizeLinear", "DequantizeLinear")
_NORMALISATION = ("Cast", "Transpose", "Mul", "Sub", "Add", "Div")
_FLOAT16_MAX = float(np.finfo(np.float16).max)
# Inputs that are float32 whatever the others are: Resize's region of interest and scales.
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}


def to_half(network: ModelProto, precision: str) -> ModelProto:
    """The float32 `network` with its convolutions in "fp16" or "bf16"; inputs, outputs and tensor names stay.

    Raises:
        EngineError: the network has no layer that could compute in 16 bits.
    """
    half = HALF_TYPES[precision]
    if any(node.op_type in _QUANTISATION for node in network.graph.node):
        # The first whose QuantizeLinear and DequantizeLinear know float16.
        network = version_converter.convert_version(network, _QUANTISED_HALF_OPSET)
    model = fold_constants(network)
    graph = model.graph
    types = element_types(model)
    float32_nodes = float32_tail(graph) | _normalisation(graph)
    chosen = [
        index
        for index, node in enumerate(graph.node)
        if index not in float32_nodes
        and any(types.get(name) == TensorProto.FLOAT for name in (*node.input, *node.output))
    ]
    if not chosen:
        raise EngineError(f"the network has no layer to compute in {precision}: take fp32")
    _retype(graph, set(chosen), types, half)
    return model


def fold_constants(network: ModelProto) -> ModelProto:
    """A copy whose nodes with constant inputs alone, such as the arithmetic of paddings, are constants."""
    model = ModelProto()
    model.CopyFrom(network)
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    initial, kept = set(constants), []
    for node in graph.node:
        if node.op_type not in _QUANTISATION and all(not name or name in constants for name in node.input):
            constants.update(_evaluate(node, constants, model))
        else:
            kept.append(node)
    outputs = {output.name for output in graph.output}
    used = {name for node in kept for name in node.input} | outputs
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    initializers += [
        numpy_helper.from_array(value, name)
        for name, value in constants.items()
        if name in used and name not in initial
    ]
    _replace(graph.node, kept)
    _replace(graph.initializer, initializers)
    return model


def _evaluate(node: NodeProto, constants: dict[str, NDArray], model: ModelProto) -> dict[str, NDArray]:
    """The outputs of a node whose inputs are constants."""
    inputs = [name for name in node.input if name]
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(name, _element_type(constants[name]), None) for name in inputs],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
    )
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    values = ReferenceEvaluator(alone).run(None, {name: constants[name] for name in inputs})
    return {name: np.asarray(value) for name, value in zip(node.output, values, strict=True)}


def element_types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor."""
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return {**types, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def float32_tail(graph: GraphProto) -> set[int]:
    """Nodes from the last convolution before each output on."""
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output}
    return _reached(
        (producer[output.name] for output in graph.output),
        lambda index: (
            () if graph.node[index].op_type in CONVOLUTIONS else
            (producer[name] for name in graph.node[index].input if name in producer)
        ),
    )  # fmt: skip


def _normalisation(graph: GraphProto) -> set[int]:
    """Nodes that prepare the image, pixel by pixel."""
    users: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        if node.op_type in _NORMALISATION:
            for name in node.input:
                users.setdefault(name, []).append(index)
    first = [index for value in graph.input for index in users.get(value.name, ())]
    return _reached(first, lambda index: (user for name in graph.node[index].output for user in users.get(name, ())))


def _reached(start: Iterable[int], neighbours: Callable[[int], Iterable[int]]) -> set[int]:
    """`start` and everything that can be reached from it."""
    found: set[int] = set()
    waiting = list(start)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting.extend(neighbours(index))
    return found


def _retype(graph: GraphProto, chosen: set[int], types: dict[str, int], half: int) -> None:
    """Makes the `chosen` nodes compute in `half`, with casts where they meet the others."""
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: index for index, node in enumerate(graph.node) for name in node.output}
    is_half = {name for name, index in made_by.items() if index in chosen and types.get(name) == TensorProto.FLOAT}
    added: dict[str, TensorProto] = {}
    cast: set[str] = set()
    nodes: list[NodeProto] = []
    for index, node in enumerate(graph.node):
        for position, name in enumerate(node.input):
            wants_half = index in chosen and position not in _ALWAYS_FLOAT32.get(node.op_type, ())
            if types.get(name) != TensorProto.FLOAT or wants_half == (name in is_half):
                continue
            other = f"{name}/{'half' if wants_half else 'float'}"
            node.input[position] = other
            if name in initializers:
                added[other] = _half_tensor(initializers[name], other, half)
            elif other not in cast:
                cast.add(other)
                to = half if wants_half else TensorProto.FLOAT
                nodes.append(helper.make_node("Cast", [name], [other], name=f"{other}/Cast", to=to))
        nodes.append(node)
    _replace(graph.node, nodes)
    used = {name for node in nodes for name in node.input}
    _replace(graph.initializer, [*(tensor for tensor in graph.initializer if tensor.name in used), *added.values()])
    del graph.value_info[:]  # what was inferred for float32


def _half_tensor(tensor: TensorProto, name: str, half: int) -> TensorProto:
    """A float32 constant in 16 bits; what is beyond the range of float16 becomes the largest that is not."""
    values = numpy_helper.to_array(tensor)
    if half == TensorProto.FLOAT16:
        return numpy_helper.from_array(np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16), name)
    # bfloat16 is the upper half of float32, here rounded to the nearest, ties to even.
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=values.shape, raw_data=rounded.tobytes())


def _element_type(values: NDArray) -> int:
    kind: int = helper.np_dtype_to_tensor_dtype(values.dtype)
    return kind


def _replace(field: object, items: list) -> None:
    """Replaces the contents of a repeated protobuf field."""
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]


def load_onnx(data: bytes) -> ModelProto:
    """A network from the contents of its file."""
    return onnx.load_model_from_string(data)
