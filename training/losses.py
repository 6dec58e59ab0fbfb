"""The parts of the loss, each a function of one map and its truth; `objective.py` adds them up.

Each is a sum over images or pixels divided by their number. `count` is that number in the whole batch, where the images
at hand are a part of it: the losses of the parts then add up to the loss of the batch. None counts the images at hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.data.sample import IGNORE

# Rarer classes weigh no more than a class of this share of the pixels: too few examples to follow them further.
RAREST_SHARE = 0.002

# The paper's mean-variance normalisation.
_VARIANCE_EPSILON = 1e-3
_LEAST_VALID_SHARE = 0.01  # of an image's pixels, for its variance to mean something

GRADIENT_SCALES = 4


@dataclass(frozen=True)
class Known:
    """How much truth a batch has. Of a batch that is taken in parts, the sum of the parts' `counts`.

    Attributes:
        counts: float32 [3 + GRADIENT_SCALES].
    """

    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor, depth: Tensor, class_weights: Tensor | None = None) -> "Known":
        """Count in labels uint8 [N, h, w], 255 = unlabelled, and depth [N, h, w], NaN = unknown."""
        valid = torch.isfinite(depth)
        grid = [valid[:, :: 2**scale, :: 2**scale].sum() for scale in range(GRADIENT_SCALES)]
        images = labels.new_tensor(len(labels), dtype=torch.float32)
        counts = [images, labelled(labels, class_weights), valid.any(dim=2).any(dim=1).sum(), *grid]
        return cls(torch.stack([count.float() for count in counts]))

    @property
    def images(self) -> Tensor:
        """Number of images."""
        return self.counts[0]

    @property
    def labelled(self) -> Tensor:
        """Labelled pixels, each counted with the weight of its class."""
        return self.counts[1]

    @property
    def images_with_depth(self) -> Tensor:
        """Images that have any depth."""
        return self.counts[2]

    @property
    def grid(self) -> Tensor:
        """Pixels with depth, [GRADIENT_SCALES]: of all, then of every second, fourth ... row and column."""
        return self.counts[3:]


def labelled(labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Number of labelled pixels, each counted with the weight of its class."""
    known = labels != IGNORE
    return known.sum() if class_weights is None else class_weights[labels[known].long()].sum()


def label_loss(
    scores: Tensor, labels: Tensor, class_weights: Tensor | None = None, count: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy, weighted mean over labelled pixels; zero where none is labelled.

    Without weights, all classes alike: the paper's L_S.
    """
    total = functional.cross_entropy(scores, labels.long(), class_weights, ignore_index=IGNORE, reduction="sum")
    count = labelled(labels, class_weights) if count is None else count
    return total / count.clamp(min=1e-6)


def ohem_loss(
    scores: Tensor, labels: Tensor, probability: float, keep: float, class_weights: Tensor | None = None
) -> Tensor:
    """Online hard example mining: mean cross-entropy over the hard pixels only (Shrivastava 2016); zero without labels.

    Hard are pixels whose true class gets less than `probability`; where these are less than the share `keep` of the
    labelled pixels, the hardest of that share.
    """
    known = (labels != IGNORE).flatten()
    count = int(known.sum())
    if count == 0:
        return scores.sum() * 0
    losses = functional.cross_entropy(scores, labels.long(), ignore_index=IGNORE, reduction="none").flatten()[known]
    least = max(1, round(keep * count))
    # -log(probability) as a loss, or less where too few pixels are that hard.
    threshold = torch.minimum(
        torch.kthvalue(losses.detach(), count - least + 1).values, -losses.new_tensor(probability).log()
    )
    hard = losses.detach() >= threshold
    if class_weights is None:
        return losses[hard].mean()
    weight = class_weights[labels.flatten()[known].long()][hard]
    return (losses[hard] * weight).sum() / weight.sum().clamp(min=1e-6)


def class_weights(pixels: Sequence[float], balance: float) -> Tensor | None:
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


def silog_loss(prediction: Tensor, truth: Tensor, valid: Tensor, focus: float, count: Tensor | None = None) -> Tensor:
    """sqrt(mean d^2 - focus * mean(d)^2), d = difference of log depths, an image at a time.

    Eigen 2014, with root and focus after Lee 2019. The mean over the images that have depth; zero where none has.
    """
    pixels = valid.sum(dim=(1, 2))
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction))
    mean = difference.sum(dim=(1, 2)) / pixels.clamp(min=1)
    square = difference.square().sum(dim=(1, 2)) / pixels.clamp(min=1)
    # The root's slope is infinite at 0, where images without depth sit.
    image_loss = torch.sqrt((square - focus * mean.square()).clamp(min=0) + 1e-6)
    has_depth = pixels > 0
    count = has_depth.sum() if count is None else count
    return torch.where(has_depth, image_loss, torch.zeros_like(image_loss)).sum() / count.clamp(min=1)


def berhu_loss(prediction: Tensor, truth: Tensor, valid: Tensor, count: Tensor | None = None) -> Tensor:
    """Reverse Huber (Laina 2016): |d| up to c, (d^2 + c^2) / 2c beyond, c a fifth of the largest |d| at hand.

    d is the difference of log depths; mean over valid pixels, zero where there is none. In a batch that is taken in
    parts, each part has its own c.
    """
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction)).abs()
    c = (0.2 * difference.detach().max()).clamp(min=1e-6)
    beyond = (difference.square() + c.square()) / (2 * c)
    count = valid.sum() if count is None else count
    return torch.where(difference <= c, difference, beyond).mul(valid).sum() / count.clamp(min=1)


def gradient_loss(prediction: Tensor, truth: Tensor, valid: Tensor, counts: Tensor | None = None) -> Tensor:
    """Mean absolute difference of the gradients of log depth at steps of 1, 2, 4, 8 pixels (Li and Snavely 2018).

    `counts` [GRADIENT_SCALES] as `Known.grid` has them.
    """
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction))
    total = prediction.new_zeros(())
    for scale in range(GRADIENT_SCALES):
        step = 2**scale
        d, known = difference[:, ::step, ::step], valid[:, ::step, ::step]
        across = (d[:, :, 1:] - d[:, :, :-1]).abs() * (known[:, :, 1:] & known[:, :, :-1])
        down = (d[:, 1:, :] - d[:, :-1, :]).abs() * (known[:, 1:, :] & known[:, :-1, :])
        count = known.sum() if counts is None else counts[scale]
        total = total + (across.sum() + down.sum()) / count.clamp(min=1)
    return total / GRADIENT_SCALES


def euclidean_loss(prediction: Tensor, truth: Tensor, valid: Tensor, count: Tensor | None = None) -> Tensor:
    """Caffe's Euclidean loss over valid pixels: sum of squared differences / (2 * images)."""
    difference = torch.where(valid, prediction - truth, torch.zeros_like(prediction))
    return difference.square().sum() / (2 * (len(prediction) if count is None else count))


def normalised_euclidean_loss(prediction: Tensor, truth: Tensor, valid: Tensor, count: Tensor | None = None) -> Tensor:
    """The paper's L_DN: Caffe's Euclidean loss after mean-variance normalisation of both maps, an image at a time.

    Mean and variance are those of the valid pixels, the same for both maps; images of which less than a hundredth is
    valid count nothing.
    """
    enough = valid.float().mean(dim=(1, 2), keepdim=True) >= _LEAST_VALID_SHARE
    valid = valid & enough
    return euclidean_loss(_normalise(prediction, valid), _normalise(truth, valid), valid, count)


def _normalise(depth: Tensor, valid: Tensor) -> Tensor:
    """(D - mean) / (standard deviation + epsilon), Caffe's MVN over the valid pixels of each image; 0 elsewhere."""
    count = valid.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    known = torch.where(valid, depth, torch.zeros_like(depth))
    centred = torch.where(valid, depth - known.sum(dim=(1, 2), keepdim=True) / count, torch.zeros_like(depth))
    variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
    # The root's slope is infinite at 0, where a flat map sits.
    deviation = torch.sqrt(variance.clamp(min=1e-12))
    return centred / (deviation + _VARIANCE_EPSILON)


def layers_loss(
    scores: Tensor, log_depth: Tensor, valid: Tensor, nearest: float, spacing: float, count: Tensor | None = None
) -> Tensor:
    """Cross-entropy of depth layers against the layer nearest to the true log depth; zero where none is valid."""
    layer = ((log_depth - nearest) / spacing).round().clamp(0, scores.shape[1] - 1)
    target = torch.where(valid, layer, torch.full_like(layer, IGNORE)).to(torch.uint8)
    return label_loss(scores, target, count=count)
