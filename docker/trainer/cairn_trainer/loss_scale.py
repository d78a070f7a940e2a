"""The loss scale, which keeps small gradients from vanishing in fp16, and skips non-finite optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.amp import GradScaler

_FIRST = 65_536.0
_GROWTH_STEPS = 2_000
_NEVER = 2**31 - 1


class LossScale:
    """torch.amp.GradScaler: a step with non-finite gradients is skipped and halves the scale; 2,000 finite steps double it.

    All of this happens on the device, without waiting. If no scale is needed it is 1 until a gradient is not finite, then 0.5, so that in
    any precision a scale below `MIN` means that the stage has diverged. The gradients are the same on every rank, and so is the scale.
    """

    MIN = 1.0

    def __init__(self, device: torch.device, *, is_needed: bool) -> None:
        first, growth_steps = (_FIRST, _GROWTH_STEPS) if is_needed else (1.0, _NEVER)
        self._scaler = GradScaler(device.type, init_scale=first, growth_interval=growth_steps)
        self._one = torch.ones((), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale, for the backward pass."""
        return self._scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """Runs the optimizer step unless a gradient is not finite; returns the next scale, a scalar on the device."""
        self._scaler.step(optimizer)
        self._scaler.update()
        return self._scaler.scale(self._one)

    def state_dict(self) -> dict[str, float]:
        """Waits for the device."""
        state = self._scaler.state_dict()
        return {'value': state['scale'], 'good_steps': state['_growth_tracker']}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        scale = {'scale': state['value'], '_growth_tracker': int(state['good_steps'])}
        self._scaler.load_state_dict({**self._scaler.state_dict(), **scale})
