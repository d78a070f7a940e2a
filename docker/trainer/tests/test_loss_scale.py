import pytest

from cairn_trainer.loss_scale import LossScale


def test_the_scale_follows_the_rule_of_pytorchs_scaler():
    from torch.amp import GradScaler

    theirs = GradScaler('cpu', init_scale=65536.0, growth_interval=2000)
    ours = LossScale(is_needed=True)
    assert (ours.value, theirs.get_growth_factor(), theirs.get_backoff_factor(), theirs.get_growth_interval()) == (65536, 2, 0.5, 2000)


def test_it_halves_on_overflow_and_doubles_after_2000_steps_without():
    scale = LossScale(is_needed=True)
    assert scale.accept(are_finite=False)
    assert scale.value == 32768
    for _ in range(1999):
        assert scale.accept(are_finite=True)
    assert scale.value == 32768
    assert scale.accept(are_finite=True)
    assert scale.value == 65536
    scale.accept(are_finite=True)
    scale.accept(are_finite=False)
    for _ in range(1999):
        scale.accept(are_finite=True)
    assert scale.value == 32768


def test_it_gives_up_where_halving_helps_no_more():
    scale = LossScale(is_needed=True)
    accepted = [scale.accept(are_finite=False) for _ in range(17)]
    assert accepted == [True] * 16 + [False]


def test_without_fp16_it_is_one_and_a_gradient_that_is_not_finite_is_the_end():
    scale = LossScale(is_needed=False)
    assert scale.value == 1
    assert scale.accept(are_finite=True)
    assert not scale.accept(are_finite=False)
    assert scale.value == 1


def test_a_resumed_scale_goes_on_counting():
    before, after = LossScale(is_needed=True), LossScale(is_needed=True)
    before.accept(are_finite=False)
    for _ in range(1500):
        before.accept(are_finite=True)
    after.load_state_dict(before.state_dict())
    for _ in range(500):
        after.accept(are_finite=True)
    assert after.value == pytest.approx(65536)
