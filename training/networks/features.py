"""`features`: the block whose output both tasks share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from training.networks import _timm as timm

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features(nn.Module):
    """A pyramid of feature maps.

    Attributes:
        channels: channels of each map, finest first.
        strides: image pixels per map pixel of each map, e.g. (4, 8, 16, 32), or (4, 8, 8, 8) where it is dilated.
        mean: of the images that its ImageNet weights were trained on, red, green, blue, of 1.
        std: likewise their standard deviation.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def torchvision_names(self) -> dict[str, str]:
        """For each tensor of ours that torchvision's checkpoint holds, its name there."""
        return {}

    def from_torchvision(self, name: str, stored: Tensor) -> Tensor:
        """Torchvision's tensor as ours of that name has it, where the two are built otherwise."""
        return stored


class TimmFeatures(Features):
    """Any timm backbone as features."""

    backbone: Any

    def __init__(
        self,
        backbone: str,
        strides: Sequence[int] = (4, 8, 16, 32),
        output_stride: int = 32,
        drop_path: float = 0.0,
    ) -> None:
        """Create the backbone with all its stages; `prune` drops what is not needed once weights are loaded.

        Args:
            backbone: timm's name.
            strides: of the maps wanted.
            output_stride: 8 or 16 dilates the stages that would go beyond it (ResNets); the strides stop there, too.
            drop_path: probability, in training, that the deepest residual block is left out (stochastic depth, Huang
                2016); that of the others falls to 0 at the first.

        Raises:
            ValueError: there is no such backbone, it has no map at one of the strides, or no blocks to leave out.
        """
        super().__init__()
        options: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            self.backbone = timm.create_model(backbone, pretrained=False, **options)
        except (RuntimeError, TypeError, NotImplementedError, AssertionError) as error:
            raise ValueError(f"timm cannot make the backbone '{backbone}' at stride {output_stride}: {error}") from None
        found: list[dict] = list(self.backbone.feature_info)
        indices = _choose([info["reduction"] for info in found], strides, output_stride)
        missing = [stride for stride, index in zip(strides, indices, strict=True) if index is None]
        if missing:
            at = sorted({info["reduction"] for info in found})
            raise ValueError(f"timm backbone '{backbone}' has maps at strides {at}, none at {missing}")
        self.indices = [index for index in indices if index is not None]
        self.channels = tuple(found[index]["num_chs"] for index in self.indices)
        self.strides = tuple(found[index]["reduction"] for index in self.indices)
        settings = self.backbone.pretrained_cfg
        self.mean, self.std = tuple(settings["mean"]), tuple(settings["std"])

    def prune(self) -> None:
        """Drop the classifier and the stages behind the last map, and make the padding constant."""
        self.indices = self.backbone.prune_intermediate_layers(self.indices, prune_head=True)
        make_padding_static(self.backbone)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> maps [N, channels[i], H / strides[i], W / strides[i]]."""
        maps: list[Tensor] = self.backbone.forward_intermediates(
            x, indices=self.indices, stop_early=True, intermediates_only=True
        )
        return maps


def _choose(available: Sequence[int], wanted: Sequence[int], output_stride: int) -> list[int | None]:
    """For each wanted stride the last map that has it, which is the deepest; dilated ones in the stages' order."""
    limit = output_stride if output_stride < 32 else max(wanted)
    chosen: list[int | None] = []
    for place, stride in enumerate(wanted):
        at = [index for index, reduction in enumerate(available) if reduction == min(stride, limit)]
        # Maps that share the output stride: the last of them for the last wanted, the one before for the one before.
        later = sum(min(other, limit) == min(stride, limit) for other in wanted[place + 1 :])
        chosen.append(at[-1 - later] if len(at) > later else None)
    return chosen


class StaticSameConv(nn.Module):
    """TensorFlow's SAME convolution for inputs that its stride divides.

    timm computes the padding from the size at run time, which an exported graph would carry along as a dozen shape
    operators per convolution. Network sides are multiples of 32, so the padding is a constant: k - s in total, the
    odd pixel on the right and at the bottom.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take over the weights of `conv`."""
        super().__init__()
        kernel, stride = (conv.kernel_size[0], conv.kernel_size[1]), (conv.stride[0], conv.stride[1])
        total = kernel[0] - stride[0]
        before = total // 2
        self.pad = nn.ZeroPad2d((before, total - before, before, total - before))
        self.conv = nn.Conv2d(
            conv.in_channels, conv.out_channels, kernel, stride, 0, 1, conv.groups, bias=conv.bias is not None
        )
        self.conv.weight = conv.weight
        self.conv.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        return self.conv(self.pad(x))


def make_padding_static(module: nn.Module) -> None:
    """Replace timm's run-time SAME padding by constants, in place."""
    for name, child in module.named_children():
        if isinstance(child, timm.Conv2dSame):
            if child.dilation != (1, 1):
                raise ValueError(f"'{name}' pads at run time and is dilated, which has no constant padding here")
            setattr(module, name, StaticSameConv(child))
        else:
            make_padding_static(child)
