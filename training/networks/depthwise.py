"""Depthwise convolutions in float32 within bfloat16 training, where that is the faster way: on CPUs.

oneDNN computes a depthwise convolution in bfloat16 fast forward and slowly backward: the gradients took half the time
of EfficientNet-Lite's training step, 2 to 6 times as long as in float32 (PyTorch 2.13, AMD EPYC with AVX-512 BF16).
"""

import torch
from torch import Tensor, nn

from training.networks._timm import Conv2dSame


def depthwise_in_float32(network: nn.Module) -> None:
    """Make the depthwise convolutions of `network` compute in float32 under autocast, in place.

    Names and tensors stay as they are, and a layer gives the dtype that it gets.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.__class__ = _WIDE.get(type(module), type(module))


class _InFloat32(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)


class _DepthwiseConv2d(_InFloat32):
    pass


class _DepthwiseConv2dSame(_InFloat32, Conv2dSame):
    pass


_WIDE: dict[type, type] = {nn.Conv2d: _DepthwiseConv2d, Conv2dSame: _DepthwiseConv2dSame}
