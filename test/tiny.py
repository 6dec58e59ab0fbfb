"""Writes a tiny but real engine, ONNX and manifest, whose answers can be worked out by hand.

Depth and label follow the brightness b (0 to 1, a 3x3 mean over the channels' mean) of each pixel:
depth = 1 + 99 b metres at a focal length of 80 px, and the label is road (b < 1/3), car or sky (b > 2/3).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hybridnet_ros.engine.manifest import Accuracy, DataSource, InputSpec, Manifest, Parity, TrainingRecord
from hybridnet_ros.scene.labels import LabelSet

TINY_LABELS = LabelSet(
    name="tiny3", names=("road", "car", "sky"), colors=((128, 64, 128), (0, 0, 142), (70, 130, 180)), ids=(7, 26, 23)
)
TINY_FX = 80.0
TINY_WIDTH, TINY_HEIGHT = 96, 64


def write_tiny_engine(folder: Path, name: str = "tiny", work: int = 0) -> Path:
    """Writes `<name>.onnx` and `<name>.json` into `folder` and returns the path of the ONNX file.

    `work` makes it slow: that many extra 3x3 convolutions over 32 channels, each a few ms at the tiny training size.
    """
    path = Path(folder) / f"{name}.onnx"
    onnx.save(tiny_network(work), str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    return path


def write_fragile_engine(folder: Path) -> Path:
    """An engine that runs at 96 x 64 px and fails at every other size, which nobody can see before."""
    path = folder / "fragile.onnx"
    network = tiny_network()
    for node in network.graph.node:
        if node.output[0] == "depth":
            node.output[0] = "any_depth"
    network.graph.initializer.append(numpy_helper.from_array(np.array([1, 64, 96]), "only_size"))
    network.graph.node.extend(
        [
            helper.make_node("Shape", ["any_depth"], ["shape"]),
            helper.make_node("Sub", ["shape", "shape"], ["zero"]),
            helper.make_node("Add", ["only_size", "zero"], ["size"]),
            helper.make_node("Reshape", ["any_depth", "size"], ["depth"]),
        ]
    )
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    return path


def tiny_manifest(path: Path) -> Manifest:
    """The manifest that belongs to the ONNX file at `path`."""
    return Manifest(
        network="tiny",
        onnx=path.name,
        onnx_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        labels=TINY_LABELS,
        input=InputSpec(height=TINY_HEIGHT, width=TINY_WIDTH, multiple=32, pixels=TINY_WIDTH * TINY_HEIGHT),
        fx=TINY_FX,
        depth_range=(1.0, 100.0),
        beyond=("sky",),
        training=TrainingRecord(
            data=(DataSource(name="none", licence="CC0-1.0", source="made by hand", use="nothing"),),
            commit="0" * 40,
            seed=0,
            steps=0,
            recipe="weights set by hand",
        ),
        licence="Apache-2.0",
        accuracy=(Accuracy(dataset="none", metric="mIoU", value=0.5, command="none"),),
        parity=Parity(images=1, measured={"labels_agreement": 1.0}, tolerances={"labels_agreement": 0.99}),
    )


def tiny_network(work: int = 0) -> onnx.ModelProto:
    """The ONNX network described at the top of this file, following the contract of an engine."""
    centres = (np.arange(len(TINY_LABELS)) + 0.5) / len(TINY_LABELS)
    sharpness = 200.0
    constants = {
        # 1x1 convolutions on 0..255 channels: one for the depth, one for a score -(b - centre)^2 a class (less b^2).
        "depth_weight": np.full((1, 3, 1, 1), 99 / 255 / 3),
        "depth_bias": np.ones(1),
        "score_weight": np.repeat((2 * sharpness * centres / 255 / 3)[:, None], 3, 1)[..., None, None],
        "score_bias": -sharpness * centres**2,
        "white": np.array(255.0),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["smooth"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["smooth", "depth_weight", "depth_bias"], ["depth_plane"]),
        helper.make_node("Conv", ["smooth", "score_weight", "score_bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["probabilities"], ["best"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["best", "white"], ["best_255"]),
        helper.make_node("Round", ["best_255"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["confidence"], to=TensorProto.UINT8),
        helper.make_node("ArgMax", ["scores"], ["winner"], axis=1, keepdims=0),
        # Through float32: TensorRT 8.6 casts to uint8 from floating point only.
        helper.make_node("Cast", ["winner"], ["winner_float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["winner_float"], ["labels"], to=TensorProto.UINT8),
    ]
    plane = "depth_plane"
    if work:
        # Computed at run time and worth nothing: Relu of -1e9 is 0, which no optimiser can know beforehand.
        constants["widen"] = np.full((32, 3, 1, 1), 1 / 255)
        nodes.append(helper.make_node("Conv", ["smooth", "widen"], ["work_0"]))
        constants["work_weight"] = np.full((32, 32, 3, 3), 1 / 32 / 9)
        for step in range(work):
            nodes.append(
                helper.make_node("Conv", [f"work_{step}", "work_weight"], [f"work_{step + 1}"], pads=[1, 1, 1, 1])
            )
        constants["narrow"], constants["narrow_bias"] = np.ones((1, 32, 1, 1)), np.full(1, -1e9)
        nodes += [
            helper.make_node("Conv", [f"work_{work}", "narrow", "narrow_bias"], ["worked"]),
            helper.make_node("Relu", ["worked"], ["nothing"]),
            helper.make_node("Add", [plane, "nothing"], ["depth_worked"]),
        ]
        plane = "depth_worked"
    constants["channel"] = np.array([1])
    nodes.append(helper.make_node("Squeeze", [plane, "channel"], ["depth"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info(name, kind, ["N", "H", "W"])
            for name, kind in (
                ("depth", TensorProto.FLOAT),
                ("labels", TensorProto.UINT8),
                ("confidence", TensorProto.UINT8),
            )
        ],
        [
            numpy_helper.from_array(value.astype(np.int64 if value.dtype.kind == "i" else np.float32), name)
            for name, value in constants.items()
        ],
    )
    # Old enough for every ONNX Runtime that Python 3.10 can install.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
