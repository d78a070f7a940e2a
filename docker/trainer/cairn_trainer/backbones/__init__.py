"""The backbones by name: the reference's, as data, and all of timm's as `timm:NAME`."""

from __future__ import annotations

import difflib
import math
from typing import Protocol

import torch
from torch import nn

from cairn_trainer.backbones.resnest import ResNeStSpec
from cairn_trainer.backbones.resnet import ResNetSpec
from cairn_trainer.errors import TrainerError


class BackboneSpec(Protocol):
    """A backbone as data."""

    @property
    def channels(self) -> int:
        """Channels of its last map."""
        ...

    def build(self) -> nn.Module:
        """The network with unset weights: images [N, 3, H, W] to a map [N, channels, H/16, W/16]."""
        ...


_R101 = (3, 4, 23, 3)

BACKBONES: dict[str, BackboneSpec] = {
    'resnet18': ResNetSpec(blocks=(2, 2, 2, 2)),
    # A narrow one for the collections of demos and tests, which have too few images to train a wide network.
    'resnet10_w32': ResNetSpec(blocks=(1, 1, 1, 1), widths=(32, 64, 128, 256)),
    'resnet50': ResNetSpec(blocks=(3, 4, 6, 3), block='bottleneck', is_pooled=True),
    'resnet101_ibn_a': ResNetSpec(blocks=_R101, block='bottleneck', ibn_stages=3),
    'se_resnet101_ibn_a': ResNetSpec(blocks=_R101, block='bottleneck', ibn_stages=3, se_reduction=16),
    'resnext101_ibn_a': ResNetSpec(blocks=_R101, block='bottleneck', ibn_stages=3, groups=32, group_width=4),
    'resnest101': ResNeStSpec(blocks=_R101),
    'resnest269': ResNeStSpec(blocks=(3, 30, 48, 8)),
}

TIMM_PREFIX = 'timm:'


def build_backbone(name: str, generator: torch.Generator) -> tuple[nn.Module, int]:
    """Builds the backbone with random weights from the generator; also returns the number of channels of its last map.

    Raises:
        TrainerError: `invalid_configuration` for an unknown name; the message suggests the closest one.
    """
    if name.startswith(TIMM_PREFIX):
        # Deferred: timm imports torchvision and torch._dynamo, which takes seconds.
        from cairn_trainer.backbones.timm_backbone import build_timm

        return build_timm(name, generator)
    spec = _spec_of(name)
    backbone = spec.build()
    _init_weights(backbone, generator)
    return backbone, spec.channels


def outline_backbone(name: str) -> nn.Module:
    """The backbone's tensors by name and shape; for built-in backbones they are on the meta device and take no memory.

    Raises:
        TrainerError: `invalid_configuration` for an unknown name; the message suggests the closest one.
    """
    if name.startswith(TIMM_PREFIX):
        return build_backbone(name, torch.Generator())[0]
    with torch.device('meta'):
        return _spec_of(name).build()


def _spec_of(name: str) -> BackboneSpec:
    spec = BACKBONES.get(name)
    if spec is None:
        nearest = difflib.get_close_matches(name, BACKBONES, n=1)
        hint = f' Did you mean {nearest[0]}?' if nearest else ''
        known = ', '.join(BACKBONES)
        message = f'model.backbone is {name!r}; it must be one of {known}, or {TIMM_PREFIX}NAME for a network of timm.{hint}'
        raise TrainerError('invalid_configuration', message)
    return spec


def _init_weights(backbone: nn.Module, generator: torch.Generator) -> None:
    """He initialisation of convolutions (by fan-out), norms with weight 1 and bias 0; linear layers as in torch.nn.Linear.

    The linear layers are those of the squeeze-excitations, where the reference keeps PyTorch's default, like `weightsExtent: upstream`.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu', generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
