"""`global_depth`: the coarse depth of the whole scene, the layout that only depth needs, from a network of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.features import TimmFeatures
from training.networks.layers import GlobalContext, bias_of, conv_bn, separable_conv, upsample


class ConvolutionalGlobalDepth(nn.Module):
    """A fully convolutional global branch: any input size, no fully connected layer.

    It looks at the image at half its size, through the early stages of a backbone of its own (the published network
    starts its branch from AlexNet's ImageNet weights), widens its view by dilated convolutions and the mean of the
    whole map, and predicts depth.

    Attributes:
        stride: image pixels per pixel of the predicted map.
        trunk: the backbone; its `prune` is called once weights are loaded.
    """

    stride = 16

    def __init__(self, backbone: str, channels: int = 96, dilations: Sequence[int] = (1, 2, 4)) -> None:
        """`backbone` is a timm name; its maps at strides 8 and 16 of the halved image are used."""
        super().__init__()
        self.trunk = TimmFeatures(backbone, strides=(8, 16))
        fine, coarse = self.trunk.channels
        self.reduce = conv_bn(coarse, channels)
        self.context = GlobalContext(channels, channels)
        self.branches = nn.ModuleList(separable_conv(channels, channels, dilation=d) for d in dilations)
        self.lateral = conv_bn(fine, channels)
        self.fuse = separable_conv(channels, channels)
        self.predict = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image [N, 3, H, W] -> depth, in the network's code, [N, 1, H / 16, W / 16]."""
        fine, coarse = self.trunk(functional.avg_pool2d(image, 2))
        x = self.reduce(coarse)
        x = x + self.context(x)
        for branch in self.branches:
            x = x + branch(x)
        x = upsample(x, 2) + self.lateral(fine)
        return self.predict(self.fuse(x))


class DepthNetGlobalDepth(nn.Module):
    """DepthNet's global network: AlexNet's convolutions, and two fully connected layers that see the whole scene.

    Its fully connected layers are made for one size of image, and images of any other size are resized to it: the
    layout of a scene is in the whole picture, whatever its shape.

    Attributes:
        stride: image pixels per pixel of the predicted map.
    """

    stride = 8

    def __init__(self, size: tuple[int, int], width: float = 1.0) -> None:
        """`size` (height, width) px of the images; `width` scales the channels, 1 is the published network."""
        super().__init__()
        a, b, c, main = (max(2, round(n * width / 2) * 2) for n in (96, 256, 384, 1024))
        self.size = size
        self.map_size = (size[0] // 8, size[1] // 8)
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, a, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Conv2d(a, b, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, c, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(c, b, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(bias_of(layer))
        pooled = _pooled(size[0]) * _pooled(size[1]) * b
        self.main = nn.Sequential(nn.Linear(pooled, main), nn.ReLU(inplace=True), nn.Dropout(0.5))
        self.predict = nn.Linear(main, self.map_size[0] * self.map_size[1])
        nn.init.normal_(self.predict.weight, std=0.001)

    def forward(self, image: Tensor) -> Tensor:
        """Normalised image [N, 3, H, W] -> depth, in the network's code, [N, 1, H / 8, W / 8], rounded down."""
        height, width = image.shape[-2:]
        # When exported, always: the graph takes any size.
        resized = torch.jit.is_tracing() or (height, width) != self.size
        if resized:
            image = functional.interpolate(image, size=self.size, mode="bilinear", align_corners=False)
        depth = self.predict(self.main(self.convolutions(image).flatten(1)))
        depth = depth.unflatten(1, (1, *self.map_size))
        if resized:
            depth = functional.interpolate(depth, size=(height // 8, width // 8), mode="bilinear", align_corners=False)
        return depth


def _pooled(side: int) -> int:
    """Side of pool5: a convolution of 11 with stride 4, then two poolings of 3 with stride 2 that round up."""
    side = (side - 11) // 4 + 1
    for _ in range(2):
        side = -(-(side - 3) // 2) + 1
    return side
