"""Packed weights: what a file holds of them, and that runtimes compute what they stand for."""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from training.onnx_file import pack_weights


def network_of(nodes: list[onnx.NodeProto], shape: list[int], **values: NDArray[np.float32]) -> onnx.ModelProto:
    """From `x` of a shape to `y`."""
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def stored(network: onnx.ModelProto) -> dict[str, NDArray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in network.graph.initializer}


def run(network: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_large_convolutions_are_held_in_8_bits_with_a_scale_for_each_channel() -> None:
    rng = np.random.default_rng(3)
    # Channels a thousand times apart, and one of zeros.
    weights = rng.normal(size=(256, 256, 1, 1)).astype(np.float32) * np.geomspace(1e-3, 1, 256)[:, None, None, None]
    weights[7] = 0
    weights = weights.astype(np.float32)
    conv = onnx.helper.make_node("Conv", ["x", "weights", "bias"], ["y"])
    packed = pack_weights(network_of([conv], [1, 256, 1, 1], weights=weights, bias=np.ones(256, np.float32)))
    held = stored(packed)
    assert set(held) == {"weights/int8", "weights/scale", "bias"}
    assert held["weights/int8"].dtype == np.int8 and held["weights/scale"].shape == (256, 1, 1, 1)
    assert len(packed.SerializeToString()) < 0.3 * weights.nbytes

    rounded = held["weights/int8"] * held["weights/scale"]
    half_a_step = np.abs(weights).max((1, 2, 3)) / 254
    assert (np.abs(rounded - weights).max((1, 2, 3)) <= 1.001 * half_a_step).all()
    x = rng.normal(size=(1, 256, 1, 1)).astype(np.float32)
    expected = np.einsum("oihw,nihw->no", rounded.astype(np.float64), x) + 1
    np.testing.assert_allclose(run(packed, x)[:, :, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_small_tensors_and_what_is_no_convolutions_are_held_in_16_bits() -> None:
    rng = np.random.default_rng(4)
    small = rng.normal(size=(32, 64, 1, 1)).astype(np.float32)
    table = rng.normal(size=(1, 32, 64, 64)).astype(np.float32)  # as large, but added
    nodes = [onnx.helper.make_node("Conv", ["x", "small"], ["z"]), onnx.helper.make_node("Add", ["z", "table"], ["y"])]
    x = rng.normal(size=(1, 64, 64, 64)).astype(np.float32)
    expected = run(network_of(nodes, [1, 64, 64, 64], small=small, table=table), x)
    packed = pack_weights(network_of(nodes, [1, 64, 64, 64], small=small, table=table))
    assert {name: values.dtype for name, values in stored(packed).items()} == dict.fromkeys(
        ("small/float16", "table/float16"), np.dtype(np.float16)
    )
    np.testing.assert_allclose(run(packed, x), expected, atol=2e-2)


def test_a_table_that_a_convolution_reads_too_is_not_rounded_to_8_bits() -> None:
    both = np.random.default_rng(5).normal(size=(256, 256, 1, 1)).astype(np.float32)
    nodes = [onnx.helper.make_node("Conv", ["x", "both"], ["z"]), onnx.helper.make_node("Add", ["z", "both"], ["y"])]
    held = stored(pack_weights(network_of(nodes, [256, 256, 1, 1], both=both)))
    assert set(held) == {"both/float16"}


def test_what_16_bits_cannot_hold_and_what_is_tiny_stays() -> None:
    values = {
        "tiny": np.ones(8, np.float32),
        "kept": np.full(2048, 1e5, np.float32),
        "halved": np.ones(2048, np.float32),
    }
    network = network_of([onnx.helper.make_node("Sum", ["x", "kept", "halved"], ["y"])], [2048], **values)
    packed = pack_weights(network)
    assert set(stored(packed)) == {"tiny", "kept", "halved/float16"}
    assert (run(packed, np.zeros(2048, np.float32)) == 1e5 + 1).all()
