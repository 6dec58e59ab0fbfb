"""SegNet (Badrinarayanan 2017): VGG-16's convolutions with batch normalisation, and a decoder that unpools."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.features import IMAGENET_MEAN, IMAGENET_STD, Features
from training.networks.layers import conv_bn
from training.networks.vgg import STAGES, TORCHVISION_NUMBERS


def pool_with_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Max pooling 2x2 and where each maximum was.

    The places are a one-hot code, not the indices of `max_pool2d`: unpooling by indices has no counterpart in the
    exported graph. Of equal values the first in reading order counts, as in `max_pool2d`.

    Returns:
        [N, C, H/2, W/2], and its places [N, C, 4, H/2, W/2] of the same type, 0 or 1.
    """
    corners = [x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    largest = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3]))
    places, free = [], torch.ones_like(largest)
    for corner in corners:
        here = (corner >= largest).to(x.dtype) * free
        free = free - here
        places.append(here)
    # The maximum through its place, so that gradients go to that one corner only.
    codes = torch.stack(places, dim=2).detach()
    return sum(corner * codes[:, :, index] for index, corner in enumerate(corners)), codes  # type: ignore[return-value]


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W], each value at its place and zeros around."""
    return functional.pixel_shuffle((x.unsqueeze(2) * places).flatten(1, 2), 2)


class SegNetFeatures(Features):
    """SegNet's encoder: pool2 to pool5, and behind them the places of all five pools, for SegNet's decoder only."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, width: float = 1.0) -> None:
        """`width` scales the channels, for small machines; 1 is the published network."""
        super().__init__()
        self.widths = [max(1, round(channels * width)) for channels, _ in STAGES]
        inputs = [3, *self.widths[:-1]]
        self.stages = nn.ModuleList(
            _stage([inputs[i], *[self.widths[i]] * count]) for i, (_, count) in enumerate(STAGES)
        )
        self.channels, self.strides = tuple(self.widths[1:]), (4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> four maps, then the places of five pools."""
        maps, all_places = [], []
        for stage in self.stages:
            x, places = pool_with_places(stage(x))
            maps.append(x)
            all_places.append(places)
        return [*maps[1:], *all_places]

    def torchvision_names(self) -> dict[str, str]:
        """The kernels of torchvision's vgg16; its biases are the normalisations' business here."""
        return {
            f"stages.{stage}.{index}.0.weight": f"features.{number}.weight"
            for stage, numbers in enumerate(TORCHVISION_NUMBERS)
            for index, number in enumerate(numbers)
        }


class SegNetUpsampling(nn.Module):
    """SegNet's decoder, the mirror image of its encoder.

    It ends at the image's size; its scores are the means of 2x2, as labels are decided at half that size throughout.

    Attributes:
        stride: image pixels per pixel of the scores.
    """

    stride = 2

    def __init__(self, channels: Sequence[int], first: int, classes: int) -> None:
        """`channels`: of the maps at strides 4 to 32; `first`: of the encoder's first stage."""
        super().__init__()
        widths = [first, *channels]
        stages = []
        for index in reversed(range(5)):
            count, after = STAGES[index][1], widths[max(index - 1, 0)]
            stages.append(_stage([widths[index]] * count + [after] if index else [first, first]))
        self.stages = nn.ModuleList(stages)
        self.classify = nn.Conv2d(first, classes, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """-> scores [N, classes, H / 2, W / 2]."""
        x, places = features[3], features[4:]
        for stage, where in zip(self.stages, reversed(places), strict=True):
            x = stage(unpool(x, where))
        return functional.avg_pool2d(self.classify(x), 2)


def _stage(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(conv_bn(a, b, 3) for a, b in zip(widths, widths[1:], strict=False)))
