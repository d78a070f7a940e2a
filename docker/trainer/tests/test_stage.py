import json
import os
import re
import signal

import pytest
import torch
from builders import Collection, StageRun, exit_code_of, wait_until

from cairn_trainer.optim import CosineSchedule


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / 'data', landmarks=8, views=4)


def _weights(run):
    return torch.load(run.checkpoint()['path'], weights_only=True)


def test_a_stage_reports_its_steps_its_checkpoints_and_its_end(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, epochs=2, logEverySteps=5, checkpointEveryEpochs=1, biasLrFactor=3)
    assert run.run() == 0
    kinds = [event['event'] for event in run.events()]
    assert kinds == ['started', *['step'] * 3, 'checkpoint', *['step'] * 4, 'checkpoint', 'finished']
    (started,) = run.events('started')
    assert (started['images'], started['stepsPerEpoch'], started['totalSteps'], started['startStep']) == (32, 16, 32, 0)
    steps = run.events('step')
    assert [event['step'] for event in steps] == [5, 10, 15, 20, 25, 30, 32]
    assert steps[0]['epoch'] == pytest.approx(5 / 16)
    assert steps[-1]['etaSeconds'] == 0
    schedule = CosineSchedule(base=0.05, epochs=2)
    # Step n uses the rate after n - 1 steps.
    assert [event['learningRate'] for event in steps] == [schedule.at((event['step'] - 1) / 16) for event in steps]
    assert all(event['imagesPerSecond'] > 0 for event in steps)
    first, last = run.events('checkpoint')
    assert (first['step'], first['epoch'], first['final'], first['optimizer']) == (16, 1, False, True)
    assert (last['step'], last['epoch'], last['final'], last['optimizer']) == (32, 2, True, True)
    assert last['path'].endswith('checkpoint-000032.pt')


def test_a_checkpoint_is_written_whenever_its_minutes_are_over(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=1, checkpointEveryMinutes=1e-9)
    assert run.run() == 0
    # The report of rank 0 in one step is read in the next.
    assert [(event['step'], event['final']) for event in run.events('checkpoint')] == [(2, False), (4, False), (6, False), (8, True)]


@pytest.mark.parametrize('workers', [0, 2])
def test_images_in_tars_train_to_the_same_weights_as_those_in_a_folder(tmp_path, collection, workers):
    plain = StageRun(tmp_path / 'plain', collection, epochs=1)
    assert plain.run() == 0
    rows = collection.write_tars(3)
    for row in collection.rows:
        (collection.images / row['path']).unlink()
    tars = {'path': str(collection.write_list('tars', rows)), 'rows': len(rows), 'labels': collection.landmarks}
    run = StageRun(tmp_path / 'run', collection, epochs=1, loaderWorkers=workers, list=tars)
    assert run.run() == 0
    assert run.events('badImage') == []
    for key, value in _weights(plain)['model'].items():
        assert torch.equal(value, _weights(run)['model'][key]), key


def test_the_logged_accuracy_and_loss_are_means_over_the_interval(tmp_path, collection):
    each = StageRun(tmp_path / 'each', collection, epochs=1)
    some = StageRun(tmp_path / 'some', collection, epochs=1, logEverySteps=4)
    assert (each.run(), some.run()) == (0, 0)
    losses = [event['loss'] for event in each.events('step')]
    assert [event['loss'] for event in some.events('step')] == pytest.approx([sum(losses[i : i + 4]) / 4 for i in range(0, 16, 4)])


def test_a_stage_learns(tmp_path, collection):
    evaluation = collection.write_evaluation()
    run = StageRun(tmp_path / 'run', collection, epochs=12, batch=8, scale=10, evaluate='start_and_end', evaluation=evaluation)
    assert run.run() == 0
    start, end = run.events('evaluation')
    assert (start['when'], start['step'], end['when'], end['step']) == ('start', 0, 'end', 48)
    assert (end['queries'], end['index']) == (7, 24)
    steps = run.events('step')
    assert steps[-1]['loss'] < steps[0]['loss'] / 2
    assert steps[-1]['accuracy'] > 0.8
    assert [event['event'] for event in run.events()][-3:] == ['checkpoint', 'evaluation', 'finished']


def test_scoring_changes_nothing_and_two_ranks_score_the_network_that_the_checkpoint_holds(tmp_path, collection):
    evaluation = collection.write_evaluation()
    plain = StageRun(tmp_path / 'plain', collection, ranks=2, epochs=1)
    scored = StageRun(tmp_path / 'scored', collection, ranks=2, epochs=1, evaluate='start_and_end', evaluation=evaluation)
    assert (plain.run(), scored.run()) == (0, 0)
    for key, value in _weights(plain)['model'].items():
        assert torch.equal(value, _weights(scored)['model'][key]), key
    options = {'epochs': 1, 'evaluate': 'start_and_end', 'evaluation': evaluation}
    alone = StageRun(tmp_path / 'alone', collection, start=scored.checkpoint(), **options)
    assert alone.run() == 0
    # Each rank's running means differ; rank 0's are the checkpoint's.
    assert scored.events('evaluation')[1]['mapAt100'] == pytest.approx(alone.events('evaluation')[0]['mapAt100'], abs=1e-9)
    assert scored.events('evaluation')[1]['mapAt100'] != scored.events('evaluation')[0]['mapAt100']


def test_the_next_stage_starts_from_the_last_checkpoint_with_more_classes(tmp_path, collection):
    first = StageRun(tmp_path / 'first', collection, epochs=1)
    assert first.run() == 0
    second = StageRun(tmp_path / 'second', collection, epochs=1, learningRate=1e-9, start=first.checkpoint(), classes=10, stage='512')
    assert second.run() == 0
    before, after = _weights(first)['model'], _weights(second)['model']
    assert after['classifier.weight'].shape == (10, 16)
    torch.testing.assert_close(after['classifier.weight'][:8], before['classifier.weight'])
    torch.testing.assert_close(after['base.conv1.weight'], before['base.conv1.weight'])


def test_a_checkpoint_of_another_network_is_rejected_with_each_key(tmp_path, collection):
    first = StageRun(tmp_path / 'first', collection, epochs=1)
    assert first.run() == 0
    model = {**first.config['model'], 'embeddingDim': 8}
    second = StageRun(tmp_path / 'second', collection, start=first.checkpoint(), model=model)
    assert second.run() == 65
    (failed,) = second.events('failed')
    assert failed['code'] == 'model_mismatch'
    assert 'fcneck.weight has the shape 16x32, the network needs 8x32' in failed['message']


@pytest.mark.parametrize('ranks', [1, 2])
def test_an_unreadable_image_is_reported_once_and_the_stage_continues(tmp_path, collection, ranks):
    collection.break_image('0201')
    (collection.images / '0302.jpg').unlink()
    run = StageRun(tmp_path / 'run', collection, ranks=ranks, epochs=2, maxBadImageShare=0.1, loaderWorkers=2 if ranks == 1 else 0)
    assert run.run() == 0
    told = {event['imageId']: event for event in run.events('badImage')}
    assert len(run.events('badImage')) == 2
    assert told['0201']['reason'] == 'not an image of a known format'
    assert told['0302'] == {**told['0302'], 'path': '0302.jpg', 'reason': 'the file does not exist'}
    assert run.events('finished')[0]['badImages'] == 2


@pytest.mark.parametrize('ranks', [1, 2])
def test_too_many_unreadable_images_end_the_stage(tmp_path, collection, ranks):
    for image_id in collection.ids[:6]:
        collection.break_image(image_id)
    run = StageRun(tmp_path / 'run', collection, ranks=ranks, maxBadImageShare=0.1)
    assert run.run() == 65
    (failed,) = run.events('failed')
    assert failed['code'] == 'too_many_bad_images'
    assert 'maxBadImageShare allows 10.0%' in failed['message']
    assert re.search(r'\d of \d+ images tried cannot be read', failed['message'])
    assert run.events()[-1]['event'] == 'failed'


def test_a_list_without_a_readable_image_fails_even_if_every_share_is_allowed(tmp_path, collection):
    for image_id in collection.ids:
        collection.break_image(image_id)
    run = StageRun(tmp_path / 'run', collection, ranks=2, maxBadImageShare=1)
    assert run.run() == 65
    assert run.events('failed')[0]['code'] == 'too_many_bad_images'
    assert len(run.events('badImage')) == 32


@pytest.mark.parametrize('workers', [0, 2])
def test_a_lost_image_folder_ends_the_stage_as_a_machine_fault_however_many_bad_images_are_allowed(
    tmp_path, collection, monkeypatch, workers
):
    monkeypatch.setattr('cairn_trainer.data._CACHE_BYTES', 0)
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=200, maxBadImageShare=1, loaderWorkers=workers)
    process = run.start()
    wait_until(lambda: run.events('step'), 'a step')
    collection.images.rename(tmp_path / 'away')
    assert exit_code_of(process) == 70
    (failed,) = run.events('failed')
    assert failed['code'] == 'storage_failed'
    assert failed['message'] == f'The image folder {collection.images} is gone, empty or not readable. Mount it again.'
    assert not run.events('badImage')


def test_sigterm_saves_a_checkpoint_and_ends_as_preempted(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=100)
    process = run.start()
    wait_until(lambda: run.events('step'), 'a step')
    os.kill(process.pid, signal.SIGTERM)
    assert exit_code_of(process) == 75
    assert [event['event'] for event in run.events()][-2:] == ['checkpoint', 'preempted']
    assert run.events('checkpoint')[0]['step'] == run.events('preempted')[0]['step']
    assert not run.events('failed')


def test_a_stop_before_the_first_step_is_obeyed(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2)
    run.stop_path.touch()
    assert run.run() == 75
    assert [event['event'] for event in run.events()] == ['started', 'checkpoint', 'preempted']
    assert run.events('preempted')[0]['step'] == 0


def test_a_stop_inside_the_last_evaluation_keeps_the_final_checkpoint(tmp_path, collection, monkeypatch):
    from cairn_trainer import evaluate

    run = StageRun(tmp_path / 'run', collection, epochs=1, evaluate='end', evaluation=collection.write_evaluation())
    score = evaluate.Evaluator.score

    def stop_then_score(self, *arguments):
        run.stop_path.touch()
        return score(self, *arguments)

    monkeypatch.setattr(evaluate.Evaluator, 'score', stop_then_score)
    assert run.run() == 75
    assert [event['event'] for event in run.events()][-2:] == ['checkpoint', 'preempted']
    assert run.events('checkpoint')[-1]['final']
    assert len(run.events('checkpoint')) == 1


def _check_diverged(run, collection, what):
    (failed,) = run.events('failed')
    assert failed['code'] == 'training_diverged'
    assert failed['message'].startswith(f'{what} is not finite after')
    diverged = json.loads((run.folder / 'diverged.json').read_text())
    assert diverged['step'] == run.events('step')[-1]['step']
    assert [len(rank['imageIds']) for rank in diverged['ranks']] == [2, 2]
    assert {image_id for rank in diverged['ranks'] for image_id in rank['imageIds']} <= set(collection.ids)


def test_a_stage_that_diverges_ends_and_leaves_no_checkpoint_with_it(tmp_path, collection):
    wild = {'learningRate': 10, 'scale': 256, 'momentum': 1, 'weightDecay': 1, 'epochs': 200}
    run = StageRun(tmp_path / 'run', collection, ranks=2, checkpointEverySteps=1, **wild)
    assert run.run() == 65
    _check_diverged(run, collection, 'A weight or running mean')
    for value in _weights(run)['model'].values():
        assert value.isfinite().all()
    without = StageRun(tmp_path / 'without', collection, ranks=2, **wild)
    assert without.run() == 65
    _check_diverged(without, collection, 'The loss')


@pytest.mark.parametrize(('what', 'spoil'), [('The loss', 'forward'), ('A gradient', 'backward')])
def test_no_step_is_taken_on_what_is_not_finite_on_one_rank_alone(tmp_path, collection, monkeypatch, what, spoil):
    from cairn_trainer.loss import ArcFace, Classified

    forward = ArcFace.forward

    def spoiled(self, embeddings, labels):
        loss, correct = forward(self, embeddings, labels)
        if os.environ['RANK'] == '1' and embeddings.requires_grad:
            self.calls = getattr(self, 'calls', 0) + 1  # the first is the rehearsal's
            if self.calls == 4 and spoil == 'forward':
                loss = loss * float('nan')
            elif self.calls == 4:
                loss.register_hook(lambda gradient: gradient * float('nan'))
        return Classified(loss, correct)

    monkeypatch.setattr(ArcFace, 'forward', spoiled)
    run = StageRun(tmp_path / 'run', collection, ranks=2, checkpointEverySteps=2)
    assert run.run() == 65
    assert len(run.events('step')) == 2
    _check_diverged(run, collection, what)


def test_a_failure_of_all_ranks_is_reported_once(tmp_path, collection):
    run = StageRun(tmp_path / 'run', collection, ranks=2, list={'path': str(tmp_path / 'none.parquet'), 'rows': 0, 'labels': 0})
    assert run.run() == 65
    assert [event['code'] for event in run.events()] == ['missing_file']


def test_a_failure_of_one_rank_is_reported_by_it(tmp_path, collection, monkeypatch):
    from cairn_trainer.optim import Sgd

    step = Sgd.step

    def fail_on_rank_1(self, passed, scale):
        if os.environ['RANK'] == '1':
            raise ZeroDivisionError('a made fault')
        return step(self, passed, scale)

    monkeypatch.setattr(Sgd, 'step', fail_on_rank_1)
    run = StageRun(tmp_path / 'run', collection, ranks=2)
    assert run.run() == 70
    (failed,) = run.events('failed')
    assert failed['code'] == 'internal'
    assert 'a made fault' in failed['message']
    assert 'fail_on_rank_1' in failed['message']


def test_a_failure_of_one_rank_inside_a_pass_is_reported_by_it_if_no_peer_is_lost(tmp_path, collection, monkeypatch):
    from cairn_trainer.loss import ArcFace

    logits = ArcFace.logits

    def fail_on_rank_1(self, cosine, labels):
        if os.environ['RANK'] == '1' and labels.any():  # not in the rehearsal, whose labels are 0
            raise RuntimeError('a made fault')
        return logits(self, cosine, labels)

    monkeypatch.setattr(ArcFace, 'logits', fail_on_rank_1)
    monkeypatch.setattr('cairn_trainer.rank._CAUSE_SECONDS', 0.5)
    run = StageRun(tmp_path / 'run', collection, ranks=2, batch=8)
    assert run.run() == 70
    (failed,) = run.events('failed')
    assert failed['code'] == 'internal'
    assert failed['message'].startswith('RuntimeError: a made fault')


@pytest.mark.parametrize('ranks', [1, 2])
def test_a_loader_that_the_kernel_kills_because_shared_memory_is_full_is_recognized(tmp_path, collection, monkeypatch, ranks):
    monkeypatch.setattr('cairn_trainer.data.decode', lambda *_arguments: os.kill(os.getpid(), signal.SIGBUS))
    run = StageRun(tmp_path / 'run', collection, ranks=ranks, loaderWorkers=1)
    assert run.run() == 78
    (failed,) = run.events('failed')
    assert failed['code'] == 'shared_memory_full'
    assert 'A loader process' in failed['message']
    assert 'was killed by SIGBUS' in failed['message']
    assert failed['message'].endswith('Lower loaderWorkers or batch, or raise sharedMemory of the pool.')


def test_a_rank_that_the_kernel_kills_because_shared_memory_is_full_is_recognized(tmp_path, collection, monkeypatch):
    monkeypatch.setattr('cairn_trainer.optim.Sgd.step', lambda *_arguments: os.kill(os.getpid(), signal.SIGBUS))
    run = StageRun(tmp_path / 'run', collection, ranks=2)
    assert run.run() == 128 + signal.SIGBUS
    (failed,) = run.events('failed')
    assert failed['code'] == 'shared_memory_full'
    assert 'was killed by SIGBUS' in failed['message']


@pytest.mark.parametrize(
    'message',
    [
        # From torch before and after it reserves the memory first, and from NCCL.
        'unable to allocate shared memory(shm) for file </torch_57_2463_0>: No space left on device (28)',
        'unable to write to file </torch_57_2463_0>: No space left on device (28)',
        'NCCL error\nError while creating shared memory segment /dev/shm/nccl-VPyhzw (size 21823872), error: No space left on device (28)',
    ],
)
def test_full_shared_memory_is_recognized(tmp_path, collection, monkeypatch, message):
    def fail(*_arguments):
        raise RuntimeError(f'Caught RuntimeError in DataLoader worker process 0.\n{message}')

    monkeypatch.setattr('cairn_trainer.optim.Sgd.step', fail)
    run = StageRun(tmp_path / 'run', collection)
    assert run.run() == 78
    (failed,) = run.events('failed')
    assert failed['code'] == 'shared_memory_full'
    assert failed['message'].startswith(f'Shared memory is full: {message.splitlines()[-1]}. ')


def test_a_full_disk_is_recognized(tmp_path, collection, monkeypatch):
    def full(_self, _data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('cairn_trainer.checkpoint._HashingFile.write', full)
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=1)
    assert run.run() == 70
    assert [event['code'] for event in run.events('failed')] == ['storage_full']


def test_a_list_with_an_unexpected_number_of_rows_is_rejected(tmp_path, collection):
    path = collection.write_list(rows=collection.rows[:-1])
    run = StageRun(tmp_path / 'run', collection, list={'path': str(path), 'rows': 32, 'labels': 8})
    assert run.run() == 65
    (failed,) = run.events('failed')
    assert failed['code'] == 'corrupt_artifact'
    assert 'has 31 rows, not 32' in failed['message']


def test_a_label_beyond_the_classifier_and_a_wrong_number_of_ranks_are_rejected(tmp_path, collection):
    run = StageRun(tmp_path / 'labels', collection, classes=5)
    assert run.run() == 65
    assert 'has the label 7, but the classifier has 5 classes' in run.events('failed')[0]['message']
    run = StageRun(tmp_path / 'ranks', collection, ranks=2)
    run.ranks = 1
    assert run.run() == 78
    assert 'settings.ranks is 2, but 1 ranks were started' in run.events('failed')[0]['message']
