"""`upsampling`: from the shared features to class scores, one channel a label."""

from collections.abc import Sequence

from torch import Tensor, nn

from training.networks.layers import GlobalContext, conv_bn, separable_conv, upsample


class LightAspp(nn.Module):
    """DeepLab's atrous spatial pyramid with summed branches, made light, and a decoder up to stride 4.

    The branches are depthwise separable and run at stride 16; the map's mean stands for the largest dilation.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        width: int = 128,
        rates: Sequence[int] = (1, 3, 6, 9),
        dropout: float = 0.1,
    ) -> None:
        """`channels`: of the shared maps at strides 4, 8, 16, 32."""
        super().__init__()
        at4, at8, at16, at32 = channels
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
        self.classify = nn.Conv2d(width // 2, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """-> scores [N, classes, H / 4, W / 4]."""
        at4, at8, at16, at32 = features
        x = self.lateral16(at16) + upsample(self.lateral32(at32), 2)
        x = self.context(x) + sum(branch(x) for branch in self.branches)
        x = self.smooth8(self.lateral8(at8) + upsample(self.reduce8(x), 2))
        x = self.smooth4(self.lateral4(at4) + upsample(x, 2))
        return self.classify(self.dropout(x))
