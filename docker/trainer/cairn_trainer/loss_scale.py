"""The factor on the loss that keeps small gradients from vanishing in fp16, and the guard that leaves out a step that is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.amp import GradScaler

_FIRST = 65_536.0
_GROWTH_STEPS = 2_000
_NEVER = 2**31 - 1


class LossScale:
    """torch.amp.GradScaler: a step whose gradients are not finite is left out, and halves the scale; 2,000 others double it.

    All of it happens on the device, and nothing waits for it. Where no scale is needed it is 1 until a gradient is not finite, and 0.5
    then, so that in any precision a scale under `LEAST` means that the stage has diverged. The gradients that it looks at are the same on
    every rank, and so is the scale.
    """

    LEAST = 1.0

    def __init__(self, device: torch.device, *, is_needed: bool) -> None:
        first, growth_steps = (_FIRST, _GROWTH_STEPS) if is_needed else (1.0, _NEVER)
        self._scaler = GradScaler(device.type, init_scale=first, growth_interval=growth_steps)
        self._one = torch.ones((), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale, to begin a backward pass from."""
        return self._scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """The optimizer's step, or none where a gradient is not finite; the scale of the next step, a scalar on the device."""
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
