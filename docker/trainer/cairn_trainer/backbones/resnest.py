"""ResNeSt (arXiv 2004.08955), radix 2, with the last stage at stride 1 and dilation 2. State keys are those of the published weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cairn_trainer.backbones.blocks import shortcut

_RADIX = 2
_REDUCTION = 4
_MIN_ATTENTION = 32
_EXPANSION = 4


@dataclass(frozen=True)
class ResNeStSpec:
    """A ResNeSt as data.

    Attributes:
        blocks: Blocks of each of the four stages.
        widths: Width of each stage; a block outputs four times as many channels.
        stem: Channels of the first two of the stem's three convolutions; the third has twice as many.
    """

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    stem: int = 64

    @property
    def channels(self) -> int:
        """Channels of the last map."""
        return self.widths[-1] * _EXPANSION

    def build(self) -> nn.Module:
        """The network with unset weights."""
        return ResNeSt(self)


class SplitAttention(nn.Module):
    """A 3 x 3 convolution to two maps, and their channel-wise weighted sum (equations 1 and 2 of the paper)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        inner = max(channels * _RADIX // _REDUCTION, _MIN_ATTENTION)
        self.conv = nn.Conv2d(channels, channels * _RADIX, 3, padding=dilation, dilation=dilation, groups=_RADIX, bias=False)
        self.bn0 = nn.BatchNorm2d(channels * _RADIX)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.fc2 = nn.Conv2d(inner, channels * _RADIX, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu(self.bn0(self.conv(x))).unflatten(1, (_RADIX, -1))
        context = maps.sum(1).mean((2, 3), keepdim=True)
        attention = self.fc2(self.relu(self.bn1(self.fc1(context)))).unflatten(1, (_RADIX, -1)).softmax(1)
        return (attention * maps).sum(1)


class ResNeStBlock(nn.Module):
    """1 x 1, split attention, optionally a 3 x 3 average with the stride, 1 x 1 to four times the width, and a shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int, *, is_averaged: bool, dilation: int, is_pooled: bool) -> None:
        super().__init__()
        channels = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = SplitAttention(width, dilation)
        self.avd_layer = nn.AvgPool2d(3, stride, padding=1) if is_averaged else nn.Identity()
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(channels_in, channels, stride, is_pooled=is_pooled)

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.avd_layer(self.conv2(out))
        return self.relu(self.bn3(self.conv3(out)) + residual)


class ResNeSt(nn.Module):
    """Images [N, 3, H, W] to a map [N, channels, H/16, W/16]."""

    def __init__(self, spec: ResNeStSpec) -> None:
        super().__init__()
        stem = spec.stem
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
            nn.Conv2d(stem, 2 * stem, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(2 * stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(spec, 0, 2 * stem, stride=1, dilation=1)
        self.layer2 = _stage(spec, 1, spec.widths[0] * _EXPANSION, stride=2, dilation=1)
        self.layer3 = _stage(spec, 2, spec.widths[1] * _EXPANSION, stride=2, dilation=1)
        self.layer4 = _stage(spec, 3, spec.widths[2] * _EXPANSION, stride=1, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _stage(spec: ResNeStSpec, number: int, channels_in: int, *, stride: int, dilation: int) -> nn.Sequential:
    """The first block has the stride, no dilation and, except in stage 0, the average; the others have the dilation."""
    width = spec.widths[number]
    first = ResNeStBlock(channels_in, width, stride, is_averaged=number > 0, dilation=1, is_pooled=True)
    options = {'is_averaged': False, 'dilation': dilation, 'is_pooled': False}
    rest = [ResNeStBlock(width * _EXPANSION, width, 1, **options) for _ in range(spec.blocks[number] - 1)]
    return nn.Sequential(first, *rest)
