import pytest
import torch
from torch import nn

from cairn_trainer.errors import TrainerError
from cairn_trainer.optim import CosineSchedule, LossScale, Sgd


@pytest.mark.parametrize(('passed', 'rate'), [(0, 0.0008), (0.5, 0.0404), (1.0, 0.07805), (5, 0.04008), (10, 0.00016)])
def test_the_rate_follows_the_published_schedule(passed, rate):
    assert CosineSchedule(base=0.08, epochs=10, warmup=1).at(passed) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize(('passed', 'rate'), [(0, 0.0008), (0.5, 0.0804), (1.0, 0.1561), (5, 0.08008), (10, 0.00016)])
def test_biases_start_and_end_at_the_rates_of_all_and_reach_twice_as_high(passed, rate):
    assert CosineSchedule(base=0.08, epochs=10, warmup=1).at(passed, 2.0) == pytest.approx(rate, rel=1e-4)


def test_without_warm_up_the_rate_starts_at_its_base():
    schedule = CosineSchedule(base=0.008, epochs=6)
    assert schedule.at(0) == pytest.approx(0.008)
    assert schedule.at(6) == pytest.approx(0.002 * 0.008)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))


_STEADY = CosineSchedule(base=0.1, epochs=1000)


def _scale() -> LossScale:
    return LossScale(torch.device('cpu'), is_needed=False)


def test_a_step_is_that_of_pytorchs_sgd_with_a_group_for_each_tensor():
    ours, theirs = _network(), _network()
    schedule = CosineSchedule(base=0.1, epochs=5, warmup=2)
    sgd, scale = Sgd(ours.named_parameters(), schedule, momentum=0.9, weight_decay=5e-4, bias_factor=2.0), _scale()
    groups = [{'params': [p], 'top': 2.0 if 'bias' in name else 1.0} for name, p in theirs.named_parameters()]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    for step in range(5):
        images = torch.randn(6, 5, generator=torch.Generator().manual_seed(step))
        for group in reference.param_groups:
            group['lr'] = schedule.at(step, group['top'])
        sgd.zero_grad()
        scale.scaled(ours(images).square().sum()).backward()
        sgd.step(step, scale)
        reference.zero_grad()
        theirs(images).square().sum().backward()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_first_step_that_is_not_finite_leaves_weights_and_velocities_as_they_were():
    network, scale = _network(), LossScale(torch.device('cpu'), is_needed=True)
    sgd = Sgd(network.named_parameters(), _STEADY, momentum=0.9, weight_decay=0.1, bias_factor=2.0)
    before = [parameter.clone() for parameter in network.parameters()]
    scale.scaled(network(torch.randn(4, 5)).sum() * float('inf')).backward()
    assert sgd.step(0, scale).item() == 32768
    assert all(map(torch.equal, network.parameters(), before))
    assert all(not velocity.any() for velocity in sgd.state_dict().values())


def test_a_frozen_tensor_is_not_moved():
    network, scale = _network(), _scale()
    network[1].bias.requires_grad = False
    sgd = Sgd(network.named_parameters(), _STEADY, momentum=0.9, weight_decay=0.1, bias_factor=2.0)
    scale.scaled(network(torch.randn(4, 5)).sum()).backward()
    sgd.step(0, scale)
    assert torch.equal(network[1].bias, torch.zeros(7))
    assert '1.bias' not in sgd.state_dict()


def test_a_parameter_without_a_gradient_is_an_error():
    network, scale = _network(), _scale()
    sgd = Sgd(network.named_parameters(), _STEADY, momentum=0.9, weight_decay=0, bias_factor=1)
    scale.scaled(network[0](torch.randn(2, 5)).sum()).backward()
    with pytest.raises(RuntimeError, match=r'4 parameters got no gradient: 1\.weight, 1\.bias, 3\.weight'):
        sgd.step(0, scale)


def test_velocities_of_another_network_are_rejected_by_name():
    sgd = Sgd(_network().named_parameters(), _STEADY, momentum=0.9, weight_decay=0, bias_factor=1)
    state = dict(sgd.state_dict())
    state['other'] = state.pop('0.bias')
    state['3.weight'] = torch.zeros(3, 8)
    with pytest.raises(TrainerError, match=r'0\.bias is missing.*3\.weight is of shape \(3, 8\), not \(3, 7\).*other is unknown') as caught:
        sgd.load_state_dict(state, 'The checkpoint')
    assert caught.value.code == 'model_mismatch'


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
