"""`global_depth`: the coarse depth of the whole scene, the layout that only depth needs, from a network of its own."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from training.networks.features import TimmFeatures
from training.networks.layers import GlobalContext, conv_bn, separable_conv, upsample


class ConvolutionalGlobalDepth(nn.Module):
    """A fully convolutional global branch: any input size, no fully connected layer.

    It looks at the image at half its size, through the early stages of a backbone of its own (the published network
    starts its branch from AlexNet's ImageNet weights), widens its view by dilated convolutions and the mean of the
    whole map, and predicts log depth.

    Attributes:
        stride: image pixels per pixel of the predicted map.
    """

    def __init__(
        self, backbone: str, channels: int = 96, dilations: Sequence[int] = (1, 2, 4), weights: Path | None = None
    ) -> None:
        """`backbone` is a timm name; its maps at strides 8 and 16 of the halved image are used."""
        super().__init__()
        self.trunk = TimmFeatures(backbone, strides=(8, 16), weights=weights)
        fine, coarse = self.trunk.channels
        self.reduce = conv_bn(coarse, channels)
        self.context = GlobalContext(channels, channels)
        self.branches = nn.ModuleList(separable_conv(channels, channels, dilation=d) for d in dilations)
        self.lateral = conv_bn(fine, channels)
        self.fuse = separable_conv(channels, channels)
        self.predict = nn.Conv2d(channels, 1, 3, padding=1)
        self.stride = 16

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image [N, 3, H, W] -> log depth [N, 1, H / 16, W / 16]."""
        fine, coarse = self.trunk(functional.avg_pool2d(image, 2))
        x = self.reduce(coarse)
        x = x + self.context(x)
        for branch in self.branches:
            x = x + branch(x)
        x = upsample(x, 2) + self.lateral(fine)
        return self.predict(self.fuse(x))
