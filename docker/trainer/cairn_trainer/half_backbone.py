"""A backbone that computes in fp16, like autocast: for the exported graph, which has no autocast."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

# They sum squares over a map or a token, which overflows fp16 (65504) for activations of a few dozen.
_NORMS = (nn.InstanceNorm2d, nn.LayerNorm, nn.GroupNorm)

# torch 2.11 refuses a batch norm with an eps of 0; added to 1 this one is nothing, in fp32 too.
_NO_EPS = 1e-12


class HalfBackbone(nn.Module):
    """A copy of a backbone with weights in fp16: images [N, 3, H, W] to a map in fp16. Norms that sum squares stay in fp32."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        single = copy.deepcopy(backbone)
        for module in single.modules():
            if isinstance(module, nn.BatchNorm2d):
                _take_in_variance(module)
        self.backbone = single.half()
        _keep_norms_single(self.backbone)

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images.half())


@torch.no_grad()
def _take_in_variance(norm: nn.BatchNorm2d) -> None:
    """Folds the variance into the weights: above 65504 it would be infinite in fp16, and its channel zero."""
    if norm.running_var is None:
        return
    scale = (norm.running_var + norm.eps).rsqrt()
    norm.weight = nn.Parameter(scale if norm.weight is None else norm.weight * scale)
    norm.running_var.fill_(1)
    norm.eps = _NO_EPS


class _SingleNorm(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm.float()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.float()).to(torch.float16)


def _keep_norms_single(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, _NORMS):
            setattr(module, name, _SingleNorm(child))
        else:
            _keep_norms_single(child)
