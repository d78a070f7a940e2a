"""Residual networks: torchvision's, IBN-Net's, and the ResNet-50 of the reference, with the last stage at stride 1.

torchvision is not imported, which would take two seconds per process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from cairn_trainer.backbones.blocks import BasicBlock, Bottleneck, shortcut


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network as data.

    Attributes:
        blocks: Blocks of each of the four stages.
        widths: Width of each stage; a bottleneck outputs four times as many channels.
        strides: Stride of each stage. The last is 1, so that a 256 px image becomes a 16 x 16 map.
        block: `basic` or `bottleneck`.
        groups: Groups of a bottleneck's 3 x 3 convolution.
        group_width: Channels per group for a stage width of 64.
        ibn_stages: Number of initial stages in which the first norm of each block is IBN-a.
        se_reduction: Reduction of the squeeze-excitation after a bottleneck's last norm; 0 means none.
        is_pooled: A stage that halves the map averages 2 x 2 pixels in its shortcut instead of dropping three of four.
    """

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)
    block: Literal['basic', 'bottleneck'] = 'basic'
    groups: int = 1
    group_width: int = 64
    ibn_stages: int = 0
    se_reduction: int = 0
    is_pooled: bool = False

    @property
    def channels(self) -> int:
        """Channels of the last map."""
        return self.widths[-1] * (BasicBlock if self.block == 'basic' else Bottleneck).expansion

    def build(self) -> nn.Module:
        """The network with unset weights."""
        return ResNet(self)

    def stage(self, number: int, channels_in: int) -> nn.Sequential:
        """The blocks of stage `number`, 0 to 3."""
        width, first_stride = self.widths[number], self.strides[number]
        channels = width * (self.channels // self.widths[-1])
        blocks: list[nn.Module] = []
        for index in range(self.blocks[number]):
            stride = first_stride if index == 0 else 1
            downsample = shortcut(channels_in, channels, stride, is_pooled=self.is_pooled and stride > 1)
            if self.block == 'basic':
                blocks.append(BasicBlock(channels_in, width, stride, downsample))
            else:
                options = {'groups': self.groups, 'group_width': self.group_width, 'se_reduction': self.se_reduction}
                blocks.append(Bottleneck(channels_in, width, stride, downsample, is_ibn=number < self.ibn_stages, **options))
            channels_in = channels
        return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """Images [N, 3, H, W] to a map [N, channels, H/16, W/16]."""

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        stem = spec.widths[0]
        self.conv1 = nn.Conv2d(3, stem, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        expansion = spec.channels // spec.widths[-1]
        self.layer1 = spec.stage(0, stem)
        self.layer2 = spec.stage(1, spec.widths[0] * expansion)
        self.layer3 = spec.stage(2, spec.widths[1] * expansion)
        self.layer4 = spec.stage(3, spec.widths[2] * expansion)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
