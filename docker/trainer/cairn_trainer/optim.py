"""SGD with momentum, and the cosine schedule of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from cairn_trainer.errors import TrainerError


@dataclass(frozen=True)
class CosineSchedule:
    """The learning rate as a function of the epochs passed.

    Linear from 0.01 x base to the peak over the first `warmup` epochs; then a half cosine over all epochs from the peak to
    0.002 x base. The cosine also covers the warm-up epochs, so the rate drops slightly below the peak where the two meet.

    The peak is base, or a multiple of it for parameters that learn faster. Start and end are the same for all, as in the reference.
    """

    base: float
    epochs: float
    warmup: float = 0.0

    def at(self, passed: float, factor: float = 1.0) -> float:
        """The learning rate after `passed` epochs (with fraction); iteration i of epoch e (both from 0) trains with e + i / steps.

        `factor` is the peak as a multiple of base.
        """
        top, start, end = self.base * factor, 0.01 * self.base, 0.002 * self.base
        if passed < self.warmup:
            return start + (top - start) * passed / self.warmup
        return end + 0.5 * (top - end) * (1 + math.cos(math.pi * min(passed / self.epochs, 1.0)))


class Sgd:
    """torch.optim.SGD over named parameters; the rate of tensors whose name contains `bias` peaks at `bias_factor` times the base."""

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        schedule: CosineSchedule,
        *,
        momentum: float,
        weight_decay: float,
        bias_factor: float,
    ) -> None:
        self._schedule = schedule
        self._named = {name: parameter for name, parameter in parameters if parameter.requires_grad}
        groups = [
            {'params': [parameter for name, parameter in self._named.items() if 'bias' not in name], 'factor': 1.0},
            {'params': [parameter for name, parameter in self._named.items() if 'bias' in name], 'factor': bias_factor},
        ]
        groups = [group for group in groups if group['params']]
        self._optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, weight_decay=weight_decay, fused=True)
        for parameter in self._named.values():
            # Otherwise torch uses uninitialised memory as the velocity if the first step is skipped.
            self._optimizer.state[parameter]['momentum_buffer'] = torch.zeros_like(parameter)

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self, passed: float, scale: LossScale) -> Tensor:
        """Updates every parameter, or none if a gradient is not finite; returns the new loss scale, on the device.

        `passed` is in epochs, with fraction.

        Raises:
            RuntimeError: a parameter got no gradient, and would silently keep its value.
        """
        missing = [name for name, parameter in self._named.items() if parameter.grad is None]
        if missing:
            raise RuntimeError(f'{len(missing)} parameters got no gradient: {", ".join(missing[:5])}.')
        for group in self._optimizer.param_groups:
            group['lr'] = self._schedule.at(passed, group['factor'])
        return scale.step(self._optimizer)

    def state_dict(self) -> dict[str, Tensor]:
        """The velocity of each parameter, by the parameter's name."""
        return {name: self._optimizer.state[parameter]['momentum_buffer'] for name, parameter in self._named.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], source: str) -> None:
        """Copies the velocities of a checkpoint.

        Raises:
            TrainerError: `model_mismatch`, naming every parameter that does not fit.
        """
        own = self.state_dict()
        faults = sorted(f'velocity of {name} is {why}' for name, why in _faults(own, state))
        if faults:
            raise TrainerError('model_mismatch', f'{source} does not fit the optimizer: ' + '; '.join(faults) + '.')
        for name, velocity in own.items():
            velocity.copy_(state[name])


def _faults(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterable[tuple[str, str]]:
    yield from ((name, 'missing') for name in own.keys() - state.keys())
    yield from ((name, 'unknown') for name in state.keys() - own.keys())
    for name in own.keys() & state.keys():
        if state[name].shape != own[name].shape:
            yield name, f'of shape {tuple(state[name].shape)}, not {tuple(own[name].shape)}'


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
