"""Small layers that several blocks share."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution that keeps the size (divided by `stride`), batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def conv_relu(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 0, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution with bias, ReLU: what networks were made of before batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(bias_of(conv))
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def separable_conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Depthwise convolution for the neighbourhood, pointwise for the channels."""
    return nn.Sequential(
        conv_bn(inputs, inputs, kernel, stride, groups=inputs, dilation=dilation),
        conv_bn(inputs, outputs),
    )


def bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """The bias of a layer that was made with one."""
    assert layer.bias is not None
    return layer.bias


def upsample(x: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling by a whole factor.

    A factor, not a size: it is exported as a Resize with constant scales, which every version of TensorRT takes.
    """
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)


def upsample_to(x: Tensor, factor: int, like: Tensor) -> Tensor:
    """As `upsample`, and where the image's side is no multiple of the strides, to the very size of `like`."""
    if not torch.jit.is_tracing() and x.shape[-2:] != like.shape[-2:]:
        return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return upsample(x, factor)


class GlobalContext(nn.Module):
    """Mean of the whole map, through a 1x1 convolution, added to every pixel. Any input size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Map `inputs` channels to `outputs` channels."""
        super().__init__()
        # No batch normalisation: its input is one pixel an image, so batches of one image could not be trained.
        self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, 1, 1], to be broadcast."""
        return self.project(torch.mean(x, dim=(2, 3), keepdim=True))
