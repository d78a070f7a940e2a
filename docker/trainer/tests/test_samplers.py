from collections import Counter

import numpy as np
import pytest
from builders import Collection

from cairn_trainer.errors import TrainerError
from cairn_trainer.lists import CONTINENTS, ImageList
from cairn_trainer.samplers import BatchPositions, GldSampler, SoftmaxSampler, make_sampler

SIZES = [(n, batch, world) for n in (5, 37, 256) for batch in (2, 7) for world in (1, 2, 4)]


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


@pytest.mark.parametrize('kind', ['softmax', 'gld'])
def test_an_order_depends_on_seed_epoch_rank_and_world_alone(kind):
    def order(seed=0, epoch=0, rank=0, world=2):
        if kind == 'softmax':
            return _softmax(64, 4, world, rank, seed).order(epoch).tolist()
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
    # Asia has clean rows only, all others but OTHER have none at all.
    continents = np.where(np.arange(100) < 60, CONTINENTS.index('Asia'), CONTINENTS.index('OTHER'))
    sampler = _gld(100, 10, 1, 0, continents=continents, is_noisy=np.arange(100) >= 60)
    order = sampler.order(0)
    assert len(order) == 100
    assert 'The list has no noisy rows of Asia: their 17 draws an epoch and rank come from its clean rows.' in sampler.warnings
    assert any('clean rows of Europe' in warning and 'the whole list' in warning for warning in sampler.warnings)
    assert sum(order < 60) >= 50


def test_rows_without_a_label_are_never_drawn_and_rows_without_a_continent_count_as_other(tmp_path):
    collection = Collection(tmp_path, landmarks=6, views=4)
    for row in collection.rows[::3]:
        row['label'] = -1
    images = ImageList(collection.write_list(), collection.images, is_labelled=True)
    assert set(images.continents()[images.labels == 2].tolist()) == {CONTINENTS.index('OTHER')}
    for name in ('softmax', 'gld'):
        sampler = make_sampler(name, images, batch=2, seed=0, rank=0, world=1)
        for epoch in range(5):
            assert (images.labels[sampler.order(epoch)] >= 0).all()


def test_a_list_without_any_label_is_refused(tmp_path):
    collection = Collection(tmp_path, landmarks=2, views=2)
    for row in collection.rows:
        row['label'] = -1
    images = ImageList(collection.write_list(), collection.images, is_labelled=True)
    with pytest.raises(TrainerError, match='nothing to train on'):
        make_sampler('softmax', images, batch=2, seed=0, rank=0, world=1)


def test_batches_go_on_from_any_step_as_if_there_had_been_no_stop():
    whole = list(BatchPositions(batch=3, steps_per_epoch=4, first_step=0, last_step=12))
    rest = list(BatchPositions(batch=3, steps_per_epoch=4, first_step=5, last_step=12))
    assert whole[5:] == rest
    assert whole[4] == [(1, 0), (1, 1), (1, 2)]
    assert len(whole) == 12
