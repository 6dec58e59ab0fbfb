"""What the network is trained to make small."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.config import LossConfig
from training.networks.hybridnet import NetworkOutput
from training.networks.layers import upsample

IGNORE = 255


# Rarer classes weigh no more than a class of this share of the pixels: too few examples to follow them further.
RAREST_SHARE = 0.002


@dataclass(frozen=True)
class JointLoss:
    """Weighted sum of the label loss and the depth losses; a missing target contributes nothing.

    Attributes:
        config: the weights of the parts.
        class_weights: float32 [classes], see `class_weights`; None weighs all alike.
    """

    config: LossConfig
    class_weights: Tensor | None = None

    def __call__(self, output: NetworkOutput, labels: Tensor, depth: Tensor) -> dict[str, Tensor]:
        """Targets at half the image's size: labels uint8 [N, h, w], depth float32 [N, h, w] metres with NaN.

        Returns:
            each part by name, unweighted, and their weighted sum as `total`.
        """
        config = self.config
        valid = torch.isfinite(depth)
        log_depth = torch.log(torch.where(valid, depth, torch.ones_like(depth)))
        final = upsample(output.log_depth.float(), 2)[:, 0]
        coarse = upsample(output.global_log_depth.float(), labels.shape[-1] // output.global_log_depth.shape[-1])[:, 0]
        parts = {
            "labels": label_loss(upsample(output.scores.float(), 2), labels, self.class_weights),
            "depth": silog_loss(final, log_depth, valid, config.variance_focus),
            "gradient": gradient_loss(final, log_depth, valid),
            "global_depth": silog_loss(coarse, log_depth, valid, config.variance_focus),
        }
        parts["total"] = (
            config.labels * parts["labels"]
            + config.depth * (parts["depth"] + config.gradient * parts["gradient"])
            + config.global_depth * parts["global_depth"]
        )
        return parts


def label_loss(scores: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy, weighted mean over labelled pixels; zero where none is labelled.

    Without weights, all classes alike: the paper's L_S.
    """
    total = functional.cross_entropy(scores, labels.long(), class_weights, ignore_index=IGNORE, reduction="sum")
    known = labels[labels != IGNORE].long()
    weight = known.numel() if class_weights is None else class_weights[known].sum().item()
    return total / max(weight, 1e-6)


def class_weights(pixels: Sequence[int], balance: float) -> Tensor | None:
    """Share of the pixels to the power of -`balance`, scaled to 1 for the mean labelled pixel.

    Args:
        pixels: labelled pixels of each class in the training data.
        balance: 0 weighs all alike (None), 1 gives every class the same say.
    """
    if balance == 0:
        return None
    share = torch.tensor(pixels, dtype=torch.float64) / sum(pixels)
    weights = share.clamp(min=RAREST_SHARE) ** -balance
    return (weights / (share * weights).sum()).float()


def silog_loss(prediction: Tensor, truth: Tensor, valid: Tensor, focus: float) -> Tensor:
    """sqrt(mean d^2 - focus * mean(d)^2), d = difference of log depths, an image at a time.

    Eigen 2014, with root and focus after Lee 2019. The mean over the images that have depth; zero where none has.
    """
    count = valid.sum(dim=(1, 2))
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction))
    mean = difference.sum(dim=(1, 2)) / count.clamp(min=1)
    square = difference.square().sum(dim=(1, 2)) / count.clamp(min=1)
    # The root's slope is infinite at 0, where images without depth sit.
    image_loss = torch.sqrt((square - focus * mean.square()).clamp(min=0) + 1e-6)
    has_depth = count > 0
    return torch.where(has_depth, image_loss, torch.zeros_like(image_loss)).sum() / has_depth.sum().clamp(min=1)


def gradient_loss(prediction: Tensor, truth: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute difference of the gradients of log depth at steps of 1, 2, 4 ... pixels (Li and Snavely 2018)."""
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction))
    total = prediction.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        d, known = difference[:, ::step, ::step], valid[:, ::step, ::step]
        across = (d[:, :, 1:] - d[:, :, :-1]).abs() * (known[:, :, 1:] & known[:, :, :-1])
        down = (d[:, 1:, :] - d[:, :-1, :]).abs() * (known[:, 1:, :] & known[:, :-1, :])
        total = total + (across.sum() + down.sum()) / known.sum().clamp(min=1)
    return total / scales
