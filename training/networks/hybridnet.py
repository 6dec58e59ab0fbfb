"""HybridNet: one image, a metric depth map and class scores (Sanchez-Escobedo et al., ICASSP 2018, fig. 1).

features        image                                    -> maps that both tasks share
upsampling      shared features                          -> class scores
global_depth    image                                    -> coarse depth of the whole scene
refining_depth  image + global depth + shared features   -> final depth

Its rivals are the same with blocks left out or replaced: see `build.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.depth_code import DepthCode
from training.networks.depth_layers import DepthLayers
from training.networks.layers import upsample


class NetworkOutput(NamedTuple):
    """What the network says, at its blocks' own strides, before post-processing; None is what it has no block for."""

    depth: Tensor | None  # [N, 1, h, w], in the network's depth code, metres at the canonical focal length
    packed_scores: Tensor | None  # [N, classes * s * s, h, w], see `scores`
    global_depth: Tensor | None = None  # [N, 1, h, w], as depth
    layers: Tensor | None = None  # [N, layers, h, w], scores of depth layers
    subpixels: int = 1  # s: scores of s x s pixels are channels of one

    @property
    def scores(self) -> Tensor | None:
        """[N, classes, h * s, w * s]."""
        if self.packed_scores is None or self.subpixels == 1:
            return self.packed_scores
        return functional.pixel_shuffle(self.packed_scores, self.subpixels)


class HybridNet(nn.Module):
    """The four blocks; each can be replaced without touching the others, and all but one task's can be left out."""

    def __init__(
        self,
        features: nn.Module | None,
        global_depth: nn.Module | None,
        refining_depth: nn.Module | None,
        upsampling: nn.Module | None,
        depth_code: DepthCode,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        """Take the blocks as they are; `mean` and `std` are those of the images that the blocks want, of 1."""
        super().__init__()
        self.features = features
        self.global_depth = global_depth
        self.refining_depth = refining_depth
        self.upsampling = upsampling
        self.depth_code = depth_code
        self.normalise = Normalise(mean, std)

    @property
    def has_depth(self) -> bool:
        """Whether it predicts depth."""
        return self.refining_depth is not None

    @property
    def has_labels(self) -> bool:
        """Whether it predicts labels."""
        return self.upsampling is not None

    @property
    def scores_stride(self) -> int:
        """Image pixels per pixel of the scores."""
        assert self.upsampling is not None
        return int(self.upsampling.stride)  # type: ignore[arg-type]

    @property
    def subpixels(self) -> int:
        """How many rows and columns of scores one pixel of `upsampling` stands for."""
        return int(getattr(self.upsampling, "subpixels", 1))

    @property
    def depth_stride(self) -> int:
        """Image pixels per pixel of the depth."""
        assert self.refining_depth is not None
        return int(self.refining_depth.stride)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> NetworkOutput:
        """Image uint8 [N, H, W, 3] rgb, H and W multiples of 32."""
        x = self.normalise(image)
        shared = self.features(x) if self.features is not None else []
        scores = self.upsampling(shared) if self.upsampling is not None else None
        if self.refining_depth is None:
            return NetworkOutput(None, scores, subpixels=self.subpixels)
        if isinstance(self.refining_depth, DepthLayers):
            depth, layers = self.refining_depth(x, shared)
            return NetworkOutput(depth, scores, layers=layers, subpixels=self.subpixels)
        global_depth = self.global_depth(x) if self.global_depth is not None else None
        depth = self.refining_depth(x, global_depth, shared)
        return NetworkOutput(depth, scores, global_depth, subpixels=self.subpixels)


class Normalise(nn.Module):
    """Bytes to what a network wants: less the mean, divided by the standard deviation of the images it knows.

    The cast comes before the transpose: TensorRT 8.6 takes uint8 at the graph's input only.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std` of red, green and blue, of 1."""
        super().__init__()
        scale = [1 / (255 * deviation) for deviation in std]
        offset = [middle / deviation for middle, deviation in zip(mean, std, strict=True)]
        self.register_buffer("scale", torch.tensor(scale)[:, None, None], persistent=False)
        self.register_buffer("offset", torch.tensor(offset)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [N, H, W, 3] rgb -> float [N, 3, H, W]."""
        return image.float().permute(0, 3, 1, 2) * self.scale - self.offset


class EngineGraph(nn.Module):
    """The network with its post-processing, as the engine contract wants it: bytes in, depth and bytes out.

    Scores are turned into labels at half the image's size and the labels doubled: argmax and softmax over all classes
    then run on a quarter of the pixels. Where scores are packed they are not unpacked for that: one map of labels is
    a nineteenth of what the scores are.

    Attributes:
        outputs: names of what `forward` returns; a network of one task has only that task's.
    """

    favour: Tensor

    def __init__(
        self, network: HybridNet, depth_range: tuple[float, float], favour: Sequence[float] | None = None
    ) -> None:
        """Take the network as it is.

        Args:
            network: whose output is post-processed.
            depth_range: metres at the canonical focal length that depth is kept within.
            favour: nats added to the score of each class; None: nothing.
        """
        super().__init__()
        shift = torch.tensor([] if favour is None else list(favour), dtype=torch.float32)
        per_channel = shift.repeat_interleave(network.subpixels**2)
        self.register_buffer("favour", per_channel[:, None, None], persistent=False)
        self.network = network
        self.depth_range = depth_range
        self.outputs = (("depth",) if network.has_depth else ()) + (
            ("labels", "confidence") if network.has_labels else ()
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Image uint8 [N, H, W, 3] -> depth float32 [N, H, W], labels uint8 [N, H, W], confidence uint8 [N, H, W]."""
        output: NetworkOutput = self.network(image)
        found: tuple[Tensor, ...] = ()
        if output.depth is not None:
            coded = upsample(output.depth, self.network.depth_stride)
            found += (self.network.depth_code.to_metres(coded, *self.depth_range)[:, 0],)
        if output.packed_scores is not None:
            # Behind a convolution: runtimes add the shift to its bias, and it costs nothing.
            packed = output.packed_scores + self.favour if len(self.favour) else output.packed_scores
            labels, confidence = _labels_and_confidence(packed, output.subpixels, self.network.scores_stride)
            # Through float32: TensorRT 8.6 casts to uint8 from floating point only.
            found += (_double(labels)[:, 0].byte(), _double(confidence)[:, 0].byte())
        return found


def _labels_and_confidence(packed: Tensor, subpixels: int, stride: int) -> tuple[Tensor, Tensor]:
    """Both float32 [N, 1, H / 2, W / 2]; `stride` is that of the scores once they are unpacked."""
    count = subpixels * subpixels
    if count == 1 or stride != 2:
        scores = functional.pixel_shuffle(packed, subpixels) if count > 1 else packed
        return _best(upsample(scores, stride // 2))
    parts = [_best(packed[:, place::count]) for place in range(count)]
    labels, confidence = (torch.cat(maps, dim=1) for maps in zip(*parts, strict=True))
    return functional.pixel_shuffle(labels, subpixels), functional.pixel_shuffle(confidence, subpixels)


def _best(scores: Tensor) -> tuple[Tensor, Tensor]:
    best, labels = torch.max(scores, dim=1, keepdim=True)
    return labels.float(), torch.round(255.0 / torch.sum(torch.exp(scores - best), dim=1, keepdim=True))


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")
