"""`upsampling`: from the shared features to class scores, one channel a label."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.layers import GlobalContext, bias_of, conv_bn, conv_relu, separable_conv, upsample


class LightAspp(nn.Module):
    """DeepLab's atrous spatial pyramid with summed branches, made light, and a decoder up to the finest map.

    The branches are depthwise separable and run at the second coarsest map; the map's mean stands for the largest
    dilation. Scores come at twice the size of the finest map, four to a pixel of it (sub-pixel convolution, Shi 2016):
    poles and signs are narrower than one.

    Attributes:
        stride: image pixels per pixel of the scores.
        subpixels: rows and columns of scores that are packed into the channels of one pixel.
    """

    subpixels = 2

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        width: int = 128,
        rates: Sequence[int] = (1, 3, 6, 9),
        dropout: float = 0.1,
    ) -> None:
        """`channels` and `strides` of the four shared maps, finest first."""
        super().__init__()
        at4, at8, at16, at32 = channels
        self.factors = tuple(coarse // fine for fine, coarse in zip(strides, strides[1:], strict=False))
        self.lateral32 = conv_bn(at32, width)
        self.lateral16 = conv_bn(at16, width)
        self.branches = nn.ModuleList(separable_conv(width, width, dilation=rate) for rate in rates)
        self.context = GlobalContext(width, width)
        self.reduce8 = conv_bn(width, width // 2)
        self.lateral8 = conv_bn(at8, width // 2)
        self.smooth8 = separable_conv(width // 2, width // 2)
        self.lateral4 = conv_bn(at4, width // 2)
        self.smooth4 = separable_conv(width // 2, width // 2)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width // 2, self.subpixels**2 * classes, 1)
        self.stride = strides[0] // self.subpixels

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """-> scores, packed as for torch's pixel_shuffle, [N, 4 * classes, H / (2 * stride), W / (2 * stride)]."""
        at4, at8, at16, at32 = features[:4]
        to4, to8, to16 = self.factors
        x = self.lateral16(at16) + upsample(self.lateral32(at32), to16)
        x = self.context(x) + sum(branch(x) for branch in self.branches)
        x = self.smooth8(self.lateral8(at8) + upsample(self.reduce8(x), to8))
        x = self.smooth4(self.lateral4(at4) + upsample(x, to4))
        return self.classify(self.dropout(x))


class DeepLabAspp(nn.Module):
    """DeepLab-v2's atrous spatial pyramid on the coarsest map: four branches, whose class scores are summed.

    Attributes:
        stride: image pixels per pixel of the scores.
    """

    def __init__(
        self, inputs: int, stride: int, classes: int, hidden: int = 1024, rates: Sequence[int] = (6, 12, 18, 24)
    ) -> None:
        """`inputs`: channels of the map; `hidden`: of fc6 and fc7, 1024 as published."""
        super().__init__()
        self.branches = nn.ModuleList(_aspp_branch(inputs, hidden, classes, rate) for rate in rates)
        self.stride = stride

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """-> scores [N, classes, H / stride, W / stride]."""
        x = features[3]
        scores = self.branches[0](x)
        for branch in self.branches[1:]:
            scores = scores + branch(x)
        return scores


def _aspp_branch(inputs: int, hidden: int, classes: int, rate: int) -> nn.Sequential:
    """fc6, fc7 and fc8 with their dropouts."""
    classify = nn.Conv2d(hidden, classes, 1)
    nn.init.normal_(classify.weight, std=0.01)
    nn.init.zeros_(bias_of(classify))
    return nn.Sequential(
        conv_relu(inputs, hidden, 3, padding=rate, dilation=rate),
        nn.Dropout(0.5),
        conv_relu(hidden, hidden, 1),
        nn.Dropout(0.5),
        classify,
    )


class SkipDecoder(nn.Module):
    """FCN-8s' decoder (Long 2015): scores of three maps, each doubled by a learnt interpolation and added to the next.

    It wants maps at strides 8, 16 and 32 behind the finest.
    """

    stride = 8

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        """`channels` of the four shared maps, finest first."""
        super().__init__()
        self.score8, self.score16, self.score32 = (nn.Conv2d(inputs, classes, 1) for inputs in channels[1:])
        for score in (self.score8, self.score16, self.score32):
            nn.init.zeros_(score.weight)
            nn.init.zeros_(bias_of(score))
        self.double32, self.double16 = _doubling(classes), _doubling(classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """-> scores [N, classes, H / 8, W / 8]."""
        at8, at16, at32 = features[1:4]
        x = self.double32(self.score32(at32)) + self.score16(at16)
        return self.double16(x) + self.score8(at8)


def _doubling(classes: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear interpolation, class by class."""
    layer = nn.ConvTranspose2d(classes, classes, 4, stride=2, padding=1, bias=False)
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.zero_()
        for index in range(classes):
            layer.weight[index, index] = line[:, None] * line
    return layer
