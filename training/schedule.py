"""How fast each part of a network learns, and when."""

import math
from typing import Any

from torch import nn

from training.config import OptimiserConfig
from training.networks import HybridNet


def parameter_groups(network: HybridNet, config: OptimiserConfig) -> list[dict[str, Any]]:
    """Pretrained parts learn slower; biases and normalisation do not decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
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


def learning_rate_factor(step: int, config: OptimiserConfig) -> float:
    """Linear warm-up, then decay to zero: polynomial, or half a cosine."""
    done = step / config.steps
    decay = (1.0 - done) ** config.power if config.decay == "poly" else (1.0 + math.cos(math.pi * done)) / 2
    return min(1.0, (step + 1) / max(config.warmup, 1)) * decay
