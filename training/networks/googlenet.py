"""GoogLeNet (Szegedy 2015) as features: the first Inception network, without its classifiers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.features import Features
from training.networks.layers import conv_bn

# Channels of 1x1 | 3x3 reduced, 3x3 | 5x5 reduced, 5x5 | pool, of each Inception layer, stage by stage (table 1 there).
_INCEPTION = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


class Inception(nn.Module):
    """Four branches side by side, concatenated."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        """`widths` as in `_INCEPTION`."""
        super().__init__()
        one, reduced3, three, reduced5, five, pooled = widths
        self.one = conv_bn(inputs, one)
        self.three = nn.Sequential(conv_bn(inputs, reduced3), conv_bn(reduced3, three, 3))
        self.five = nn.Sequential(conv_bn(inputs, reduced5), conv_bn(reduced5, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv_bn(inputs, pooled))
        self.channels = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, channels, H, W]."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], dim=1)


class GoogLeNetFeatures(Features):
    """GoogLeNet with batch normalisation in place of local response normalisation, at strides 4, 8, 16 and 32.

    With a skip decoder it is the GoogLeNetFCN of table 1, of which no description was published: a reconstruction.
    ImageNet weights are those of torchvision's googlenet.
    """

    def __init__(self, width: float = 1.0) -> None:
        """`width` scales the channels, for small machines; 1 is the published network."""
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(channels * width))

        self.stem = nn.Sequential(
            conv_bn(3, scaled(64), 7, stride=2),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            conv_bn(scaled(64), scaled(64)),
            conv_bn(scaled(64), scaled(192), 3),
        )
        inputs, channels, stages = scaled(192), [scaled(192)], []
        for rows in _INCEPTION:
            layers: list[nn.Module] = [nn.MaxPool2d(3, 2, ceil_mode=True)]
            for row in rows:
                layer = Inception(inputs, [scaled(channels) for channels in row])
                layers.append(layer)
                inputs = layer.channels
            stages.append(nn.Sequential(*layers))
            channels.append(inputs)
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = tuple(channels), (4, 8, 16, 32)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3

    def torchvision_names(self) -> dict[str, str]:
        """Torchvision's name of each tensor of ours."""
        layers = {"stem.0": "conv1", "stem.2": "conv2", "stem.3": "conv3"}
        branches = {"one": "branch1", "three.0": "branch2.0", "three.1": "branch2.1",
                    "five.0": "branch3.0", "five.1": "branch3.1", "pooled.1": "branch4.1"}  # fmt: skip
        for stage, rows in enumerate(_INCEPTION):
            for place in range(len(rows)):
                for ours, theirs in branches.items():
                    # The pooling comes first in each stage.
                    layers[f"stages.{stage}.{place + 1}.{ours}"] = f"inception{stage + 3}{'abcde'[place]}.{theirs}"
        kinds = {"0.weight": "conv.weight"} | {
            f"1.{kind}": f"bn.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")
        }
        return {f"{o}.{a}": f"{t}.{b}" for o, t in layers.items() for a, b in kinds.items()}

    def from_torchvision(self, name: str, stored: Tensor) -> Tensor:
        """Torchvision's 5x5 convolutions are 3x3; in a rim of zeros they are the same."""
        return functional.pad(stored, (1, 1, 1, 1)) if name.endswith(".five.1.0.weight") else stored

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> conv2, inception 3b, 4e and 5b."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps
