"""Run by torchrun: layers that share a batch against the same with the whole batch; ends with 0 if they agree."""

import torch
from torch import distributed as dist
from torch import nn

from training.networks._timm import BatchNormAct2d, DropPath
from training.networks.layers import conv_bn
from training.networks.shared_batch import share_batch

EACH = 3  # images


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        conv_bn(3, 8, 3),
        nn.Conv2d(8, 16, 3, bias=False),
        BatchNormAct2d(16),
        nn.Dropout2d(0.3),
        DropPath(0.4),
        nn.Conv2d(16, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 2, 1),
    ).train()


def learn(network: nn.Module, images: torch.Tensor, weights: torch.Tensor, times: int) -> torch.Tensor:
    """One pass forward and back; the processes' mean of `times` as large a gradient is its sum."""
    torch.manual_seed(5)
    loss = (network(images) * weights).square().sum()
    (loss * times).backward()
    return loss.detach()


dist.init_process_group("gloo")
count, own = dist.get_world_size(), slice(dist.get_rank() * EACH, (dist.get_rank() + 1) * EACH)
torch.manual_seed(1)
images, weights = torch.randn(EACH * count, 3, 20, 20) + 1, torch.randn(EACH * count, 2, 16, 16)
whole, shared = build(), build()
share_batch(shared)
expected = learn(whole, images, weights, 1)
found = learn(nn.parallel.DistributedDataParallel(shared), images[own], weights[own], count)
dist.all_reduce(found)
torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
for ours, theirs in zip(shared.parameters(), whole.parameters(), strict=True):
    assert (ours.grad - theirs.grad).norm() < 1e-4 * theirs.grad.norm()
assert list(shared.state_dict()) == list(whole.state_dict())
for ours, theirs in zip(shared.buffers(), whole.buffers(), strict=True):
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
torch.testing.assert_close(shared.eval()(images), whole.eval()(images), rtol=1e-3, atol=1e-4)
dist.destroy_process_group()
