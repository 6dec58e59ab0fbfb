"""Depth as layers: each pixel's depth as one of a few classes (PLEDL's depth layering, Uhrig 2016)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DepthLayers(nn.Module):
    """A decoder that scores layers of depth, and the depth in metres that they mean.

    The layers' centres are evenly spread in log depth between the ends of `depth_range`; the depth is the exponential
    of the mean of the centres' logarithms, weighted by the layers' probabilities: finer than the layers themselves.

    Attributes:
        stride: image pixels per pixel of the depth.
        spacing: of the centres' logarithms.
    """

    centres: Tensor

    def __init__(self, decoder: nn.Module, count: int, depth_range: tuple[float, float]) -> None:
        """`decoder` gives `count` scores a pixel at its own `stride`."""
        super().__init__()
        self.decoder = decoder
        self.stride = int(decoder.stride)  # type: ignore[arg-type]
        nearest, farthest = math.log(depth_range[0]), math.log(depth_range[1])
        self.nearest, self.spacing = nearest, (farthest - nearest) / (count - 1)
        self.register_buffer("centres", torch.linspace(nearest, farthest, count)[:, None, None], persistent=False)

    def forward(self, image: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """-> log of metres [N, 1, H / stride, W / stride] and the layers' scores [N, count, H / stride, W / stride]."""
        scores = self._scores(image, features)
        return (scores.float().softmax(dim=1) * self.centres).sum(dim=1, keepdim=True), scores

    def _scores(self, image: Tensor, features: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.decoder(features)
        return scores


class RefinedDepthLayers(DepthLayers):
    """The same of a refinement, which sees the image beside the shared features.

    As in AdaBins (Bhat 2021), with centres that are the same for every image.
    """

    def _scores(self, image: Tensor, features: Sequence[Tensor]) -> Tensor:
        scores: Tensor = self.decoder(image, None, features)
        return scores
