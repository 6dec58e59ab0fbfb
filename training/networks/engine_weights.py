"""Weights from an engine's file, so that a network that comes as ONNX alone can learn on.

An exported network has no batch normalisation: what it does to a channel is part of the convolution before it. That
convolution's weights are taken over, and the normalisation is made anew from what the convolution says on training
images, so that both together say what the engine says, and batches are normalised again while it learns.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hybridnet_ros.engine.typed_onnx import fold_constants
from training.networks.weights import sides

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
_NETWORK = "network"  # what EngineGraph calls it: names of nodes begin with it
_OPERATORS = ("Conv", "ConvTranspose", "Gemm")  # what they are exported as; Gemm has weights [out, in] with transB
# A channel that says nearly the same everywhere is left as it is: normalised, it would be noise.
_LEAST_VARIANCE = 1e-6


class _Stored(NamedTuple):
    """A layer in the file, in the block that the name of its node says."""

    block: str
    weight: Tensor
    bias: Tensor | None


@dataclass
class _Layer:
    """A layer of the network that has weights, and the batch normalisation that reads it, if one does."""

    name: str
    module: Any
    norm: _BatchNorm | None = None

    @property
    def block(self) -> str:
        return self.name.split(".")[0]


def load_engine(network: nn.Module, path: Path, blocks: Sequence[str], batches: Sequence[Tensor]) -> None:
    """Take over the weights of an engine, or of some of its blocks, in place.

    Args:
        network: of the engine's kind: layers go by the order in which they run.
        path: the float32 engine's .onnx file.
        blocks: names of the blocks, e.g. features; none means all.
        batches: training images uint8 [N, H, W, 3], for the statistics of batch normalisation.

    Raises:
        ValueError: the file cannot be read, is in 8 bits, or is of another network; names the first layer that differs.
    """
    stored = _read(path)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            layers = _layers_as_run(network, batches[0][:1])
            if len({id(layer.module) for layer in layers}) != len(layers):
                raise ValueError("this network runs a layer more than once: start from a run's weights")
            for where, found in (("this network", layers), (str(path), stored)):
                there = {each.block for each in found}
                if missing := set(blocks) - there:
                    raise ValueError(f"{where} has no block {min(missing)}: there is {', '.join(sorted(there))}")
            layers = [layer for layer in layers if not blocks or layer.block in blocks]
            stored = [layer for layer in stored if not blocks or layer.block in blocks]
            if [layer.block for layer in layers] != [layer.block for layer in stored]:
                raise ValueError(
                    f"{path} has {len(stored)} layers with weights, this network {len(layers)}, or in other blocks: "
                    "is it of another recipe?"
                )
            _expect_all_known(network, layers, blocks)
            for layer, values in zip(layers, stored, strict=True):
                _take(layer, values, path)
            _normalise_anew(network, [layer for layer in layers if layer.norm is not None], batches)
    finally:
        network.train(training)


def _read(path: Path) -> list[_Stored]:
    try:
        graph = fold_constants(onnx.load(path)).graph
    except (OSError, DecodeError) as error:
        raise ValueError(f"cannot read the engine {path}: {error}") from error
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type not in _OPERATORS:
            continue
        if node.op_type == "Gemm" and not any(each.name == "transB" and each.i for each in node.attribute):
            raise ValueError(f"{path} has '{node.name}', which PyTorch does not export so: start from a run's weights")
        if node.input[1] not in constants:
            raise ValueError(f"{path} has '{node.name}' in 8 bits: take the float32 engine that it was made from")
        weight, *bias = (torch.from_numpy(numpy_helper.to_array(constants[name]).copy()) for name in node.input[1:])
        block = node.name.removeprefix(f"/{_NETWORK}/").split("/")[0]
        found.append(_Stored(block, weight, bias[0] if bias else None))
    return found


def _layers_as_run(network: nn.Module, image: Tensor) -> list[_Layer]:
    """The layers with weights in the order in which they run, which is that of the nodes of an exported graph."""
    layers: list[_Layer] = []
    made: list[Tensor] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Tensor) -> None:
            layers.append(_Layer(name, module))
            made.append(output)

        return hook

    def normalised(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        for layer, output in zip(layers, made, strict=True):
            if output is inputs[0]:
                layer.norm = module  # type: ignore[assignment]

    handles = [
        module.register_forward_hook(note(name))
        for name, module in network.named_modules()
        if isinstance(module, _LAYERS)
    ]
    handles += [
        module.register_forward_pre_hook(normalised) for module in network.modules() if isinstance(module, _BatchNorm)
    ]
    try:
        network(image)
    finally:
        for handle in handles:
            handle.remove()
    return layers


def _expect_all_known(network: nn.Module, layers: Sequence[_Layer], blocks: Sequence[str]) -> None:
    """ValueError names a parameter that is in no layer, so that the file cannot have it."""
    known = {id(tensor) for layer in layers for tensor in (layer.module.weight, layer.module.bias)}
    known |= {id(tensor) for layer in layers if layer.norm is not None for tensor in layer.norm.parameters()}
    for name, tensor in network.named_parameters():
        if id(tensor) not in known and (not blocks or name.split(".")[0] in blocks):
            raise ValueError(f"an engine's file does not hold '{name}' as it was trained: start from a run's weights")


def _take(layer: _Layer, stored: _Stored, path: Path) -> None:
    """The layer as it is in the file; its normalisation only adds the bias."""
    weight = layer.module.weight
    if stored.weight.shape != weight.shape:
        raise ValueError(
            f"{path}: '{layer.name}' is {sides(stored.weight)}, this network's {sides(weight)}: is it of another "
            "recipe, or of other classes? Blocks that fit are taken over by name"
        )
    weight.copy_(stored.weight)
    bias = torch.zeros(_outputs(layer.module)) if stored.bias is None else stored.bias
    norm = layer.norm
    if norm is None:
        if layer.module.bias is not None:
            layer.module.bias.copy_(bias)
        elif stored.bias is not None:
            raise ValueError(f"{path}: '{layer.name}' has a bias, this network's has none: is it of another recipe?")
        return
    if layer.module.bias is not None:
        layer.module.bias.zero_()
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(bias)


def _normalise_anew(network: nn.Module, layers: Sequence[_Layer], batches: Iterable[Tensor]) -> None:
    """Mean and variance of what the layers say, 0 and 1 after it: the engine's scale and bias become the norm's own."""
    with _moments(layers) as moments:
        for images in batches:
            network(images)
    for layer, (count, total, squares) in zip(layers, moments, strict=True):
        norm: Any = layer.norm
        mean = total / count
        variance = squares / count - mean.square()
        scale = torch.where(variance > _LEAST_VARIANCE, variance.clamp_min(_LEAST_VARIANCE).sqrt(), 1.0)
        along = (-1,) + (1,) * (layer.module.weight.ndim - 1)
        layer.module.weight.div_(scale.to(layer.module.weight.dtype).view(along))
        norm.running_mean.copy_(mean / scale)
        norm.running_var.copy_(variance.clamp_min(0) / scale.square())
        norm.weight.copy_(scale * (norm.running_var + norm.eps).sqrt())
        norm.bias.add_(mean)


@contextmanager
def _moments(layers: Sequence[_Layer]) -> Iterator[list[tuple[int, Tensor, Tensor]]]:
    """While it is open, number, sum and sum of squares of what each layer says are added up, channel by channel."""
    sums: list[tuple[int, Tensor, Tensor]] = []
    handles = []
    for index, layer in enumerate(layers):
        zeros = torch.zeros(_outputs(layer.module), dtype=torch.float64, device=layer.module.weight.device)
        sums.append((0, zeros, zeros.clone()))

        def add(_: nn.Module, __: Any, output: Tensor, index: int = index) -> None:
            values = output.double()
            count, total, squares = sums[index]
            sums[index] = (
                count + values.numel() // values.shape[1],
                total + values.sum((0, 2, 3)),
                squares + values.square().sum((0, 2, 3)),
            )

        handles.append(layer.module.register_forward_hook(add))
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _outputs(module: Any) -> int:
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)
