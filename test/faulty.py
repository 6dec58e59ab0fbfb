"""Writes tiny engines that go wrong on bright images: nobody can see it before an image makes them do so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiny import tiny_manifest, tiny_network

GOOD, SLOW, ENDLESS = 0.5, 0.97, 1.0
"""Brightness of an image that is answered, of one that takes seconds, and of one that is never done."""
RAISES = 1.0
"""Brightness of an image on which `write_raising_engine`'s network raises."""

_BRIGHT, _BRIGHTEST = 94.0, 99.0  # metres that the tiny network sees at brightness 0.94 and 0.99
_SECONDS_OF_WORK = 10_000  # matrix products of a third of a millisecond or more


def write_raising_engine(folder: Path) -> Path:
    """The tiny engine, whose network asks for a channel that is not there when any pixel is bright."""
    network = tiny_network()
    nodes = network.graph.node
    squeeze = next(node for node in nodes if node.output[0] == "depth")
    plane = squeeze.input[0]
    nodes.remove(squeeze)
    nodes.extend(_any_pixel_brighter(plane, _BRIGHT, "bright"))
    nodes.extend(
        [
            helper.make_node("Cast", ["bright"], ["channel_index"], to=TensorProto.INT64),
            helper.make_node("Gather", [plane, "channel_index"], ["depth"], axis=1),
        ]
    )
    return _save(network, folder, "raising")


def write_stuck_engine(folder: Path) -> Path:
    """The tiny engine, which computes for seconds when a pixel is bright (SLOW), for years when one is white."""
    network = tiny_network()
    nodes = network.graph.node
    squeeze = next(node for node in nodes if node.output[0] == "depth")
    plane = squeeze.input[0]
    nodes.remove(squeeze)
    nodes.extend(_any_pixel_brighter(plane, _BRIGHT, "bright"))
    nodes.extend(_any_pixel_brighter(plane, _BRIGHTEST, "brightest"))
    float_matrix = TensorProto.FLOAT, [256, 256]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("MatMul", ["matrix", "identity"], ["product"]),
        ],
        "work",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix", *float_matrix),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("product", *float_matrix),
        ],
    )
    constants = {
        "none": np.int64(0),
        "seconds": np.int64(_SECONDS_OF_WORK),
        "years": np.int64(2**62),
        "yes": np.array(True),
        "zeros": np.zeros((256, 256), np.float32),
        "identity": np.eye(256, dtype=np.float32),
    }
    network.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    nodes.extend(
        [
            helper.make_node("Where", ["bright", "seconds", "none"], ["some_rounds"]),
            helper.make_node("Where", ["brightest", "years", "some_rounds"], ["rounds"]),
            helper.make_node("Loop", ["rounds", "yes", "zeros"], ["worked"], body=body),
            helper.make_node("ReduceMax", ["worked"], ["zero"], keepdims=0),
            helper.make_node("Add", [plane, "zero"], ["depth_worked"]),
            helper.make_node("Squeeze", ["depth_worked", "channel"], ["depth"]),
        ]
    )
    return _save(network, folder, "stuck")


def _any_pixel_brighter(plane: str, metres: float, name: str) -> list[onnx.NodeProto]:
    """Nodes that make the scalar bool `name` of the tiny network's depth plane."""
    limit = numpy_helper.from_array(np.float32(metres), f"{name}_limit")
    return [
        helper.make_node("Constant", [], [f"{name}_limit"], value=limit),
        helper.make_node("ReduceMax", [plane], [f"{name}_most"], keepdims=0),
        helper.make_node("Greater", [f"{name}_most", f"{name}_limit"], [name]),
    ]


def _save(network: onnx.ModelProto, folder: Path, name: str) -> Path:
    path = folder / f"{name}.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    return path
