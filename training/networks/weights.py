"""Weights from local files: ImageNet classifiers for the features, earlier runs for single blocks."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.networks.features import Features, TimmFeatures

_AVERAGE = "average.module."  # in a run's checkpoint; "module" is torch's AveragedModel's


def imagenet_file(backbone: str) -> str:
    """Name of the file that `training.imagenet` writes for a timm backbone."""
    return f"{backbone}_imagenet_fp16.safetensors"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a PyTorch checkpoint (.pth, .pt) as torchvision publishes them.

    Raises:
        ValueError: the file is missing, damaged or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} holds no weights: {str(error).splitlines()[0]}") from error
    if not isinstance(stored, dict) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise ValueError(f"{path} is no plain state_dict: save model.state_dict() alone")
    return stored


def load_classifier(features: Features, path: Path) -> None:
    """Copy an ImageNet classifier's tensors into features, whatever precision they are stored in.

    A timm backbone takes a file of timm's model of the same name (torchvision's ResNets have the same names); VGG-16
    and its kin take torchvision's vgg16, GoogLeNet its googlenet.

    Raises:
        ValueError: the file is missing or damaged, or of another network; names the first tensor that does not fit.
    """
    if isinstance(features, TimmFeatures) and not path.is_file():
        name = features.backbone.pretrained_cfg["architecture"]
        raise ValueError(
            f"no ImageNet weights at {path}: python -m training.imagenet {name} --data DATA writes "
            f"DATA/weights/{imagenet_file(name)}"
        )
    target = features.backbone if isinstance(features, TimmFeatures) else features
    assert isinstance(target, nn.Module)
    names = {name: name for name in target.state_dict()}
    if target is features:
        names = features.torchvision_names()
    stored, own = read_weights(path), target.state_dict()
    for ours, theirs in names.items():
        if theirs not in stored:
            raise ValueError(f"{path} lacks '{theirs}': is it of another backbone?")
        stored[theirs] = features.from_torchvision(ours, stored[theirs])
        if stored[theirs].numel() != own[ours].numel():
            raise ValueError(f"{path}: '{theirs}' is {sides(stored[theirs])}, the network's {sides(own[ours])}")
    copied = {ours: stored[theirs].reshape(own[ours].shape).to(own[ours].dtype) for ours, theirs in names.items()}
    target.load_state_dict({**own, **copied})


def load_blocks(network: nn.Module, path: Path, blocks: Sequence[str]) -> None:
    """Copy whole blocks of another network's weights: the paper trains its depth blocks first, in a DepthNet.

    Args:
        network: that takes them over.
        path: weights of the other run, e.g. runs/depthnet/best.safetensors; of its last.safetensors the averaged ones.
        blocks: names of the blocks, e.g. global_depth and refining_depth; none means all.

    Raises:
        ValueError: a block is missing on either side, or a tensor differs in size; names the first.
    """
    stored, own = _averaged(read_weights(path)), network.state_dict()
    wanted = [name for name in own if not blocks or name.split(".")[0] in blocks]
    for block in blocks:
        for where, names in (("this network", own), (str(path), stored)):
            if not any(name.startswith(f"{block}.") for name in names):
                raise ValueError(f"{where} has no block {block}: there is {', '.join(_blocks(names))}")
    if not blocks and (extra := sorted(set(stored) - set(own))):
        raise ValueError(f"{path} has '{extra[0]}', which this network has not: name the blocks to take over")
    for name in wanted:
        if name not in stored:
            raise ValueError(f"{path} lacks '{name}': its blocks are of another kind")
        if stored[name].shape != own[name].shape:
            raise ValueError(f"{path}: '{name}' is {sides(stored[name])}, this network's {sides(own[name])}")
    network.load_state_dict({**own, **{name: stored[name] for name in wanted}})


def _averaged(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint, which holds more than one set of weights, the averaged ones; of any other file, everything."""
    found = {name.removeprefix(_AVERAGE): value for name, value in stored.items() if name.startswith(_AVERAGE)}
    return found or stored


def _blocks(names: object) -> list[str]:
    return sorted({str(name).split(".")[0] for name in names})  # type: ignore[attr-defined]


def sides(tensor: Tensor) -> str:
    """Its shape for a message, 64x3x7x7."""
    return "x".join(map(str, tensor.shape)) or "a number"
