import dataclasses
from collections import Counter

import numpy as np
import pytest
from builders import Collection

from cairn_trainer.config import TrainSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.lists import CONTINENTS, ImageList
from cairn_trainer.samplers import BatchPositions, GldSampler, IdUniformSampler, ShuffleBuffer, SoftmaxSampler, make_sampler

SIZES = [(n, batch, world) for n in (5, 37, 256) for batch in (2, 7) for world in (1, 2, 4)]


def _settings(sampler):
    options = {'image_size': 32, 'epochs': 1, 'learning_rate': 0.1, 'batch': 2, 'ranks': 2, 'images_per_id': 2}
    return TrainSettings(list='clean', sampler=sampler, **options)


def _softmax(n, batch, world, rank, seed=0):
    return SoftmaxSampler(np.arange(n) * 10, batch=batch, seed=seed, rank=rank, world=world)


@pytest.mark.parametrize(('n', 'batch', 'world'), SIZES)
def test_softmax_deals_every_row_at_most_once_and_the_same_number_to_each_rank(n, batch, world):
    samplers = [_softmax(n, batch, world, rank) for rank in range(world)]
    orders = [sampler.order(3) for sampler in samplers]
    steps = samplers[0].steps_per_epoch
    assert [len(order) for order in orders] == [steps * batch] * world
    counts = Counter(np.concatenate(orders).tolist())
    assert counts.keys() <= set((np.arange(n) * 10).tolist())
    if n >= batch * world:
        assert max(counts.values()) == 1
        assert n - sum(counts.values()) < batch * world
    else:
        assert steps == 1
        assert max(counts.values()) - min(counts.values()) <= 1
        assert len(counts) == n


@pytest.mark.parametrize(('rows', 'batch', 'steps'), [(1_580_470, 128, 1544), (4_132_914, 18, 28_701)])
def test_filled_an_epoch_has_the_steps_of_the_reference(rows, batch, steps):
    assert SoftmaxSampler(np.arange(rows), batch=batch, is_filled=True, seed=0, rank=0, world=8).steps_per_epoch == steps


@pytest.mark.parametrize(('n', 'batch', 'world'), SIZES)
def test_filled_the_last_step_takes_the_rows_that_are_left_and_is_the_same_on_any_number_of_ranks(n, batch, world):
    samplers = [SoftmaxSampler(np.arange(n), batch=batch, is_filled=True, seed=0, rank=rank, world=world) for rank in range(world)]
    steps = samplers[0].steps_per_epoch
    assert steps == -(-n // (batch * world))
    dealt = np.stack([sampler.order(3) for sampler in samplers], axis=1).ravel()
    assert len(dealt) == steps * batch * world
    assert set(dealt.tolist()) == set(range(n))
    assert len(set(dealt[:n].tolist())) == n
    alone = SoftmaxSampler(np.arange(n), batch=batch * world, is_filled=True, seed=0, rank=0, world=1)
    assert alone.order(3).tolist() == dealt.tolist()


@pytest.mark.parametrize('kind', ['softmax', 'gld', 'id_uniform'])
def test_an_order_depends_on_seed_epoch_rank_and_world_alone(kind):
    def order(seed=0, epoch=0, rank=0, world=2):
        if kind == 'softmax':
            return _softmax(64, 4, world, rank, seed).order(epoch).tolist()
        if kind == 'id_uniform':
            return _id_uniform([8] * 8, 4, 2, rank, seed)[0].order(epoch).tolist()
        return _gld(64, 4, world, rank, seed).order(epoch).tolist()

    assert order() == order()
    assert len({tuple(order()), tuple(order(seed=1)), tuple(order(epoch=1)), tuple(order(rank=1))}) == 4


def _gld(n, batch, world, rank, seed=0, continents=None, is_noisy=None):
    continents = np.arange(n) % len(CONTINENTS) if continents is None else continents
    is_noisy = (np.arange(n) // len(CONTINENTS)) % 2 == 0 if is_noisy is None else is_noisy
    return GldSampler(np.arange(n), continents.astype(np.int8), is_noisy, batch=batch, seed=seed, rank=rank, world=world)


def test_gld_draws_each_continents_share_two_thirds_of_it_clean():
    n = 1000
    sampler = _gld(n, batch=10, world=1, rank=0)
    order = sampler.order(0)
    drawn = Counter(CONTINENTS[row % len(CONTINENTS)] for row in order.tolist())
    expected = (500, 200, 150, 100, 20, 10, 10, 10)
    assert drawn == dict(zip(CONTINENTS, expected, strict=True))
    clean = Counter(CONTINENTS[row % 8] for row in order.tolist() if (row // 8) % 2 == 1)
    assert clean == {name: count * 66 // 100 for name, count in zip(CONTINENTS, expected, strict=True)}
    assert sampler.steps_per_epoch == 100
    assert sampler.warnings == []
    assert order.tolist() != sorted(order.tolist())


@pytest.mark.parametrize(('n', 'batch', 'world'), SIZES)
def test_gld_gives_each_rank_whole_steps_of_known_rows(n, batch, world):
    for rank in range(world):
        sampler = _gld(n, batch, world, rank)
        order = sampler.order(1)
        assert len(order) >= sampler.steps_per_epoch * batch
        assert len(order) <= max(n // world, batch)
        assert set(order.tolist()) <= set(range(n))


def test_gld_draws_from_what_exists_where_a_cell_is_empty_and_says_so():
    # Asia has only clean rows, all others except OTHER have none at all.
    continents = np.where(np.arange(100) < 60, CONTINENTS.index('Asia'), CONTINENTS.index('OTHER'))
    sampler = _gld(100, 10, 1, 0, continents=continents, is_noisy=np.arange(100) >= 60)
    order = sampler.order(0)
    assert len(order) == 100
    assert 'The list has no noisy rows of Asia: their 17 draws per epoch and rank come from its clean rows.' in sampler.warnings
    assert any('clean rows of Europe' in warning and 'the whole list' in warning for warning in sampler.warnings)
    assert sum(order < 60) >= 50


def _id_uniform(counts, batch, images_per_id, rank=0, seed=0):
    """A list whose landmark i has counts[i] rows, shuffled; the sampler and the landmark of each row."""
    labels = np.random.default_rng(5).permutation(np.repeat(np.arange(len(counts)) * 3, counts))
    rows = np.arange(len(labels)) * 10
    return IdUniformSampler(rows, labels, batch=batch, images_per_id=images_per_id, seed=seed, rank=rank), dict(
        zip(rows, labels, strict=True)
    )


@pytest.mark.parametrize(('batch', 'images_per_id'), [(8, 4), (6, 2), (4, 1), (12, 4)])
def test_id_uniform_fills_each_batch_with_as_many_images_of_each_of_its_landmarks(batch, images_per_id):
    sampler, label_of = _id_uniform([1, 2, 3, 4, 5, 9, 30, 4, 2, 7], batch, images_per_id)
    order = sampler.order(2)
    assert sampler.steps_per_epoch == 10 * images_per_id // batch
    assert len(order) == sampler.steps_per_epoch * batch
    for start in range(0, len(order), batch):
        assert set(Counter(label_of[row] for row in order[start : start + batch]).values()) == {images_per_id}
    # In an epoch each landmark occurs at most once, and no image twice if the landmark has enough.
    assert set(Counter(label_of[row] for row in order).values()) == {images_per_id}
    size_of = Counter(label_of.values())
    repeated = [row for row, times in Counter(order.tolist()).items() if times > 1]
    assert all(size_of[label_of[row]] < images_per_id for row in repeated)


def test_id_uniform_draws_every_image_of_a_landmark_alike():
    sampler, label_of = _id_uniform([2, 6, 20], 6, 2)
    drawn = Counter(row for epoch in range(600) for row in sampler.order(epoch).tolist())
    assert drawn.keys() == label_of.keys()
    for label, size in Counter(label_of.values()).items():
        times = np.array([drawn[row] for row in label_of if label_of[row] == label])
        assert times.sum() == 600 * 2
        assert abs(times / times.mean() - 1).max() < 5 / np.sqrt(1200 / size)


def test_id_uniform_repeats_landmarks_where_the_list_has_fewer_than_one_step_holds():
    sampler, label_of = _id_uniform([3, 3], 8, 2)
    assert sampler.steps_per_epoch == 1
    assert Counter(label_of[row] for row in sampler.order(0)) == {0: 4, 3: 4}


def test_rows_without_a_label_are_never_drawn_and_rows_without_a_continent_count_as_other(tmp_path):
    collection = Collection(tmp_path, landmarks=6, views=4)
    for row in collection.rows[::3]:
        row['label'] = -1
    images = ImageList(collection.write_list(), collection.images, is_labelled=True)
    assert set(images.continents()[images.labels == 2].tolist()) == {CONTINENTS.index('OTHER')}
    for name in ('softmax', 'gld', 'id_uniform'):
        for rank in range(2):
            sampler = make_sampler(_settings(name), images, rank=rank, world=2)
            # 16 of the 24 rows have a label; id_uniform sees 6 landmarks with two images each.
            assert sampler.steps_per_epoch == {'softmax': 4, 'gld': 3, 'id_uniform': 6}[name]
            for epoch in range(5):
                assert (images.labels[sampler.order(epoch)] >= 0).all()


def test_a_list_without_labels_is_rejected(tmp_path):
    collection = Collection(tmp_path, landmarks=2, views=2)
    for row in collection.rows:
        row['label'] = -1
    images = ImageList(collection.write_list(), collection.images, is_labelled=True)
    with pytest.raises(TrainerError, match='nothing to train on'):
        make_sampler(_settings('softmax'), images, rank=0, world=1)


def test_batches_resume_from_any_step():
    whole = list(BatchPositions(batch=3, steps_per_epoch=4, first_step=0, last_step=12))
    rest = list(BatchPositions(batch=3, steps_per_epoch=4, first_step=5, last_step=12))
    assert whole[5:] == rest
    assert whole[4] == [(1, 0), (1, 1), (1, 2)]
    assert len(whole) == 12


def test_a_step_of_several_batches_has_the_positions_of_one_large_batch():
    one = [place for batch in BatchPositions(batch=6, steps_per_epoch=2, first_step=1, last_step=4) for place in batch]
    parts = BatchPositions(batch=2, batches_per_step=3, steps_per_epoch=2, first_step=1, last_step=4)
    assert [place for batch in parts for place in batch] == one
    assert len(parts) == len(list(parts)) == 9


@pytest.mark.parametrize('step_of', [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_softmax_gives_a_step_the_same_images_whatever_the_ranks(step_of):
    world, per_rank = step_of
    orders = [_softmax(256, per_rank, world, rank).order(1) for rank in range(world)]
    for step in range(32):
        images = np.concatenate([order[step * per_rank : (step + 1) * per_rank] for order in orders])
        assert sorted(images) == sorted(_softmax(256, 8, 1, 0).order(1)[step * 8 : (step + 1) * 8])


RUNS = np.arange(600) // 12


def _buffered(sampler, size, *, world=1, rank=0, seed=0):
    buffer = ShuffleBuffer(RUNS, size=size, seed=seed)
    split = {'batch': 6, 'seed': seed, 'rank': rank, 'world': world, 'buffer': buffer}
    if sampler == 'softmax':
        return SoftmaxSampler(np.arange(600), **split)
    return GldSampler(np.arange(600), (np.arange(600) % 8).astype(np.int8), np.arange(600) % 3 == 0, **split)


@pytest.mark.parametrize('size', [1, 40, 100_000])
def test_a_buffer_moves_each_row_less_than_its_size_from_the_order_of_the_runs(size):
    rows = np.random.default_rng(1).permutation(600)
    shuffled = ShuffleBuffer(RUNS, size=size, seed=3).shuffle(rows, 2, 0)
    assert sorted(shuffled) == sorted(rows)
    in_runs = ShuffleBuffer(RUNS, size=1, seed=3).shuffle(rows, 2, 0)
    # Without a buffer each run is read in one go, in an order of its own.
    assert len(np.flatnonzero(np.diff(RUNS[in_runs]))) == RUNS.max()
    assert in_runs.tolist() != rows[np.argsort(RUNS[rows], kind='stable')].tolist()
    moved = np.abs(np.argsort(shuffled) - np.argsort(in_runs))
    assert moved.max() < size
    if size > 1:
        assert moved.max() > min(size, 600) / 4


@pytest.mark.parametrize('sampler', ['softmax', 'gld'])
def test_an_order_with_a_buffer_depends_on_seed_epoch_rank_and_world_alone(sampler):
    orders = [
        _buffered(sampler, 40, world=2, rank=rank, seed=seed).order(epoch).tolist()
        for seed, epoch, rank in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    ]
    assert orders[0] == _buffered(sampler, 40, world=2).order(0).tolist()
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize('world', [1, 2, 3])
def test_a_buffer_gives_every_rank_as_many_rows_and_changes_no_draw(world):
    for sampler in ('softmax', 'gld'):
        ranks = [_buffered(sampler, 40, world=world, rank=rank) for rank in range(world)]
        assert len({rank.steps_per_epoch for rank in ranks}) == 1
        assert len({len(rank.order(1)) for rank in ranks}) == 1
    # With softmax a step of any number of ranks has the same images.
    dealt = np.stack([_buffered('softmax', 40, world=world, rank=rank).order(1) for rank in range(world)], axis=1).ravel()
    alone = _buffered('softmax', 40).order(1)
    assert dealt.tolist() == alone[: len(dealt)].tolist()
    plain = _gld(600, 6, world, 0, continents=np.arange(600) % 8, is_noisy=np.arange(600) % 3 == 0).order(1)
    assert Counter(_buffered('gld', 40, world=world).order(1).tolist()) == Counter(plain.tolist())


def test_ranks_with_draws_of_their_own_use_a_run_at_about_the_same_time():
    one, two = (RUNS[_buffered('gld', 20, world=2, rank=rank).order(0)] for rank in range(2))
    together = [len(set(one[at : at + 60]) & set(two[at : at + 60])) / len(set(one[at : at + 60])) for at in range(0, 240, 60)]
    assert min(together) > 0.4


def test_a_buffer_is_for_tars(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=8, views=6)
    in_tars = ImageList(collection.write_list('tars', collection.write_tars(2)), collection.images, is_labelled=True)
    files = ImageList(collection.write_list(), collection.images, is_labelled=True)
    with_buffer = dataclasses.replace(_settings('softmax'), shuffle_buffer=4)

    def order(settings, images):
        return make_sampler(settings, images, rank=0, world=2).order(0).tolist()

    assert order(with_buffer, files) == order(_settings('softmax'), files) == order(_settings('softmax'), in_tars)
    assert order(with_buffer, in_tars) != order(with_buffer, files)
