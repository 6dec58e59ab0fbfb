"""timm, imported so that a torchvision built for another PyTorch cannot break it.

timm imports torchvision, whose import registers kernels for operators that its own compiled library declares. Where
that library does not load (a torchvision for another build of PyTorch), declaring the two operators' schemas is enough:
nothing here calls them.
"""

import torch


def _declare(name: str, schema: str) -> None:
    if not hasattr(torch.ops.torchvision, name):
        torch.library.define(f"torchvision::{name}", schema)


try:
    import torchvision  # noqa: F401
except RuntimeError:
    _declare("nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declare("qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from timm import create_model, get_pretrained_cfg  # noqa: E402
from timm.layers import BatchNormAct2d, Conv2dSame, DropPath  # noqa: E402

__all__ = ["BatchNormAct2d", "Conv2dSame", "DropPath", "create_model", "get_pretrained_cfg"]
