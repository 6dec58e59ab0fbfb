"""What the numbers of a network's depth maps mean."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

_LEAST = 1e-3  # of the scale; a linear map may say less, even less than nothing, where a logarithm has no value


@dataclass(frozen=True)
class DepthCode:
    """Logarithm of metres, or metres divided by `scale` (the paper's; the scale is its Z_max).

    Attributes:
        kind: "log" or "linear".
        scale: metres that are 1 in the linear code.
    """

    kind: Literal["log", "linear"]
    scale: float

    def encode(self, metres: float) -> float:
        """The number that means `metres`."""
        return math.log(metres) if self.kind == "log" else metres / self.scale

    def to_log(self, depth: Tensor) -> Tensor:
        """Coded depth -> log of metres. Linear codes near and below zero go on along the logarithm's tangent."""
        if self.kind == "log":
            return depth
        bent = math.log(_LEAST) + (depth - _LEAST) / _LEAST
        return torch.where(depth > _LEAST, torch.log(depth.clamp(min=_LEAST)), bent) + math.log(self.scale)

    def to_linear(self, depth: Tensor) -> Tensor:
        """Coded depth -> metres / scale."""
        return torch.exp(depth - math.log(self.scale)) if self.kind == "log" else depth

    def to_metres(self, depth: Tensor, nearest: float, farthest: float) -> Tensor:
        """Coded depth -> metres within nearest .. farthest; nothing here that an old TensorRT would not take."""
        if self.kind == "log":
            return torch.exp(torch.clamp(depth, math.log(nearest), math.log(farthest)))
        return torch.clamp(depth * self.scale, nearest, farthest)
