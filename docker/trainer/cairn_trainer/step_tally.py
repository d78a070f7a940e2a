"""What the ranks exchange in an optimizer step: summed on the device along with the gradients, and read after the step is over."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cairn_trainer.ranks import Ranks


class RankReport(NamedTuple):
    """One rank's report on its part of a step; numbers, so that they can be summed."""

    stops: float
    """1 if this rank was asked to stop."""
    is_time_over: float
    """1 if a time-based checkpoint is due."""
    empty: float
    """1 if a batch had no readable image and was replaced."""
    bad: float
    """Number of unreadable images."""
    waited: float
    """Seconds spent waiting for images."""


class StepSums(NamedTuple):
    """The sums over the ranks, and over the batches of the step; `scale` is the loss scale after it."""

    report: RankReport
    loss: float
    correct: float
    scale: float


class StepTally:
    """The sums of one step. All ranks call every method at the same point. Only `read` waits for a GPU."""

    def __init__(self, ranks: Ranks, report: RankReport, loss: Tensor, correct: Tensor) -> None:
        """Starts the sum. `loss` and `correct` are scalars on the device."""
        self._is_cuda = ranks.device.type == 'cuda'
        own = torch.tensor(report, dtype=torch.float64)
        if self._is_cuda:
            own = own.pin_memory().to(ranks.device, non_blocking=True)
        self._sums = torch.cat([own, torch.stack([loss.double(), correct.double()])])
        self._wait = ranks.begin_sum(self._sums)
        self._ready: torch.cuda.Event | None = None

    def finish(self, scale: Tensor) -> None:
        """After the optimizer's step: starts copying the sums to the host, with the new loss scale."""
        self._wait()
        sums = torch.cat([self._sums, scale.double().reshape(1)])
        if self._is_cuda:
            self._sums = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True).copy_(sums, non_blocking=True)
            self._ready = torch.cuda.Event()
            self._ready.record()
        else:
            self._sums = sums

    def read(self) -> StepSums:
        """Waits for the step to be over on the device."""
        if self._ready is not None:
            self._ready.synchronize()
        *report, loss, correct, scale = self._sums.tolist()
        return StepSums(RankReport(*report), loss, correct, scale)
