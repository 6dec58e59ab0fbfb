"""Networks rewritten for 16 and 8 bits: what changes, what must not, and how far the answers are from float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from hybridnet_ros.engine.engine import shipped_engines
from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.layers import compare_layers
from hybridnet_ros.engine.onnx_engine import run_as_written
from hybridnet_ros.engine.parity import beyond, difference, first_departure, real_images, tolerances
from hybridnet_ros.engine.quantize import quantize
from hybridnet_ros.engine.typed_onnx import element_types, fold_constants, load_onnx, to_half
from tiny import tiny_network

SIZE = (736, 224)  # at which the network sees the pictures of the demo's camera
CONTRACT = {
    "image": (TensorProto.UINT8, 4),
    "depth": (TensorProto.FLOAT, 3),
    "labels": (TensorProto.UINT8, 3),
    "confidence": (TensorProto.UINT8, 3),
}


@pytest.fixture(scope="module")
def driving() -> ModelProto:
    return load_onnx(shipped_engines()["driving"].read_bytes())


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [image[np.newaxis] for image in real_images(SIZE)[::4]]


def answers(network: ModelProto, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = run_as_written(network.SerializeToString(), image)
    return found["depth"], found["labels"], found["confidence"]


def worst(network: ModelProto, other: ModelProto, images: list[np.ndarray]) -> dict[str, float]:
    differences = [difference(answers(network, image), answers(other, image)) for image in images]
    return {name: max(each[name] for each in differences) for name in differences[0]}


def contract(network: ModelProto) -> dict[str, tuple[int, int]]:
    values = (*network.graph.input, *network.graph.output)
    return {value.name: (value.type.tensor_type.elem_type, len(value.type.tensor_type.shape.dim)) for value in values}


def operators(network: ModelProto) -> set[str]:
    return {node.op_type for node in network.graph.node}


def test_folding_removes_arithmetic_on_constants_and_nothing_else(
    driving: ModelProto, images: list[np.ndarray]
) -> None:
    folded = fold_constants(driving)
    assert not operators(folded) & {"Constant", "ConstantOfShape", "Reshape"}
    # Of the image's own values: the scores of the four pixels that one of the finest map stands for.
    assert [node.op_type for node in folded.graph.node].count("Slice") == 4
    assert len(folded.graph.node) < 0.6 * len(driving.graph.node) and contract(folded) == CONTRACT
    onnx.checker.check_model(folded, full_check=True)
    for before, after in zip(answers(driving, images[0]), answers(folded, images[0]), strict=True):
        np.testing.assert_array_equal(before, after)


def test_fp16_is_within_its_tolerance_on_real_images(driving: ModelProto, images: list[np.ndarray]) -> None:
    half = to_half(driving, "fp16")
    onnx.checker.check_model(half, full_check=True)
    assert contract(half) == CONTRACT
    assert beyond(worst(driving, half, images), tolerances("fp16")) == []
    assert half.ByteSize() < 0.55 * fold_constants(driving).ByteSize()


def test_image_and_depth_stay_in_float32(driving: ModelProto) -> None:
    half = to_half(driving, "fp16")
    types = element_types(half)
    made_by = {name: node for node in half.graph.node for name in node.output}
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    in_float32 = [node.name for node in convolutions if types[node.output[0]] == TensorProto.FLOAT]
    last = ("refining_depth/predict", "upsampling/classify")
    assert sorted(in_float32) == [f"/network/{name}/Conv" for name in last]
    assert all(types[node.output[0]] == TensorProto.FLOAT16 for node in convolutions if node.name not in in_float32)
    for operator in ("Exp", "Sub", "Mul", "ReduceSum", "ArgMax", "Round"):
        for node in half.graph.node:
            if node.op_type == operator:
                assert types[node.input[0]] == TensorProto.FLOAT, node.name
    # Not one step of a 16 bit logarithm is left in the depth: what makes it is in float32 back to the convolutions.
    assert types[made_by["depth"].input[0]] == TensorProto.FLOAT


def test_bf16_has_the_same_layers_as_fp16(driving: ModelProto) -> None:
    fp16, bf16 = to_half(driving, "fp16"), to_half(driving, "bf16")
    assert [node.name for node in bf16.graph.node] == [node.name for node in fp16.graph.node]
    kinds = {tensor.name: tensor.data_type for tensor in bf16.graph.initializer}
    assert TensorProto.BFLOAT16 in kinds.values() and TensorProto.FLOAT16 not in kinds.values()
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in fold_constants(driving).graph.initializer}
    for tensor in bf16.graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            upper = np.frombuffer(tensor.raw_data, "<u2").astype(np.uint32) << 16
            value = upper.view(np.float32).reshape(tensor.dims)
            np.testing.assert_allclose(value, original[tensor.name.removesuffix("/half")], rtol=2**-8, atol=1e-38)


def test_int8_is_within_its_tolerance_on_images_it_was_not_calibrated_on(
    driving: ModelProto, images: list[np.ndarray]
) -> None:
    calibration = [image[np.newaxis] for image in real_images(SIZE)[1::3]]
    network = to_half(quantize(driving, calibration, symmetric=True), "fp16")
    onnx.checker.check_model(network, full_check=True)
    assert contract(network) == CONTRACT
    assert beyond(worst(driving, network, images), tolerances("int8")) == []
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in network.graph.initializer}
    quantised = [node for node in network.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantised) > 200
    for node in quantised:  # what TensorRT takes: 8 bits, symmetric, scales that float16 holds
        assert values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any()
        assert (values[node.input[1]] >= 2.0**-14).all()


def test_a_network_without_layers_to_convert_is_refused() -> None:
    network = tiny_network()
    [pool] = [node for node in network.graph.node if node.op_type == "AveragePool"]
    network.graph.node.remove(pool)
    for node in network.graph.node:
        if node.input[0] == "smooth":
            node.input[0] = "planes"
    with pytest.raises(EngineError, match="no layer to compute in fp16: take fp32"):
        to_half(network, "fp16")


def with_weights(network: ModelProto, name: str, factor: float) -> Iterator[TensorProto]:
    for tensor in network.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
            yield tensor


def test_the_layer_that_leaves_the_range_of_fp16_is_found() -> None:
    network = tiny_network(work=4)
    [_] = with_weights(network, "work_weight", 300.0)
    image = np.full((64, 96, 3), 255, np.uint8)
    layers = compare_layers(network.SerializeToString(), to_half(network, "fp16").SerializeToString(), image)
    assert [layer.name for layer in layers][:5] == ["depth_plane", "scores", "work_0", "work_1", "work_2"]
    departure = first_departure(layers)
    assert departure is not None and departure.operator == "Conv" and departure.non_finite > 0
    # 300 times more in each layer: 2, 600, 2e5, and the third is beyond 65504.
    assert departure.name == "work_2"


def test_layers_of_a_good_network_do_not_depart() -> None:
    network = tiny_network(work=2)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    layers = compare_layers(network.SerializeToString(), to_half(network, "fp16").SerializeToString(), image)
    assert first_departure(layers) is None
    assert max(layer.relative_error for layer in layers) < 2e-3


def test_layers_that_onnx_runtime_cannot_compute_are_left_out() -> None:
    network = tiny_network(work=1)
    image = np.zeros((64, 96, 3), np.uint8)
    assert compare_layers(network.SerializeToString(), to_half(network, "bf16").SerializeToString(), image) == []


def test_constants_beyond_the_range_of_fp16_become_the_largest() -> None:
    network = tiny_network(work=1)
    [bias] = [tensor for tensor in network.graph.initializer if tensor.name == "narrow_bias"]
    assert numpy_helper.to_array(bias) == -1e9
    half = to_half(network, "fp16")
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    assert all(np.isfinite(values).all() for values in found.values())


def test_a_constant_that_both_sides_use_is_kept_in_both() -> None:
    network = tiny_network(work=1)
    network.graph.node.append(helper.make_node("Mul", ["work_1", "white"], ["unused"]))
    half = to_half(network, "fp16")
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["white"] == TensorProto.FLOAT and kinds["white/half"] == TensorProto.FLOAT16
