"""`refining_depth`: refines the global depth locally, with the image and the shared features, into the final depth.

Any of them works without the global depth (a sole shared encoder for both tasks) or without the shared features (the
published DepthNet); the injection of the features is a reconstruction, as the paper does not give it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.networks.layers import GlobalContext, bias_of, conv_bn, conv_relu, separable_conv, upsample, upsample_to


class SharedFeaturesRefinement(nn.Module):
    """Adds a local correction to the global depth, at the finest shared map; without a global depth it predicts all.

    As in DepthNet's gradient-free refinement, the input is the concatenation of convolved image, upsampled global
    depth and shared features.

    Attributes:
        stride: image pixels per pixel of the depth.
    """

    stride = 4

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        global_stride: int | None,
        width: int = 64,
        image_width: int = 32,
        context: bool = False,
        outputs: int = 1,
    ) -> None:
        """`channels` and `strides` of the four shared maps, the finest at 4; `global_stride` None: no global depth.

        With `context` the mean of the coarsest shared map, which knows what is seen, takes part everywhere. `outputs`:
        maps that are predicted, more than one where layers of depth are scored.
        """
        super().__init__()
        at4, at8, at16, at32 = channels
        self.factors = tuple(coarse // fine for fine, coarse in zip(strides, strides[1:], strict=False))
        self.global_factor = global_stride // 4 if global_stride else None
        self.image = nn.Sequential(
            conv_bn(3, image_width // 2, 3, stride=2), conv_bn(image_width // 2, image_width, 3, stride=2)
        )
        self.lateral32 = conv_bn(at32, width)
        self.context = GlobalContext(at32, width) if context else None
        self.lateral16 = conv_bn(at16, width)
        self.lateral8 = conv_bn(at8, width)
        self.lateral4 = conv_bn(at4, width)
        self.smooth16 = separable_conv(width, width)
        self.smooth8 = separable_conv(width, width)
        self.refine = nn.Sequential(
            conv_bn(image_width + bool(global_stride) + width, width),
            separable_conv(width, width, kernel=5),
            separable_conv(width, width, kernel=5),
        )
        self.predict = nn.Conv2d(width, outputs, 1)
        # The network starts as its global branch, or at the configured depth; the refinement grows from nothing.
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(bias_of(self.predict))

    def forward(self, image: Tensor, global_depth: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        """-> depth, in the network's code, or what is predicted in its place, [N, outputs, H / 4, W / 4]."""
        at4, at8, at16, at32 = features[:4]
        to4, to8, to16 = self.factors
        # In this order, in which an engine's weights are told apart (engine_weights.py).
        fine, coarsest = self.lateral16(at16), self.lateral32(at32)
        if self.context is not None:
            coarsest = coarsest + self.context(at32)
        x = self.smooth16(fine + upsample(coarsest, to16))
        x = self.smooth8(self.lateral8(at8) + upsample(x, to8))
        x = self.lateral4(at4) + upsample(x, to4)
        if global_depth is None or self.global_factor is None:
            return self.predict(self.refine(torch.cat([self.image(image), x], dim=1)))
        coarse = upsample(global_depth, self.global_factor)
        x = self.refine(torch.cat([self.image(image), coarse, x], dim=1))
        return coarse + self.predict(x)


class DepthNetRefinement(nn.Module):
    """DepthNet's gradient-free refinement: convolved image, doubled global depth and shared features to the depth.

    Attributes:
        stride: image pixels per pixel of the depth.
    """

    stride = 4

    def __init__(
        self,
        inputs: int | None,
        features_stride: int,
        global_stride: int | None,
        width: float = 1.0,
        features_width: int = 64,
    ) -> None:
        """`inputs`: channels of the coarsest shared map, None: no features; `global_stride` None: no global depth."""
        super().__init__()
        image_width, inner = (max(2, round(channels * width / 2) * 2) for channels in (96, 64))
        self.features_factor = features_stride // self.stride
        self.global_factor = global_stride // self.stride if global_stride else None
        # Published: padding 2 all round, and sizes rounded up. The third pixel behind does the same for any side that
        # four divides, and at 321 and 218x298 nothing else.
        self.image = nn.Sequential(
            nn.ZeroPad2d((2, 3, 2, 3)),
            conv_relu(3, image_width, 11, stride=2),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
            nn.MaxPool2d(2, 2, padding=1),
        )
        self.reduce = conv_relu(inputs, features_width, 1) if inputs else None
        joined = image_width + bool(global_stride) + (features_width if inputs else 0)
        self.refine = nn.Sequential(
            conv_relu(joined, inner, 5, padding=2),
            conv_relu(inner, inner, 5, padding=2),
            conv_relu(inner, inner, 5, padding=2, groups=2),
        )
        self.predict = nn.Conv2d(inner, 1, 3, padding=1)
        nn.init.normal_(self.predict.weight, std=0.01)

    def forward(self, image: Tensor, global_depth: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        """-> depth, in the network's code, [N, 1, H / 4, W / 4]."""
        joined = [self.image(image)]
        if global_depth is not None and self.global_factor is not None:
            joined.append(upsample_to(global_depth, self.global_factor, like=joined[0]))
        if self.reduce is not None:
            joined.append(upsample_to(self.reduce(features[3]), self.features_factor, like=joined[0]))
        return self.predict(self.refine(torch.cat(joined, dim=1)))
