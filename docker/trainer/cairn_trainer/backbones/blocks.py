"""Building blocks of residual networks: instance-batch normalisation, squeeze-excitation, the two plain blocks.

Attribute names are the state keys of the published weights (torchvision's and IBN-Net's), so they must not be changed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class InstanceBatchNorm(nn.Module):
    """IBN-a (arXiv 1807.09441): the first half of the channels by instance, the rest by batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        by_instance, by_batch = x.split((self.half, x.shape[1] - self.half), dim=1)
        return torch.cat((self.IN(by_instance.contiguous()), self.BN(by_batch.contiguous())), dim=1)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a small network over the channel means (arXiv 1709.01507)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3)))[:, :, None, None]


def shortcut(channels_in: int, channels_out: int, stride: int, *, is_pooled: bool) -> nn.Sequential | None:
    """The projection of a block's input to the shape of its output; None if the shapes already match.

    A 1 x 1 convolution with the stride, or (`is_pooled`) an average over stride x stride and a 1 x 1 convolution without.
    """
    if stride == 1 and channels_in == channels_out:
        return None
    if not is_pooled:
        return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))
    # Rounding up, like the convolution in the main branch, supports odd sizes.
    pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (arXiv 1512.03385, figure 2)."""

    expansion = 1

    def __init__(self, channels_in: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + residual)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride, optionally grouped), 1 x 1 to four times the width, and a shortcut."""

    expansion = 4

    def __init__(
        self,
        channels_in: int,
        width: int,
        stride: int,
        downsample: nn.Module | None,
        *,
        groups: int = 1,
        group_width: int = 64,
        is_ibn: bool = False,
        se_reduction: int = 0,
    ) -> None:
        """`group_width` is the channels per group for a `width` of 64; `se_reduction` 0 means no squeeze-excitation."""
        super().__init__()
        inner, channels = width * group_width // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn1 = InstanceBatchNorm(inner) if is_ibn else nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels, se_reduction) if se_reduction else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.se(self.bn3(self.conv3(out))) + residual)
