"""How fast each part of a network learns, and when; and how fast the average of its weights follows."""

import math
from collections.abc import Callable
from typing import Any, get_args

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from training.config import Block, ConfigError, OptimiserConfig
from training.networks import HybridNet


def parameter_groups(network: HybridNet, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Pretrained parts learn slower; biases and normalisation do not decay; what is held still is left out."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        pretrained = name.startswith(("features.", "global_depth.trunk."))
        groups.setdefault((pretrained, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "base_lr": config.backbone_lr if pretrained else config.lr,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (pretrained, decays), parameters in groups.items()
    ]


def still_blocks(network: HybridNet, config: OptimiserConfig) -> list[nn.Module]:
    """The blocks that do not learn, their parameters marked so. In training they are to be left in evaluation mode.

    Raises:
        ConfigError: a block that is to learn is none of the network's.
    """
    blocks = {name: block for name, block in network.named_children() if name in get_args(Block)}
    missing = sorted(set(config.learn or ()) - set(blocks))
    if missing:
        raise ConfigError(f"optimiser.learn: the network has no {missing[0]}, it has {', '.join(blocks)}")
    still = [block for name, block in blocks.items() if config.learn is not None and name not in config.learn]
    for block in still:
        block.requires_grad_(False)
    return still


def learning_rate_factor(step: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then decay to zero: polynomial, or half a cosine."""
    done = step / config.steps
    decay = (1.0 - done) ** config.power if config.decay == "poly" else (1.0 + math.cos(math.pi * done)) / 2
    return min(1.0, (step + 1) / max(config.warmup, 1)) * decay


def moving_average(decay: float, equal_from: int | None = None) -> Callable[[Any, Any, Tensor | int], None]:
    """For AveragedModel: an exponential moving average that hardly remembers the first steps.

    After n steps the past has a share of (1 + n) / (10 + n), at most `decay`. With a decay of 0.998 from the start, an
    eighth of the average after a thousand steps would still be the weights of the first. From step `equal_from` on it
    is the mean of all weights since (stochastic weight averaging, Izmailov 2018).
    """

    def update(averaged: Any, current: Any, number: Tensor | int) -> None:
        count = int(number)
        if equal_from is None or count < equal_from:
            past = min(decay, (1 + count) / (10 + count))
        else:
            past = 1 - 1 / (count - equal_from + 1)
        get_ema_multi_avg_fn(past)(averaged, current, number)

    return update
