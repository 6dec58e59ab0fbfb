"""`features`: the block whose output both tasks share."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from training.networks import _timm as timm


class TimmFeatures(nn.Module):
    """Any timm backbone as a pyramid of feature maps.

    Attributes:
        channels: channels of each map, finest first.
        strides: image pixels per map pixel of each map, e.g. (4, 8, 16, 32).
    """

    def __init__(self, backbone: str, strides: Sequence[int] = (4, 8, 16, 32), weights: Path | None = None) -> None:
        """Create the backbone; `weights` is a safetensors file of timm's classifier of the same name.

        Raises:
            ValueError: the backbone has no map at one of the strides, or the weights do not fit it.
        """
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained=False)
        # Of each stride the last map, which is the deepest.
        available = {info["reduction"]: index for index, info in enumerate(self.backbone.feature_info)}
        missing = [stride for stride in strides if stride not in available]
        if missing:
            raise ValueError(f"timm backbone '{backbone}' has maps at strides {sorted(available)}, none at {missing}")
        indices = [available[stride] for stride in strides]
        self.channels = tuple(self.backbone.feature_info[index]["num_chs"] for index in indices)
        self.strides = tuple(strides)
        if weights is not None:
            load_backbone_weights(self.backbone, weights)
        # Without the classifier and the stages behind the last map asked for.
        self.indices = self.backbone.prune_intermediate_layers(indices, prune_head=True)
        make_padding_static(self.backbone)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalised image [N, 3, H, W] -> maps [N, channels[i], H / strides[i], W / strides[i]]."""
        return self.backbone.forward_intermediates(x, indices=self.indices, stop_early=True, intermediates_only=True)


def load_backbone_weights(backbone: nn.Module, path: Path) -> None:
    """Copy every tensor of a classifier from a safetensors file, whatever precision it is stored in."""
    stored = load_file(path)
    own = backbone.state_dict()
    for name, tensor in own.items():
        if name not in stored:
            raise ValueError(f"{path} lacks '{name}': is it of another backbone?")
        if stored[name].shape != tensor.shape:
            raise ValueError(f"{path}: '{name}' is {tuple(stored[name].shape)}, the network's {tuple(tensor.shape)}")
    backbone.load_state_dict({name: stored[name].to(tensor.dtype) for name, tensor in own.items()})


class StaticSameConv(nn.Module):
    """TensorFlow's SAME convolution for inputs that its stride divides.

    timm computes the padding from the size at run time, which an exported graph would carry along as a dozen shape
    operators per convolution. Network sides are multiples of 32, so the padding is a constant: k - s in total, the
    odd pixel on the right and at the bottom.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """Take over the weights of `conv`."""
        super().__init__()
        total = conv.kernel_size[0] - conv.stride[0]
        before = total // 2
        self.pad = nn.ZeroPad2d((before, total - before, before, total - before))
        self.conv = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            0,
            1,
            conv.groups,
            bias=conv.bias is not None,
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


def normalise(image: Tensor) -> Tensor:
    """uint8 [N, H, W, 3] rgb -> float [N, 3, H, W] in -1 .. 1 (mean = std = 0.5, as timm's tf_ backbones want).

    The cast comes before the transpose: TensorRT 8.6 takes uint8 at the graph's input only.
    """
    return image.float().permute(0, 3, 1, 2) * (1.0 / 127.5) - 1.0
