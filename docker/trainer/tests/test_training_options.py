"""Stages that accumulate, end early, start from published weights, score between epochs, or overflow in fp16."""

import hashlib
import json

import pytest
import torch
from builders import Collection, StageRun
from torch import nn

from cairn_trainer.backbones import BACKBONES
from cairn_trainer.train import Stage


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / 'data', landmarks=8, views=4)


def _final(run):
    return torch.load(run.checkpoint()['path'], weights_only=True)


def _losses(run):
    return [event['loss'] for event in run.events('step')]


@pytest.fixture
def _still_norms(monkeypatch):
    """Batch norms that do not look at their batch: the one part of the network in which images of a batch meet."""

    def norm(self, x):
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False)

    monkeypatch.setattr(nn.BatchNorm2d, 'forward', norm)
    monkeypatch.setattr(nn.BatchNorm1d, 'forward', norm)


@pytest.mark.usefixtures('_still_norms')
def test_a_recipe_for_many_ranks_takes_the_same_steps_on_fewer_but_for_batch_norm(tmp_path, collection, capfd):
    options = {'epochs': 1, 'effectiveBatch': 8}
    whole = StageRun(tmp_path / 'whole', collection, batch=8, **options)
    fewer = StageRun(tmp_path / 'fewer', collection, batch=2, ranks=2, **options)
    alone = StageRun(tmp_path / 'alone', collection, batch=2, **options)
    assert [run.run() for run in (whole, fewer, alone)] == [0, 0, 0]
    for run in (fewer, alone):
        assert _losses(run) == pytest.approx(_losses(whole), rel=1e-4)
        assert [event['accuracy'] for event in run.events('step')] == [event['accuracy'] for event in whole.events('step')]
        for key, value in _final(whole)['model'].items():
            torch.testing.assert_close(_final(run)['model'][key], value, rtol=1e-4, atol=1e-5)
    said = capfd.readouterr().out.splitlines()
    firsts = [line for line in said if 'images per optimizer step' in line]
    assert [line.split('.')[0] for line in firsts] == [
        '8 images per optimizer step: 1 ranks x 8 images',
        '8 images per optimizer step: 2 ranks x 2 images x 2 batches',
        '8 images per optimizer step: 1 ranks x 2 images x 4 batches',
    ]
    assert said[0] == firsts[0]
    assert 'the step size and the learning rate stay the same' in firsts[1]
    assert 'batch norms see the 2 images of one rank at a time' in firsts[1]


def test_the_first_line_says_what_other_ranks_would_change(tmp_path, collection, capfd):
    run = StageRun(tmp_path / 'run', collection, epochs=1, batch=4, sampler='gld')
    assert run.run() == 0
    (first, *_) = capfd.readouterr().out.splitlines()
    assert first.startswith('4 images per optimizer step: 1 ranks x 4 images. With another number of ranks the step size changes but')
    assert 'each rank draws 32 rows per epoch' in first


@pytest.mark.usefixtures('_still_norms')
@pytest.mark.parametrize(('before', 'after'), [(2, 1), (1, 2)])
def test_a_stage_continues_with_another_number_of_ranks_and_says_so(tmp_path, collection, capfd, before, after):
    options = {'epochs': 2, 'effectiveBatch': 8, 'checkpointEverySteps': 3}
    whole = StageRun(tmp_path / 'whole', collection, ranks=before, **options)
    assert whole.run() == 0
    second = StageRun(tmp_path / 'second', collection, ranks=after, **options, resume=whole.checkpoint(0))
    capfd.readouterr()
    assert second.run() == 0
    assert f'Continues with {after} ranks after {before} ranks' in capfd.readouterr().out
    assert [event['step'] for event in second.events('step')] == [4, 5, 6, 7, 8]
    # The same images with the same augmentation in each step.
    assert _losses(second) == pytest.approx(_losses(whole)[3:], rel=1e-4)


def _spoil(monkeypatch, call, spoil):
    """Lets `spoil` change the loss of one call of the classifier."""
    from cairn_trainer.loss import ArcFace, Classified

    forward = ArcFace.forward

    def spoiled(self, embeddings, labels):
        loss, correct = forward(self, embeddings, labels)
        self.calls = getattr(self, 'calls', 0) + 1
        return Classified(spoil(loss) if self.calls == call else loss, correct)

    monkeypatch.setattr(ArcFace, 'forward', spoiled)


def _with_infinite_gradient(loss):
    loss.register_hook(lambda gradient: gradient * float('inf'))
    return loss


def test_a_step_whose_fp16_gradients_overflow_is_left_out_and_the_scale_halved(tmp_path, collection, monkeypatch):
    monkeypatch.setattr('cairn_trainer.optim._FIRST', 256.0)  # such a small network overflows with the real one
    _spoil(monkeypatch, 2, _with_infinite_gradient)
    run = StageRun(tmp_path / 'run', collection, epochs=1, batch=8, precision='fp16', checkpointEverySteps=1)
    assert run.run() == 0
    one, two, three = (torch.load(run.checkpoint(number)['path'], weights_only=True) for number in range(3))
    assert [content['scale']['value'] for content in (one, two, three)] == [256, 128, 128]
    assert torch.equal(one['model']['base.conv1.weight'], two['model']['base.conv1.weight'])
    assert not torch.equal(two['model']['base.conv1.weight'], three['model']['base.conv1.weight'])


def test_a_loss_that_is_not_finite_in_one_batch_of_a_step_stops_with_the_ids_of_all(tmp_path, collection, monkeypatch):
    _spoil(monkeypatch, 7, lambda loss: loss * float('nan'))
    run = StageRun(tmp_path / 'run', collection, epochs=1, batch=2, effectiveBatch=8)
    assert run.run() == 65
    assert run.events('failed')[0]['code'] == 'training_diverged'
    diverged = json.loads((run.folder / 'diverged.json').read_text())
    assert (diverged['what'], diverged['step'], diverged['ranks'][0]['loss']) == ('The loss', 1, 'nan')
    assert len(set(diverged['ranks'][0]['imageIds'])) == 8


def test_a_stage_that_ends_early_leaves_the_checkpoint_that_the_whole_one_has_there(tmp_path, collection):
    whole = StageRun(tmp_path / 'whole', collection, epochs=3, batch=8, checkpointEveryEpochs=1)
    early = StageRun(tmp_path / 'early', collection, epochs=3, batch=8, lastEpoch=2)
    assert (whole.run(), early.run()) == (0, 0)
    assert early.events('finished')[0]['step'] == 8
    assert early.checkpoint()['path'].endswith('checkpoint-000008.pt')
    middle = torch.load(whole.checkpoint(1)['path'], weights_only=True)
    for key, value in _final(early)['model'].items():
        assert torch.equal(value, middle['model'][key]), key


def test_a_stage_starts_from_published_weights_and_says_what_it_took(tmp_path, collection, capfd):
    published = tmp_path / 'small-0123abcd.pth'
    weights = {key: value + 0.01 for key, value in BACKBONES['small'].build().state_dict().items() if not key.endswith('tracked')}
    torch.save({**weights, 'fc.weight': torch.zeros(1000, 32)}, published)
    stored = {'path': str(published), 'sha256': hashlib.sha256(published.read_bytes()).hexdigest()}
    options = {'epochs': 1, 'batch': 8, 'learningRate': 1e-9, 'weights': 'small-0123abcd'}
    run = StageRun(tmp_path / 'run', collection, **options)
    run.config['weights'] = stored
    run.write()
    assert run.run() == 0
    torch.testing.assert_close(_final(run)['model']['base.layer1.0.conv1.weight'], weights['layer1.0.conv1.weight'])
    assert f'The file {published} sets {len(weights)} tensors of the backbone.' in capfd.readouterr().out


def test_scores_between_epochs_are_reported_and_plotted(tmp_path, collection):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    evaluation = collection.write_evaluation()
    run = StageRun(tmp_path / 'run', collection, epochs=3, batch=8, evaluate='every_epoch', evaluation=evaluation)
    assert run.run() == 0
    scores = run.events('evaluation')
    assert [(event['when'], event['step']) for event in scores] == [('epoch', 4), ('epoch', 8), ('end', 12)]
    board = EventAccumulator(str(run.folder / 'tensorboard')).Reload()
    steps = run.events('step')
    for tag, key in (('loss', 'loss'), ('learning_rate', 'learningRate'), ('images_per_second', 'imagesPerSecond')):
        points = board.Scalars(tag)
        assert [point.step for point in points] == [event['step'] for event in steps]
        assert [point.value for point in points] == pytest.approx([event[key] for event in steps], rel=1e-6)
    points = board.Scalars('map_at_100')
    assert [(point.step, point.value) for point in points] == [(e['step'], pytest.approx(e['mapAt100'], rel=1e-6)) for e in scores]


def _algorithms_of(monkeypatch, tmp_path, *, deterministic: bool) -> dict:
    """The settings of torch at the start of a stage, read inside its rank."""
    collection = Collection(tmp_path / f'data-{deterministic}', landmarks=4, views=4)
    run = StageRun(tmp_path / f'run-{deterministic}', collection, epochs=1, batch=4, deterministic=deterministic)
    seen = tmp_path / f'seen-{deterministic}.json'
    train = Stage.run

    def look(stage):
        is_strict = torch.get_deterministic_debug_mode() > 0
        seen.write_text(json.dumps({'isStrict': is_strict, 'isFastest': torch.backends.cudnn.benchmark}))
        return train(stage)

    monkeypatch.setattr(Stage, 'run', look)
    assert run.run() == 0
    assert run.events()[-1]['event'] == 'finished'
    return json.loads(seen.read_text())


def test_a_stage_that_need_not_repeat_itself_lets_cudnn_choose_and_trains_to_its_end(monkeypatch, tmp_path):
    assert _algorithms_of(monkeypatch, tmp_path, deterministic=False) == {'isStrict': False, 'isFastest': True}


def test_a_stage_uses_only_algorithms_that_repeat_themselves(monkeypatch, tmp_path):
    assert _algorithms_of(monkeypatch, tmp_path, deterministic=True) == {'isStrict': True, 'isFastest': False}
