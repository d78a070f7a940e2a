import pytest
import torch

from cairn_trainer.loss_scale import LossScale

_CPU = torch.device('cpu')


class _Stage:
    """A weight that changes by its gradient in each step."""

    def __init__(self, scale):
        self.scale = scale
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.optimizer = torch.optim.SGD([self.weight], lr=1.0, fused=True)

    def steps(self, number, gradient=1.0):
        for _ in range(number):
            self.optimizer.zero_grad()
            self.scale.scaled(self.weight.sum() * gradient).backward()
            left = self.scale.step(self.optimizer)
        return left.item()


def test_it_halves_on_overflow_without_a_step_and_doubles_after_2000_steps_without():
    stage = _Stage(LossScale(_CPU, is_needed=True))
    assert stage.steps(1) == 65536
    assert stage.weight.item() == -1
    assert stage.steps(1, float('inf')) == 32768
    assert stage.weight.item() == -1
    assert stage.steps(1999) == 32768
    assert stage.steps(1) == 65536


def test_the_scale_falls_below_the_minimum_if_halving_does_not_help():
    stage = _Stage(LossScale(_CPU, is_needed=True))
    assert stage.steps(16, float('nan')) == LossScale.MIN
    assert stage.steps(1, float('nan')) < LossScale.MIN


def test_without_fp16_it_is_one_and_a_gradient_that_is_not_finite_is_the_end():
    stage = _Stage(LossScale(_CPU, is_needed=False))
    assert stage.steps(2001) == 1
    before = stage.weight.item()
    assert stage.steps(1, float('nan')) < LossScale.MIN
    assert stage.weight.item() == before


def test_a_resumed_scale_continues_counting():
    before, after = (_Stage(LossScale(_CPU, is_needed=True)) for _ in range(2))
    before.steps(1, float('inf'))
    before.steps(1500)
    after.scale.load_state_dict(before.scale.state_dict())
    assert after.scale.state_dict() == {'value': 32768, 'good_steps': 1500}
    assert after.steps(499) == 32768
    assert after.steps(1) == pytest.approx(65536)
