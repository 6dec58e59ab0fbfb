"""HybridNet: one image, a metric depth map and class scores (Sanchez-Escobedo et al., ICASSP 2018, fig. 1).

features        image                                    -> maps that both tasks share
upsampling      shared features                          -> class scores
global_depth    image                                    -> coarse depth of the whole scene
refining_depth  image + global depth + shared features   -> final depth
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.config import NetworkConfig
from training.networks.features import TimmFeatures, normalise
from training.networks.global_depth import ConvolutionalGlobalDepth
from training.networks.layers import upsample
from training.networks.refining_depth import SharedFeaturesRefinement
from training.networks.upsampling import LightAspp


class NetworkOutput(NamedTuple):
    """What the network says, at a quarter of the image's size, before post-processing."""

    log_depth: Tensor  # [N, 1, H / 4, W / 4], natural log of metres at the canonical focal length
    scores: Tensor  # [N, classes, H / 4, W / 4]
    global_log_depth: Tensor  # [N, 1, H / stride, W / stride]


class HybridNet(nn.Module):
    """The four blocks; each can be replaced without touching the others."""

    def __init__(
        self, features: nn.Module, global_depth: nn.Module, refining_depth: nn.Module, upsampling: nn.Module
    ) -> None:
        """Take the blocks as they are."""
        super().__init__()
        self.features = features
        self.global_depth = global_depth
        self.refining_depth = refining_depth
        self.upsampling = upsampling

    def forward(self, image: Tensor) -> NetworkOutput:
        """Image uint8 [N, H, W, 3] rgb, H and W multiples of 32."""
        x = normalise(image)
        shared = self.features(x)
        scores = self.upsampling(shared)
        global_log_depth = self.global_depth(x)
        log_depth = self.refining_depth(x, global_log_depth, shared)
        return NetworkOutput(log_depth, scores, global_log_depth)


class EngineGraph(nn.Module):
    """The network with its post-processing, as the engine contract wants it: bytes in, depth and bytes out.

    Scores are turned into labels at half the image's size and the labels doubled: argmax and softmax over all classes
    then run on a quarter of the pixels.
    """

    def __init__(self, network: nn.Module, depth_range: tuple[float, float]) -> None:
        """`depth_range`: metres at the canonical focal length that depth is kept within."""
        super().__init__()
        self.network = network
        self.log_range = (math.log(depth_range[0]), math.log(depth_range[1]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image uint8 [N, H, W, 3] -> depth float32 [N, H, W], labels uint8 [N, H, W], confidence uint8 [N, H, W]."""
        output = self.network(image)
        depth = torch.exp(torch.clamp(upsample(output.log_depth, 4), *self.log_range))[:, 0]
        scores = upsample(output.scores, 2)
        best, labels = torch.max(scores, dim=1, keepdim=True)
        confidence = 255.0 / torch.sum(torch.exp(scores - best), dim=1, keepdim=True)
        # Through float32: TensorRT 8.6 casts to uint8 from floating point only.
        return depth, _double(labels.float())[:, 0].byte(), _double(torch.round(confidence))[:, 0].byte()


def _double(x: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def build_network(config: NetworkConfig, classes: int, weights: Path | None = None) -> HybridNet:
    """The network of a config; `weights` are the backbone's ImageNet weights, None starts from chance."""
    features = TimmFeatures(config.features, weights=weights)
    global_depth = ConvolutionalGlobalDepth(
        config.global_depth, weights=weights if config.global_depth == config.features else None
    )
    refining_depth = SharedFeaturesRefinement(features.channels, global_depth.stride)
    upsampling = LightAspp(features.channels, classes)
    nn.init.constant_(global_depth.predict.bias, math.log(config.initial_depth))
    return HybridNet(features, global_depth, refining_depth, upsampling)
