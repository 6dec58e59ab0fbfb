"""Makes the stand-in engine of `hybridnet benchmark node`: a network in form only, which takes next to no time.

    python scripts/make_stand_in_engine.py hybridnet_ros/benchmark

It goes the whole road of an engine (manifest, ONNX Runtime, resizing there and back) and computes almost nothing, so
that what is measured is the node. Its depth, labels and confidence are the image's blue, red and green: they mean
nothing. Needs the package onnx.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hybridnet_ros.engine.manifest import DataSource, InputSpec, Manifest, Parity, TrainingRecord
from hybridnet_ros.scene.labels import LabelSet

NAME = "stand_in"
# The size that the shipped driving network has, so that the images are resized as for that one.
SIZE = InputSpec(height=224, width=768, multiple=32, pixels=768 * 224)


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    path = parser.parse_args().folder / f"{NAME}.onnx"
    onnx.save(network(), str(path))
    manifest(path).save(path.with_suffix(".json"))


def network() -> onnx.ModelProto:
    """Depth = 1 + blue / 4 metres; labels = red / 128, so 0 or 1; confidence = green."""
    constants = {
        "red": np.array(0, np.int64),
        "green": np.array(1, np.int64),
        "blue": np.array(2, np.int64),
        "seven": np.array(7, np.uint8),
        "quarter": np.array(0.25, np.float32),
        "one": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["image", "red"], ["red_plane"], axis=3),
        helper.make_node("BitShift", ["red_plane", "seven"], ["labels"], direction="RIGHT"),
        helper.make_node("Gather", ["image", "green"], ["confidence"], axis=3),
        helper.make_node("Gather", ["image", "blue"], ["blue_plane"], axis=3),
        helper.make_node("Cast", ["blue_plane"], ["blue_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["blue_float", "quarter"], ["scaled"]),
        helper.make_node("Add", ["scaled", "one"], ["depth"]),
    ]
    kinds = {"depth": TensorProto.FLOAT, "labels": TensorProto.UINT8, "confidence": TensorProto.UINT8}
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info(name, kind, ["N", "H", "W"]) for name, kind in kinds.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # Old enough for every ONNX Runtime that Python 3.10 can install.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def manifest(path: Path) -> Manifest:
    """The manifest that belongs to the ONNX file at `path`."""
    return Manifest(
        network=NAME,
        onnx=path.name,
        onnx_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        labels=LabelSet(name="stand_in2", names=("dark", "sky"), colors=((0, 0, 0), (70, 130, 180)), ids=(0, 23)),
        input=SIZE,
        fx=446.0,
        depth_range=(1.0, 64.75),
        beyond=("sky",),
        training=TrainingRecord(
            data=(DataSource(name="none", licence="CC0-1.0", source="made by hand", use="nothing"),),
            commit="0" * 40,
            seed=0,
            steps=0,
            recipe="no network: a stand-in that takes no time",
        ),
        licence="Apache-2.0",
        accuracy=(),
        parity=Parity(images=1, measured={"labels_agreement": 1.0}, tolerances={"labels_agreement": 0.99}),
    )


if __name__ == "__main__":
    main()
