"""Rewrites a float32 engine into one that computes in 8 bits, with scales measured on real images.

Only ONNX's own QuantizeLinear and DequantizeLinear are written (Q/DQ), which ONNX Runtime, OpenVINO and TensorRT fuse
into 8-bit layers. Two flavours: TensorRT takes nothing but zero points of nothing; processors multiply unsigned by
signed bytes faster, and unsigned bytes spend no code on what a ReLU has cut off.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from hybridnet_ros.engine.errors import EngineError
from hybridnet_ros.engine.typed_onnx import float32_tail

_IMAGE_CHANNELS = 4
# A processor's layer is only in 8 bits if its output is, too. Clip and Relu are named so that the quantiser takes them
# and the convolution before as one: quantising what a Clip is about to cut off costs 3 points of mIoU.
_PROCESSOR_OPERATORS = ("Conv", "Clip", "Relu", "Add", "Concat", "Resize", "AveragePool")
# TensorRT fuses an activation with what is before it by itself: it wants Q/DQ on the inputs alone.
_TENSORRT_OPERATORS = ("Conv", "Add")
_TENSORRT_OPTIONS = {
    "OpTypesToExcludeOutputQuantization": list(_TENSORRT_OPERATORS),
    # TensorRT refuses 32-bit integers there.
    "QuantizeBias": False,
    # What is not in 8 bits is in 16, the scales too: none may be below the least normal number of float16.
    "MinimumRealRange": 2 * 127 * 2.0**-14,
}


def quantize(network: ModelProto, images: Sequence[NDArray[np.uint8]], symmetric: bool) -> ModelProto:
    """The float32 `network` with int8 weights (a scale for each channel) and 8-bit activations.

    The convolutions that read the image itself stay in float32 (three channels gain nothing), and so do the last ones
    before the outputs with all that follows.

    Args:
        network: as exported.
        images: uint8 [N, H, W, 3] rgb at network sizes, of the kind that the network will see; about 50 do.
        symmetric: signed activations with zero point 0 on inputs only, as TensorRT wants them; else unsigned ones with
            any zero point on inputs and outputs, for processors.

    Raises:
        EngineError: there are no images.
    """
    if not len(images):
        raise EngineError("int8 needs real images for its scales: give a folder of pictures of the camera")
    with tempfile.TemporaryDirectory() as scratch:
        source, simple, result = (Path(scratch) / name for name in ("source.onnx", "simple.onnx", "int8.onnx"))
        onnx.save(network, source)
        with _quiet():
            # Folds constants, and paddings into their convolutions; symbolic shapes are not needed for either.
            quant_pre_process(str(source), str(simple), skip_symbolic_shape=True)
            prepared = onnx.load(str(simple))
            quantize_static(
                str(simple),
                str(result),
                _Images(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_TENSORRT_OPERATORS if symmetric else _PROCESSOR_OPERATORS),
                nodes_to_exclude=[
                    *_reading_the_image(prepared),
                    *(prepared.graph.node[index].name for index in float32_tail(prepared.graph)),
                ],
                per_channel=True,
                activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={
                    "ActivationSymmetric": symmetric,
                    "WeightSymmetric": True,
                    # The range is that of all images together. With the mean of the images' extremes, what is farther
                    # away than in most images is cut off: indoors metres beyond 4.5 came out 0.9 m too near.
                    "CalibMovingAverage": False,
                    **(_TENSORRT_OPTIONS if symmetric else {}),
                },
            )
        return _without_unused_domains(onnx.load(str(result)))


class _Images(CalibrationDataReader):
    """Hands the images to the quantiser one after the other."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next input of the network, None after the last."""
        image = next(self._images, None)
        return None if image is None else {"image": image}


def _reading_the_image(model: ModelProto) -> Iterator[str]:
    """Names of the convolutions whose input has no more channels than an image, and of what prepares it for them."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    groups = {node.name: next((a.i for a in node.attribute if a.name == "group"), 1) for node in model.graph.node}
    made_by = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Conv" and shapes[node.input[1]][1] * groups[node.name] <= _IMAGE_CHANNELS:
            yield node.name
            before = made_by.get(node.input[0])
            while before is not None:
                yield before.name
                before = made_by.get(before.input[0]) if before.input else None


def _without_unused_domains(model: ModelProto) -> ModelProto:
    """`model` without the operator sets of ONNX Runtime that it names and does not use."""
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantiser's advice, which is for those who call it, from our users."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
