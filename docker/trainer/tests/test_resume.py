"""An interrupted stage ends with exactly the same bits as an uninterrupted one."""

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from builders import Collection, StageRun, exit_code_of, wait_until

from cairn_trainer.digest import sha256_of
from cairn_trainer.model import GeM


@pytest.fixture(autouse=True)
def _dropout(monkeypatch):
    """Makes the weights depend on each rank's random state, so that a lost state changes the result."""
    pool = GeM.forward
    monkeypatch.setattr(GeM, 'forward', lambda self, x: F.dropout(pool(self, x), 0.1, self.training))


@pytest.fixture
def collection(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=8, views=6)
    collection.break_image('0101')
    return collection


def _same(one, other, where=''):
    """Compares nested dictionaries and lists of tensors to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            _same(a, b, f'{where}[{number}]')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def _final(run):
    (event,) = [event for event in run.events('checkpoint') if event['final']]
    return torch.load(event['path'], weights_only=True)


def _stop_after(run, steps):
    process = run.start()
    wait_until(lambda: len(run.events('step')) >= steps, f'{steps} steps')
    run.stop_path.touch()
    return exit_code_of(process)


def test_a_resumed_stage_with_a_shuffle_buffer_ends_with_the_same_bits(tmp_path, collection):
    options = {'ranks': 2, 'epochs': 3, 'shuffleBuffer': 8, 'maxBadImageShare': 0.2}
    collection.write_list(rows=collection.write_tars(4))
    whole = StageRun(tmp_path / 'whole', collection, **options)
    assert whole.run() == 0
    first = StageRun(tmp_path / 'first', collection, **options, loaderWorkers=1)
    assert _stop_after(first, steps=5) == 75
    second = StageRun(tmp_path / 'second', collection, **options, resume=first.checkpoint(), loaderWorkers=2)
    assert second.run() == 0
    _same(_final(second), _final(whole))
    other = StageRun(tmp_path / 'other', collection, **{**options, 'shuffleBuffer': 9}, resume=first.checkpoint())
    assert other.run() == 65
    assert 'shuffleBuffer is 8 in the checkpoint and 9 in this stage' in other.events('failed')[0]['message']


@pytest.mark.parametrize(('ranks', 'epochs'), [(1, 2), (2, 3), pytest.param(4, 5, marks=pytest.mark.slow)])
def test_a_stopped_and_resumed_stage_ends_with_the_same_bits(tmp_path, collection, ranks, epochs):
    options = {'ranks': ranks, 'epochs': epochs, 'sampler': 'gld' if ranks == 2 else 'softmax', 'maxBadImageShare': 0.2}
    whole = StageRun(tmp_path / 'whole', collection, **options)
    assert whole.run() == 0

    first = StageRun(tmp_path / 'first', collection, **options)
    assert _stop_after(first, steps=5) == 75
    assert first.events()[-1]['event'] == 'preempted'
    stopped_at = first.events('preempted')[0]['step']
    assert 5 <= stopped_at < whole.events('finished')[0]['step']
    assert first.events('checkpoint')[-1]['step'] == stopped_at

    second = StageRun(tmp_path / 'second', collection, **options, resume=first.checkpoint(), loaderWorkers=2)
    assert second.run() == 0
    assert second.events('started')[0]['startStep'] == stopped_at
    assert second.events('step')[0]['step'] == stopped_at + 1
    _same(_final(second), _final(whole))
    by_step = {event['step']: event['loss'] for run in (first, second) for event in run.events('step')}
    assert by_step == {event['step']: event['loss'] for event in whole.events('step')}


def test_a_checkpoint_with_the_running_means_of_every_rank_can_be_resumed(tmp_path, collection):
    """The format from before the ranks shared them."""
    options = {'ranks': 2, 'epochs': 1, 'maxBadImageShare': 0.2, 'checkpointEverySteps': 5}
    whole = StageRun(tmp_path / 'whole', collection, **options)
    assert whole.run() == 0
    content = torch.load(whole.checkpoint(0)['path'], weights_only=True)
    means = {key: value for key, value in content['model'].items() if 'running' in key or 'tracked' in key}
    for rank, state in enumerate(content['ranks']):
        state['buffers'] = {key: value + rank for key, value in means.items()}
    path = tmp_path / 'earlier.pt'
    torch.save(content, path)
    second = StageRun(tmp_path / 'second', collection, **options, resume={'path': str(path), 'sha256': sha256_of(path)})
    assert second.run() == 0
    _same(_final(second), _final(whole))


@pytest.mark.parametrize(
    ('ranks', 'killed_after', 'workers'),
    [(1, 6, 2), (2, 12, 0), *(pytest.param(*place, marks=pytest.mark.slow) for place in [(1, 43, 0), (2, 31, 1), (4, 7, 1), (4, 19, 0)])],
)
def test_after_a_kill_the_stage_resumes_from_its_last_checkpoint_to_the_same_bits(tmp_path, collection, ranks, killed_after, workers):
    options = {'ranks': ranks, 'epochs': 4, 'maxBadImageShare': 0.2, 'checkpointEverySteps': 5, 'loaderWorkers': workers}
    whole = StageRun(tmp_path / 'whole', collection, **options)
    assert whole.run() == 0
    last = 4 * 24 // ranks
    assert [event['step'] for event in whole.events('checkpoint')] == [*range(5, last, 5), last]

    first = StageRun(tmp_path / 'first', collection, **options)
    process = first.start()
    wait_until(lambda: len(first.events('step')) >= killed_after, f'{killed_after} steps')
    if ranks == 1:
        os.kill(process.pid, signal.SIGKILL)
    else:
        started = _children(process.pid)
        assert len(started) == ranks
        os.kill(started[1], signal.SIGKILL)
    assert exit_code_of(process) != 0
    failed = first.events('failed')
    # Nothing reports the death of a single rank.
    assert [event['code'] for event in failed] == ['program_failed'] * (ranks > 1)
    assert all('SIGKILL' in event['message'] for event in failed)
    assert not first.events('preempted')

    second = StageRun(tmp_path / 'second', collection, **options, resume=first.checkpoint())
    assert second.run() == 0
    start = second.events('started')[0]['startStep']
    assert start % 5 == 0
    assert killed_after - 5 <= start < last
    _same(_final(second), _final(whole))


def test_a_finished_stage_that_is_resumed_reports_its_end_again(tmp_path, collection):
    first = StageRun(tmp_path / 'first', collection, epochs=1, maxBadImageShare=0.2)
    assert first.run() == 0
    second = StageRun(tmp_path / 'second', collection, epochs=1, maxBadImageShare=0.2, resume=first.checkpoint())
    assert second.run() == 0
    assert second.events('step') == []
    _same(_final(second), _final(first))
    assert second.events('finished') == [{**first.events('finished')[0], 'time': second.events('finished')[0]['time']}]


def test_another_step_size_and_another_setting_are_rejected_by_name(tmp_path, collection):
    first = StageRun(tmp_path / 'first', collection, epochs=1, maxBadImageShare=0.2)
    assert first.run() == 0
    second = StageRun(tmp_path / 'second', collection, ranks=2, epochs=1, maxBadImageShare=0.2, seed=4, resume=first.checkpoint())
    assert second.run() == 65
    (failed,) = second.events('failed')
    assert failed['code'] == 'model_mismatch'
    assert 'imagesPerStep is 2 in the checkpoint and 4 in this stage' in failed['message']
    assert 'seed is 3 in the checkpoint and 4 in this stage' in failed['message']


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
