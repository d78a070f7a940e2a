"""The backbones by name: those of the reference, as data, and every one of timm as `timm:NAME`."""

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
    """What a backbone is, as data."""

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
    # A thin one for the collections of demos and tests, whose few images a wide network sees too seldom to learn from them.
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
    """The backbone with untrained weights drawn from the generator, and the number of channels of its last map.

    Raises:
        TrainerError: `invalid_configuration` for an unknown name, with those nearest to it.
    """
    if name.startswith(TIMM_PREFIX):
        # timm imports torchvision and torch._dynamo: seconds that only its own backbones shall cost.
        from cairn_trainer.backbones.timm_backbone import build_timm

        return build_timm(name, generator)
    spec = _spec_of(name)
    backbone = spec.build()
    _init_weights(backbone, generator)
    return backbone, spec.channels


def outline_backbone(name: str) -> nn.Module:
    """The backbone's tensors by name and shape; where the backbone is one of ours they hold no numbers and take no memory.

    Raises:
        TrainerError: `invalid_configuration` for an unknown name, with those nearest to it.
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
    """He's initialisation of convolutions (by fan-out), norms at weight 1 and bias 0; linear layers as torch.nn.Linear has them.

    Linear layers are those of the squeeze-excitations, which the reference leaves as PyTorch makes them: so does `weightsExtent: upstream`.
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
