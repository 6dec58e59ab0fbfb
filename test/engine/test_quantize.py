"""8-bit networks: where the Q/DQ nodes are, and that the answers stay what they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from hybridnet_ros.engine import Engine, EngineError, open_engine
from hybridnet_ros.engine.onnx_engine import OnnxSession
from hybridnet_ros.engine.quantize import quantize
from hybridnet_ros.engine.typed_onnx import load_onnx

ROOT = Path(__file__).resolve().parents[2]
SIZE = (384, 128)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """Real frames at a network size."""
    files = sorted((ROOT / "engines" / "images").glob("*.jpg"))[::2]
    return [cv2.resize(cv2.imread(str(file)), SIZE)[np.newaxis, :, :, ::-1].copy() for file in files]


@pytest.fixture(scope="module", params=[True, False], ids=["symmetric", "unsigned"])
def quantized(request: pytest.FixtureRequest, images: list[NDArray[np.uint8]]) -> tuple[bool, ModelProto]:
    network = load_onnx((ROOT / "engines" / "hybridnet_driving.onnx").read_bytes())
    return request.param, quantize(network, images[:3], symmetric=request.param)


def made_by(model: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def in_8_bits(model: ModelProto) -> Iterator[tuple[NodeProto, bool]]:
    """Each convolution, and whether its weights are in 8 bits; then its input is, too."""
    producers = made_by(model)
    for node in model.graph.node:
        if node.op_type == "Conv":
            image, weights = (
                name in producers and producers[name].op_type == "DequantizeLinear" for name in node.input[:2]
            )
            assert image or not weights, f"{node.name} is half in 8 bits"
            yield node, weights


def test_all_but_the_first_and_the_last_convolutions_are_in_8_bits(quantized: tuple[bool, ModelProto]) -> None:
    _, model = quantized
    in_float = {node.name for node, eight_bits in in_8_bits(model) if not eight_bits}
    assert sum(eight_bits for _, eight_bits in in_8_bits(model)) > 70
    assert all("stem" in name or "predict" in name or "classify" in name or "image.0" in name for name in in_float)
    assert any("refining_depth/predict" in name for name in in_float)
    assert any("classify" in name for name in in_float)
    assert any("conv_stem" in name for name in in_float)


def test_weights_are_signed_and_have_a_scale_for_each_channel(quantized: tuple[bool, ModelProto]) -> None:
    _, model = quantized
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = made_by(model)
    for node, eight_bits in in_8_bits(model):
        if eight_bits:
            weights, scale, _ = (constants[name] for name in producers[node.input[1]].input)
            assert weights.data_type == TensorProto.INT8
            assert list(scale.dims) == [weights.dims[0]]


def test_tensorrt_gets_signed_activations_around_zero_and_only_on_inputs(quantized: tuple[bool, ModelProto]) -> None:
    symmetric, model = quantized
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zeros = [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(zeros) > 50
    assert {zero.dtype.name for zero in zeros} == {"int8" if symmetric else "uint8"}
    if symmetric:
        assert not any(zero.any() for zero in zeros)
        # What an activation cuts off is never quantised before it.
        activations = {node.input[0] for node in model.graph.node if node.op_type in ("Clip", "Relu")}
        assert not activations & {name for name, node in made_by(model).items() if node.op_type == "DequantizeLinear"}


def test_nothing_is_in_the_file_but_onnx(quantized: tuple[bool, ModelProto]) -> None:
    _, model = quantized
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert [(entry.domain, entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [
        ("", 17)
    ]


def test_answers_stay_close_to_those_of_float32(
    quantized: tuple[bool, ModelProto], images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    _, model = quantized
    session = OnnxSession(model.SerializeToString(), tmp_path, "onnx_cpu", 2)
    with open_engine("driving", "onnx_cpu") as reference, Engine(reference.manifest, session) as candidate:
        expected, found = reference.predict(images[3]), candidate.predict(images[3])
    sure = expected.confidence >= 128  # of 255; elsewhere two classes are near one another and either may win
    assert sure.mean() > 0.5
    assert np.mean((expected.labels != found.labels)[sure]) < 0.1
    assert np.mean(np.abs(found.depth - expected.depth) / expected.depth) < 0.08


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_few_of_the_images_have_is_not_cut_off(
    symmetric: bool, images: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    walls = [np.full_like(images[0], gray) for gray in range(40, 200, 20)]  # where nothing is far away
    network = load_onnx((ROOT / "engines" / "hybridnet_driving.onnx").read_bytes())

    def error(seen: list[NDArray[np.uint8]]) -> float:
        session = OnnxSession(quantize(network, seen, symmetric).SerializeToString(), tmp_path, "onnx_cpu", 2)
        with open_engine("driving", "onnx_cpu") as reference, Engine(reference.manifest, session) as candidate:
            expected, found = reference.predict(images[0]).depth, candidate.predict(images[0]).depth
        return float(np.mean(np.abs(found - expected) / expected))

    # With the mean of the images' extremes in place of the whole range it is 1.6 and 2.2 times as large.
    assert error([images[0], *walls]) < 1.25 * error(images[:1])


def test_without_images_there_are_no_scales() -> None:
    network = load_onnx((ROOT / "engines" / "hybridnet_driving.onnx").read_bytes())
    with pytest.raises(EngineError, match="real images"):
        quantize(network, [], symmetric=True)
