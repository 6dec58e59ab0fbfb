"""What a network is trained to make small: the parts of the loss, added up as the config says."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from training.config import PaperLossConfig, WeightedLossConfig
from training.losses import (
    Known,
    berhu_loss,
    euclidean_loss,
    gradient_loss,
    label_loss,
    labelled,
    layers_loss,
    normalised_euclidean_loss,
    ohem_loss,
    silog_loss,
)
from training.networks.depth_code import DepthCode
from training.networks.depth_layers import DepthLayers
from training.networks.hybridnet import HybridNet, NetworkOutput
from training.networks.layers import upsample

_LEAST_LOG_VARIANCE, _GREATEST_LOG_VARIANCE = -4.0, 4.0


def build_objective(config: WeightedLossConfig | PaperLossConfig, network: HybridNet) -> "Objective":
    """The loss of a config for a network."""
    if isinstance(config, PaperLossConfig):
        return PaperObjective(config, network.depth_code)
    return WeightedObjective(config, network)


class Objective(nn.Module, ABC):
    """Called with what a network says and the truth at half the image's size; its parameters, if any, are learnt."""

    @abstractmethod
    def forward(
        self,
        output: NetworkOutput,
        labels: Tensor,
        depth: Tensor,
        class_weights: Tensor | None = None,
        whole: Known | None = None,
    ) -> dict[str, Tensor]:
        """Compare.

        Args:
            output: of the network, in training mode.
            labels: uint8 [N, h, w], 255 = unlabelled.
            depth: float32 [N, h, w] metres, NaN = unknown.
            class_weights: float32 [classes], see `losses.class_weights`; None weighs all alike.
            whole: of the whole batch, where this is a part of it: what the parts return adds up to the batch's loss.

        Returns:
            each part by name, unweighted, and their weighted sum as `total`. A part whose truth is missing is 0.
        """


class WeightedObjective(Objective):
    """Weighted sum of the label loss and the depth losses, or with learnt weights of the two tasks.

    Learnt (Kendall 2018): depth / (2 e^s) + labels / e^s + both s / 2, where s is the logarithm of each task's noise
    variance. The two s belong to the training, not to the network: they are in its checkpoint and optimiser, and not in
    the averaged weights.

    Attributes:
        log_variance: the s of depth and of labels; None with fixed weights.
    """

    def __init__(self, config: WeightedLossConfig, network: HybridNet) -> None:
        """`network` tells the depth code and the layers' centres; it is not kept."""
        super().__init__()
        self.config = config
        self.code = network.depth_code
        refining = network.refining_depth
        self.layers = (refining.nearest, refining.spacing) if isinstance(refining, DepthLayers) else None
        self.log_variance = nn.Parameter(torch.zeros(2)) if config.uncertainty else None

    def forward(
        self,
        output: NetworkOutput,
        labels: Tensor,
        depth: Tensor,
        class_weights: Tensor | None = None,
        whole: Known | None = None,
    ) -> dict[str, Tensor]:
        """As in `Objective`."""
        config = self.config
        whole = whole or Known.of(labels, depth, class_weights)
        parts: dict[str, Tensor] = {}
        label_total = depth_total = depth.new_zeros(())
        if output.scores is not None:
            parts["labels"] = self._label_loss(at_half(output.scores, labels), labels, class_weights, whole)
            label_total = config.labels * parts["labels"]
        if output.depth is not None:
            valid = torch.isfinite(depth)
            truth = torch.log(torch.where(valid, depth, torch.ones_like(depth)))
            final = self.code.to_log(at_half(output.depth, depth))[:, 0]
            parts["depth"] = self._depth_loss(final, truth, valid, whole)
            parts["gradient"] = gradient_loss(final, truth, valid, whole.grid)
            depth_total = config.depth * (parts["depth"] + config.gradient * parts["gradient"])
            if output.global_depth is not None:
                coarse = self.code.to_log(at_half(output.global_depth, depth))[:, 0]
                parts["global_depth"] = self._depth_loss(coarse, truth, valid, whole)
                depth_total = depth_total + config.global_depth * parts["global_depth"]
            if output.layers is not None and self.layers is not None and config.depth_layers > 0:
                layers = at_half(output.layers, depth)
                parts["layers"] = layers_loss(layers, truth, valid, *self.layers, count=whole.grid[0])
                depth_total = depth_total + config.depth_layers * parts["layers"]
        if self.log_variance is not None:
            s = self.log_variance.clamp(_LEAST_LOG_VARIANCE, _GREATEST_LOG_VARIANCE)
            share = len(labels) / whole.images
            # A task that the batch says nothing about must not move its weight.
            depth_total = torch.exp(-s[0]) * depth_total / 2 + share * (whole.grid[0] > 0) * s[0] / 2
            label_total = torch.exp(-s[1]) * label_total + share * (whole.labelled > 0) * s[1] / 2
        return {**parts, "total": label_total + depth_total}

    def _label_loss(self, scores: Tensor, labels: Tensor, class_weights: Tensor | None, whole: Known) -> Tensor:
        config = self.config
        if class_weights is not None:
            # Weights teach scores of a world in which rare classes are as many times more frequent. What the network
            # learns, and says on the robot, is of the world as it is (logit adjustment, Menon 2021).
            scores = scores + class_weights.log()[:, None, None]
        if config.label_loss == "cross_entropy":
            return label_loss(scores, labels, class_weights, whole.labelled)
        # Which pixels are hard is found among those at hand, and counts for as much as they are of all labelled ones.
        share = labelled(labels, class_weights) / whole.labelled.clamp(min=1e-6)
        return share * ohem_loss(scores, labels, config.ohem_probability, config.ohem_keep, class_weights)

    def _depth_loss(self, prediction: Tensor, truth: Tensor, valid: Tensor, whole: Known) -> Tensor:
        if self.config.depth_loss == "berhu":
            return berhu_loss(prediction, truth, valid, whole.grid[0])
        return silog_loss(prediction, truth, valid, self.config.variance_focus, whole.images_with_depth)


class PaperObjective(Objective):
    """The paper's L_H = alpha * L_S + L_DL + L_DN.

    L_S is a mean over labelled pixels. L_DL and L_DN compare depth divided by the code's scale at the network's own
    resolution and are, in Caffe's reduction, sums over the map; reduction "mean" divides everything by the map's
    pixels, which is the same loss at another learning rate; where there is no depth, by those of a map at a quarter of
    the image's size, so that networks of one task learn at the same rate.
    """

    def __init__(self, config: PaperLossConfig, code: DepthCode) -> None:
        """`code` of the network's depth."""
        super().__init__()
        self.config, self.code = config, code

    def forward(
        self,
        output: NetworkOutput,
        labels: Tensor,
        depth: Tensor,
        class_weights: Tensor | None = None,
        whole: Known | None = None,
    ) -> dict[str, Tensor]:
        """As in `Objective`; all classes weigh alike, as in the paper."""
        whole = whole or Known.of(labels, depth)
        parts: dict[str, Tensor] = {}
        total = depth.new_zeros(())
        pixels = labels[0].numel() // 4
        if output.depth is not None:
            step = depth.shape[-1] // output.depth.shape[-1]
            middle = (step - 1) // 2  # of the truth's cells under one of the map's
            truth = depth[:, middle::step, middle::step] / self.code.scale
            pixels = truth[0].numel()
            valid = torch.isfinite(truth)
            found = self.code.to_linear(output.depth.float())[:, 0]
            parts["depth"] = euclidean_loss(found, truth, valid, whole.images)
            parts["normalised_depth"] = normalised_euclidean_loss(found, truth, valid, whole.images)
            total = total + parts["depth"] + parts["normalised_depth"]
        if output.scores is not None:
            parts["labels"] = label_loss(at_half(output.scores, labels), labels, count=whole.labelled)
            total = total + self.config.alpha * parts["labels"]
        return {**parts, "total": total / pixels if self.config.reduction == "mean" else total}


def at_half(x: Tensor, truth: Tensor) -> Tensor:
    """A network's map [N, C, ...], at half the image's size or less, in float32 at the size of a truth [N, h, w]."""
    return upsample(x.float(), truth.shape[-1] // x.shape[-1])
