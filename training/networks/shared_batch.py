"""One batch on several processes: what mixes or numbers the images of a batch does so over all processes.

Batch normalisation takes mean and variance over the images of all processes, and dropout, that of whole blocks too,
draws for all of them and applies what belongs to its own. So a network learns from N processes with n images each as it
does from one process with N * n images. The same code runs on CPU and GPU; torch.nn.SyncBatchNorm is for GPUs only.
"""

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from training.networks._timm import BatchNormAct2d, DropPath


def share_batch(network: nn.Module) -> None:
    """Make the layers of `network` work on the batch of all processes, in place; names and tensors stay as they are.

    Every process must give as many images of the same size.

    Raises:
        ValueError: a layer normalises the batch in a way that is not known here.
    """
    for name, module in network.named_modules():
        shared = _SHARED.get(type(module))
        if shared is not None:
            module.__class__ = shared
        elif isinstance(module, _BatchNorm):
            raise ValueError(f"'{name}' is a {type(module).__name__}, which cannot be shared between processes")


class _Sum(torch.autograd.Function):
    """Sum over the processes. Each process has a loss of its own, and it is their sum that is made small."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:  # type: ignore[override]
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _normalise(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation in training, `x` [N, C, H, W] a part of the batch; the running statistics follow."""
    assert layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None
    assert layer.momentum is not None
    values = x.float()
    own_variance, own_mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
    # A row for each process; the others' are 0 here, so that the sum fills them in.
    place = functional.one_hot(torch.tensor(dist.get_rank(), device=x.device), dist.get_world_size())
    rows = _Sum.apply(place[:, None] * torch.cat([own_mean, own_variance]))
    means, variances = rows.chunk(2, dim=1)
    mean = means.mean(dim=0)
    variance = (variances + (means - mean).square()).mean(dim=0)
    with torch.no_grad():
        count = values.numel() // len(mean) * dist.get_world_size()
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * (count / max(count - 1, 1)), layer.momentum)
        layer.num_batches_tracked += 1
    scale = torch.rsqrt(variance + layer.eps)
    if layer.weight is not None:
        scale = scale * layer.weight
    shift = -mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias
    return (values * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


class _SharedBatchNorm(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:
        return _normalise(self, input) if self.training else super().forward(input)


class _SharedBatchNormAct(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(_normalise(self, x))) if self.training else super().forward(x)


def _own_part(of_all: Tensor, images: int) -> Tensor:
    first = dist.get_rank() * images
    return of_all[first : first + images]


class _SharedDropout(nn.Dropout):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        ones = torch.ones_like(input).repeat(dist.get_world_size(), *[1] * (input.ndim - 1))
        return input * _own_part(functional.dropout(ones, self.p), len(input))


class _SharedDropout2d(nn.Dropout2d):
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        ones = input.new_ones(len(input) * dist.get_world_size(), input.shape[1], 1, 1)
        return input * _own_part(functional.dropout2d(ones, self.p), len(input))


class _SharedDropPath(DropPath):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        ones = x.new_ones(len(x) * dist.get_world_size(), *[1] * (x.ndim - 1))
        return x * _own_part(super().forward(ones), len(x))


_SHARED: dict[type, type] = {
    nn.BatchNorm2d: _SharedBatchNorm,
    BatchNormAct2d: _SharedBatchNormAct,
    nn.Dropout: _SharedDropout,
    nn.Dropout2d: _SharedDropout2d,
    DropPath: _SharedDropPath,
}
