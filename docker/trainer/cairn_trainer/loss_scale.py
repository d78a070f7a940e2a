"""The factor on the loss that keeps small gradients from vanishing in fp16.

torch.amp.GradScaler is not used: it divides the gradients of a torch.optim optimizer, and ours are those of GradientMean.
The rule and its numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

_FIRST = 65_536.0
_LEAST = 1.0
_GROWTH_STEPS = 2_000


class LossScale:
    """Halves after a step whose gradients overflow, doubles after 2,000 steps without; 1 for ever where it is not needed.

    The gradients that it judges are the same on every rank, and so it is.
    """

    def __init__(self, *, is_needed: bool) -> None:
        self.value = _FIRST if is_needed else 1.0
        self._good_steps = 0
        self._is_needed = is_needed

    def accept(self, *, are_finite: bool) -> bool:
        """Whether to go on after a step's gradients; without a step where they are not finite. False when halving helps no more."""
        if not self._is_needed:
            return are_finite
        self._good_steps = self._good_steps + 1 if are_finite else 0
        if not are_finite:
            self.value /= 2
        elif self._good_steps == _GROWTH_STEPS:
            self.value *= 2
            self._good_steps = 0
        return self.value >= _LEAST

    def state_dict(self) -> dict[str, float]:
        return {'value': self.value, 'good_steps': self._good_steps}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.value, self._good_steps = state['value'], int(state['good_steps'])
