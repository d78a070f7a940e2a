"""From a batch to its loss, on the rank's device and in the precision that the stage asks for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cairn_trainer.config import TrainSettings
from cairn_trainer.data import Batch, erase
from cairn_trainer.model import EmbeddingNet, normalise

_TYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class Outcome(NamedTuple):
    """The loss as a tensor and as a number, and how many images are classified rightly without the margin."""

    loss: Tensor
    value: float
    correct: int


class Forward:
    """Owns how the network is laid out and run: memory format, compilation, autocast."""

    def __init__(self, net: EmbeddingNet, settings: TrainSettings, device: torch.device) -> None:
        """Lays out the network's weights, which must be done before anything holds views of them."""
        self._net = net
        self._device = device
        self._type = _TYPES[settings.precision]
        self._format = torch.channels_last if settings.channels_last else torch.contiguous_format
        if settings.channels_last:
            net.base.to(memory_format=torch.channels_last)
        if settings.compile:
            # In place, so that the state keys stay; embed() and features() of evaluation stay uncompiled.
            net.compile()

    def __call__(self, batch: Batch) -> Outcome:
        if len(batch.rows) == 0:
            return Outcome(torch.zeros(()), 0.0, 0)
        images = normalise(batch.pixels.to(self._device, non_blocking=True), self._format)
        erase(images, batch.erased)
        with torch.autocast(self._device.type, self._type, enabled=self._type != torch.float32):
            loss, correct = self._net(images, batch.labels.to(self._device, non_blocking=True))
        return Outcome(loss, loss.item(), int(correct.item()))
