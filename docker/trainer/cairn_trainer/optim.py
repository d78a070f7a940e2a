"""SGD with momentum, and the learning rate's cosine.

torch.optim is not used: its first call imports torch._dynamo, which takes about two seconds in every rank. The arithmetic is that of
torch.optim.SGD(fused=True) (dampening 0, no Nesterov), bit for bit on a CPU: one pass over memory where unfused it makes four.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cairn_trainer.errors import TrainerError


@dataclass(frozen=True)
class CosineSchedule:
    """The learning rate as a function of the epochs passed.

    Linear from 0.01 x base to base over the first `warmup` epochs; else a half cosine over all epochs from base to 0.002 x base. The
    cosine does not start anew after the warm-up, so the rate falls a little below base where the two meet.
    """

    base: float
    epochs: float
    warmup: float = 0.0

    def at(self, passed: float) -> float:
        """The learning rate after `passed` epochs (with fraction); iteration i of epoch e (both from 0) trains with e + i / steps."""
        if passed < self.warmup:
            return self.base * (0.01 + 0.99 * passed / self.warmup)
        least = 0.002 * self.base
        return least + 0.5 * (self.base - least) * (1 + math.cos(math.pi * min(passed / self.epochs, 1.0)))


class Sgd:
    """SGD over named parameters; tensors whose name contains `bias` learn `bias_factor` times as fast."""

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], momentum: float, weight_decay: float, bias_factor: float) -> None:
        named = [(name, parameter) for name, parameter in parameters if parameter.requires_grad]
        self._groups = [
            (1.0, [(name, parameter) for name, parameter in named if 'bias' not in name]),
            (bias_factor, [(name, parameter) for name, parameter in named if 'bias' in name]),
        ]
        self._momentum = momentum
        self._weight_decay = weight_decay
        self._velocity = {name: torch.zeros_like(parameter) for name, parameter in named}

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Moves every parameter against its gradient."""
        for factor, group in self._groups:
            if not group:
                continue
            weights = [parameter for _, parameter in group]
            gradients = [parameter.grad for parameter in weights]
            velocities = [self._velocity[name] for name, _ in group]
            torch._fused_sgd_(
                weights,
                gradients,
                velocities,
                weight_decay=self._weight_decay,
                momentum=self._momentum,
                lr=learning_rate * factor,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )

    def state_dict(self) -> dict[str, Tensor]:
        """The velocity of each parameter, by the parameter's name."""
        return self._velocity

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], source: str) -> None:
        """Copies the velocities of a checkpoint.

        Raises:
            TrainerError: `model_mismatch`, naming every parameter that does not fit.
        """
        faults = sorted(f'velocity of {name} is {why}' for name, why in self._faults(state))
        if faults:
            raise TrainerError('model_mismatch', f'{source} does not fit the optimizer: ' + '; '.join(faults) + '.')
        for name, velocity in self._velocity.items():
            velocity.copy_(state[name])

    def _faults(self, state: Mapping[str, Tensor]) -> Iterable[tuple[str, str]]:
        yield from ((name, 'missing') for name in self._velocity.keys() - state.keys())
        yield from ((name, 'unknown') for name in state.keys() - self._velocity.keys())
        for name in self._velocity.keys() & state.keys():
            if state[name].shape != self._velocity[name].shape:
                yield name, f'of shape {tuple(state[name].shape)}, not {tuple(self._velocity[name].shape)}'
