"""From a batch to its loss, on the rank's device, in the precision that the stage asks for, and beside the other ranks."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from cairn_trainer.config import TrainSettings
from cairn_trainer.data import Batch, erase, stand_in
from cairn_trainer.model import EmbeddingNet, normalise, pixel_mean
from cairn_trainer.ranks import Ranks, meeting

_TYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


class Outcome(NamedTuple):
    """The loss and how many images are classified rightly without the margin: scalars on the device."""

    loss: Tensor
    correct: Tensor


class Forward:
    """Owns how the network is laid out and run: memory format, compilation, autocast, and DistributedDataParallel for several ranks."""

    def __init__(self, net: EmbeddingNet, settings: TrainSettings, ranks: Ranks) -> None:
        """Lays out the network's weights, which must be done before anything holds views of them. All ranks call it at the same time."""
        self._net = net
        self._settings = settings
        self._device = ranks.device
        self._mean = pixel_mean(ranks.device)
        self._type = _TYPES[settings.precision]
        self._format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self._ddp: DistributedDataParallel | None = None
        if settings.channels_last:
            net.base.to(memory_format=torch.channels_last)
        if settings.compile:
            # In place, so that the state keys stay; embed() and features() of evaluation stay uncompiled.
            net.compile()
        if ranks.world > 1:
            # The one channel of a depthwise convolution has any stride; nothing is lost by it.
            warnings.filterwarnings('ignore', message=r'(?s)Grad strides do not match bucket view strides.*grad\.sizes\(\) = \[\d+, 1, ')
            device_ids = [self._device] if self._device.type == 'cuda' else None
            with meeting():
                self._ddp = DistributedDataParallel(net, device_ids=device_ids, gradient_as_bucket_view=True)

    def __call__(self, batch: Batch) -> Outcome:
        """Does not wait for the device.

        For a batch without an image black ones stand in, their loss times 0: the other ranks wait for this one's gradients.
        """
        is_empty = len(batch.rows) == 0
        if is_empty:
            batch = stand_in(self._settings.batch, self._settings.image_size)
        images = normalise(batch.pixels.to(self._device, non_blocking=True), self._format, self._mean)
        erase(images, batch.erased)
        with torch.autocast(self._device.type, self._type, enabled=self._type != torch.float32):
            loss, correct = (self._ddp or self._net)(images, batch.labels.to(self._device, non_blocking=True))
        return Outcome(loss * 0, correct * 0) if is_empty else Outcome(loss, correct)

    @contextlib.contextmanager
    def part(self, *, is_last: bool) -> Iterator[None]:
        """Around the forward and the backward pass of one batch of a step. The ranks exchange gradients in the last one of the step."""
        if self._ddp is None:
            yield
            return
        with meeting(), contextlib.nullcontext() if is_last else self._ddp.no_sync():
            yield

    def rehearse(self) -> None:
        """A pass whose gradients nobody uses. It changes no weight, running mean or random state. All ranks call it at the same time.

        DistributedDataParallel orders its buckets by the first backward pass, and sums in another order before: without this the steps of
        a resumed stage would differ from those of one that was not interrupted.
        """
        if self._ddp is None:
            return
        kept = [buffer.clone() for buffer in self._net.buffers()]
        with self.part(is_last=True), torch.random.fork_rng([self._device] if self._device.type == 'cuda' else []):
            loss, _ = self(stand_in(self._settings.batch, self._settings.image_size))
            loss.backward()
        self._net.zero_grad()
        for buffer, value in zip(self._net.buffers(), kept, strict=True):
            buffer.copy_(value)
