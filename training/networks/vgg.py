"""VGG-16 as features: as DeepLab modified it (the paper's), and as FCN-8s turned it into convolutions."""

from torch import Tensor, nn

from training.networks.features import IMAGENET_MEAN, IMAGENET_STD, Features
from training.networks.layers import conv_relu

# (channels, convolutions) of VGG-16's five stages.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# Where torchvision's vgg16 keeps these convolutions: numbers in its `features`.
TORCHVISION_NUMBERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))


def vgg_stage(inputs: int, outputs: int, count: int, dilation: int = 1) -> nn.Sequential:
    """`count` convolutions 3x3 that keep the size, each with ReLU."""
    return nn.Sequential(
        *(
            conv_relu(inputs if index == 0 else outputs, outputs, padding=dilation, dilation=dilation)
            for index in range(count)
        )
    )


class _Vgg16(Features):
    """The five convolutional stages and the names that torchvision's checkpoint has for them."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, width: float, last_dilation: int) -> None:
        super().__init__()
        self.widths = [max(1, round(channels * width)) for channels, _ in STAGES]
        inputs = [3, *self.widths[:-1]]
        self.stages = nn.ModuleList(
            vgg_stage(inputs[i], self.widths[i], count, last_dilation if i == 4 else 1)
            for i, (_, count) in enumerate(STAGES)
        )

    def torchvision_names(self) -> dict[str, str]:
        """Torchvision's name of each parameter of ours."""
        return {
            f"stages.{stage}.{index}.0.{kind}": f"features.{number}.{kind}"
            for stage, numbers in enumerate(TORCHVISION_NUMBERS)
            for index, number in enumerate(numbers)
            for kind in ("weight", "bias")
        }


class DeepLabVgg16(_Vgg16):
    """DeepLab's VGG-16: pool4 and pool5 keep the size, conv5 is dilated by 2; the last map has stride 8.

    Pools are 3x3 with padding 1. Caffe rounds their sizes up and we round down: at odd sides such as 321 both give
    161, 81, 41, and at even ones ours stay divisors of the side.
    """

    def __init__(self, width: float = 1.0) -> None:
        """`width` scales the channels, for small machines; 1 is the published network."""
        super().__init__(width, last_dilation=2)
        self.pools = nn.ModuleList(nn.MaxPool2d(3, stride, padding=1) for stride in (2, 2, 2, 1, 1))
        self.channels, self.strides = tuple(self.widths[1:]), (4, 8, 8, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> pool2, pool3, pool4, pool5."""
        maps = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = pool(stage(x))
            maps.append(x)
        return maps[1:]


class FcnVgg16(_Vgg16):
    """VGG-16 with its fully connected layers as convolutions (Long 2015).

    fc6 is padded by 3, which keeps the size; FCN-8s padded the image by 100 px and cropped the scores to the same end.
    """

    def __init__(self, width: float = 1.0) -> None:
        """`width` scales the channels, for small machines; 1 is the published network."""
        super().__init__(width, last_dilation=1)
        self.pool = nn.MaxPool2d(2)
        hidden = max(1, round(4096 * width))
        self.fc6 = nn.Sequential(conv_relu(self.widths[4], hidden, kernel=7, padding=3), nn.Dropout(0.5))
        self.fc7 = nn.Sequential(conv_relu(hidden, hidden, kernel=1), nn.Dropout(0.5))
        self.channels, self.strides = (*self.widths[1:4], hidden), (4, 8, 16, 32)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> pool2, pool3, pool4, fc7."""
        maps = []
        for stage in self.stages:
            x = self.pool(stage(x))
            maps.append(x)
        return [*maps[1:4], self.fc7(self.fc6(x))]

    def torchvision_names(self) -> dict[str, str]:
        """The stages' names, and those of the two fully connected layers, whose tensors are only shaped otherwise."""
        classifier = {
            f"{ours}.0.0.{kind}": f"classifier.{number}.{kind}"
            for ours, number in (("fc6", 0), ("fc7", 3))
            for kind in ("weight", "bias")
        }
        return {**super().torchvision_names(), **classifier}
