"""`refining_depth`: refines the global depth locally, with the image and the shared features, into the final depth."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.layers import conv_bn, separable_conv, upsample


class SharedFeaturesRefinement(nn.Module):
    """Adds a local correction to the global log depth at stride 4.

    As in DepthNet's gradient-free refinement, the input is the concatenation of convolved image, upsampled global
    depth and shared features (the injection of the features is a reconstruction: the paper does not give it).
    """

    def __init__(self, channels: Sequence[int], global_stride: int, width: int = 64, image_width: int = 32) -> None:
        """`channels`: of the shared maps at strides 4, 8, 16, 32."""
        super().__init__()
        at4, at8, at16, at32 = channels
        self.global_factor = global_stride // 4
        self.image = nn.Sequential(
            conv_bn(3, image_width // 2, 3, stride=2), conv_bn(image_width // 2, image_width, 3, stride=2)
        )
        self.lateral32 = conv_bn(at32, width)
        self.lateral16 = conv_bn(at16, width)
        self.lateral8 = conv_bn(at8, width)
        self.lateral4 = conv_bn(at4, width)
        self.smooth16 = separable_conv(width, width)
        self.smooth8 = separable_conv(width, width)
        self.refine = nn.Sequential(
            conv_bn(image_width + 1 + width, width),
            separable_conv(width, width, kernel=5),
            separable_conv(width, width, kernel=5),
        )
        self.predict = nn.Conv2d(width, 1, 1)
        # The network starts as its global branch; the refinement grows from nothing.
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)

    def forward(self, image: Tensor, global_log_depth: Tensor, features: Sequence[Tensor]) -> Tensor:
        """-> log depth [N, 1, H / 4, W / 4]."""
        at4, at8, at16, at32 = features
        x = self.smooth16(self.lateral16(at16) + upsample(self.lateral32(at32), 2))
        x = self.smooth8(self.lateral8(at8) + upsample(x, 2))
        x = self.lateral4(at4) + upsample(x, 2)
        coarse = upsample(global_log_depth, self.global_factor)
        x = self.refine(torch.cat([self.image(image), coarse, x], dim=1))
        return coarse + self.predict(x)
