"""The backbones, as data: a name, its structure, and the channels of its last map.

The residual network has the keys and the arithmetic of torchvision's, which is not imported: that costs two seconds a process. The
last stage has stride 1, so that a 256 px image becomes a 16 x 16 map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cairn_trainer.errors import TrainerError


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network: the blocks of its four stages, and each stage's width and stride."""

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)

    @property
    def channels(self) -> int:
        return self.widths[-1]


BACKBONES: dict[str, ResNetSpec] = {
    'resnet18': ResNetSpec(blocks=(2, 2, 2, 2)),
}


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """The backbone with unset weights, and its number of output channels.

    Raises:
        TrainerError: `invalid_configuration` for an unknown name.
    """
    spec = BACKBONES.get(name)
    if spec is None:
        raise TrainerError('invalid_configuration', f'model.backbone is {name!r}; it must be one of {", ".join(BACKBONES)}.')
    return ResNet(spec), spec.channels


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (arXiv 1512.03385, figure 2)."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class ResNet(nn.Module):
    """Images [N, 3, H, W] to a map [N, channels, H/16, W/16]."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, spec.widths[0], 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = spec.widths[0]
        for number, (blocks, width, stride) in enumerate(zip(spec.blocks, spec.widths, spec.strides, strict=True), start=1):
            stage = [BasicBlock(channels if i == 0 else width, width, stride if i == 0 else 1) for i in range(blocks)]
            self.add_module(f'layer{number}', nn.Sequential(*stage))
            channels = width

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def init_backbone(backbone: nn.Module, generator: torch.Generator) -> None:
    """He's initialisation of the convolutions by fan-out, batch norms at weight 1 and bias 0; the same seed, the same weights."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu', generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
