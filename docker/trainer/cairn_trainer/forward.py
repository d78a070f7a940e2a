"""From a batch to its loss, on the rank's device, in the stage's precision, together with the other ranks."""

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
    """The loss, and the number of images classified correctly without the margin: scalars on the device."""

    loss: Tensor
    correct: Tensor


class Forward:
    """Configures how the network runs: memory format, compilation, autocast, and DistributedDataParallel for several ranks."""

    def __init__(self, net: EmbeddingNet, settings: TrainSettings, ranks: Ranks) -> None:
        """Sets the memory format of the weights, which must happen before views of them exist. All ranks call it at the same time."""
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
            # The stride of the single channel of a depthwise convolution is arbitrary; the warning is harmless.
            warnings.filterwarnings('ignore', message=r'(?s)Grad strides do not match bucket view strides.*grad\.sizes\(\) = \[\d+, 1, ')
            device_ids = [self._device] if self._device.type == 'cuda' else None
            with meeting():
                self._ddp = DistributedDataParallel(net, device_ids=device_ids, gradient_as_bucket_view=True)

    def __call__(self, batch: Batch) -> Outcome:
        """Does not wait for the device.

        A batch without images is replaced by black ones with a loss of 0: the other ranks wait for this rank's gradients.
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
        """Context of the forward and backward pass of one batch. The ranks exchange gradients in the last batch of an optimizer step."""
        if self._ddp is None:
            yield
            return
        with meeting(), contextlib.nullcontext() if is_last else self._ddp.no_sync():
            yield

    def rehearse(self) -> None:
        """A pass whose gradients are discarded. It does not change weights, running means or random states. All ranks call it at the same
        time.

        DistributedDataParallel orders its buckets by the first backward pass, and sums in another order before: without the rehearsal the
        optimizer steps of
        a resumed stage would differ from those of an uninterrupted one.
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
