import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Collection, exit_code_of, fork

from cairn_trainer.data import DecodedImages, EvalImages, TrainImages, erase, eval_batches, train_batches
from cairn_trainer.errors import TrainerError
from cairn_trainer.lists import ImageList, read_parquet
from cairn_trainer.samplers import BatchPositions, SoftmaxSampler
from cairn_trainer.transforms import Augmenter, BadImageError


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / 'data', landmarks=6, views=4)


def _list(collection, rows=None):
    return ImageList(collection.write_list(rows=rows), collection.images, is_labelled=True)


def _dataset(images, *, rank=0, world=1, batch=4, is_kept=True):
    sampler = SoftmaxSampler(np.flatnonzero(images.labels >= 0), batch=batch, seed=0, rank=rank, world=world)
    decoded = DecodedImages(images, 32, 'cairn', is_kept=is_kept)
    return TrainImages(images, sampler, decoded, Augmenter(32, 2, 0.5, 1.0, seed=0), rank=rank, world=world), sampler


def _batches(images, *, workers=0, epochs=2, first_step=0, **options):
    dataset, sampler = _dataset(images, **options)
    steps = sampler.steps_per_epoch
    positions = BatchPositions(batch=4, steps_per_epoch=steps, first_step=first_step, last_step=epochs * steps)
    return list(train_batches(dataset, positions, workers=workers, pin=False))


def _same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[:4], b[:4], strict=True):
            assert torch.equal(x, y)
        assert a.bad == b.bad


@pytest.mark.parametrize('open_at_a_time', [1, 2, 64])
def test_a_list_reads_images_from_tars_as_from_the_folder(collection, monkeypatch, open_at_a_time):
    monkeypatch.setattr('cairn_trainer.image_files._OPEN_TARS', open_at_a_time)
    rows = collection.write_tars(3)
    rows[0].update(tar=None, offset=None, size=None, path=collection.rows[0]['path'])
    images = _list(collection, rows)
    before = _open_files()
    found = [images.read(row) for row in range(images.rows)]
    assert _open_files() - before == min(open_at_a_time, 3)
    plain = _list(collection)
    assert found == [plain.read(row) for row in range(plain.rows)]
    assert images.labels.tolist() == plain.labels.tolist()


def _open_files() -> int:
    return len(list(Path('/proc/self/fd').iterdir()))


def test_a_tar_that_is_open_is_read_without_moving_its_position_which_forked_loaders_share(collection):
    images = _list(collection, collection.write_tars())
    images.read(5)
    tar = str(collection.images / 'images_000.tar')
    (file,) = [file for file in Path('/proc/self/fd').iterdir() if os.path.realpath(file) == tar]
    assert re.search(r'^pos:\s*0$', Path(f'/proc/self/fdinfo/{file.name}').read_text(), re.MULTILINE)
    _same(_batches(images, workers=2), _batches(_list(collection)))


def test_a_tar_that_ends_early_and_a_missing_file_are_bad_images_and_a_tar_that_is_gone_is_not(collection):
    rows = collection.write_tars()
    os.truncate(collection.images / 'images_000.tar', rows[-1]['offset'] + 10)
    (collection.images / collection.rows[0]['path']).unlink()
    with pytest.raises(BadImageError, match=r'images_000\.tar ends before the image does'):
        _list(collection, rows).read(len(rows) - 1)
    (collection.images / 'images_000.tar').unlink()
    with pytest.raises(TrainerError, match=r'The tar .*images_000\.tar cannot be read: No such file') as caught:
        _list(collection, rows).read(0)
    assert caught.value.code == 'storage_failed'
    with pytest.raises(BadImageError, match='the file does not exist'):
        _list(collection).read(0)


def test_a_repeated_image_is_one_image(collection):
    images = _list(collection, [*collection.rows, {**collection.rows[0], 'label': 3}])
    assert images.rows == 25
    assert images.images == 24
    assert images.image_of_row[24] == images.image_of_row[0]


def test_a_faulty_list_is_named_with_its_fault(collection, tmp_path):
    with pytest.raises(TrainerError, match=r'lacks label; it has image_id, path') as caught:
        _list(collection, [{'image_id': 'a', 'path': 'b', 'noisy': False}])
    assert caught.value.code == 'missing_column'
    collection.rows[1]['continent'] = 'Atlantis'
    images = _list(collection)
    with pytest.raises(TrainerError, match=r"row 1: the continent 'Atlantis' is unknown") as caught:
        images.continents()
    assert caught.value.code == 'bad_row'
    with pytest.raises(TrainerError, match='does not exist') as caught:
        ImageList(tmp_path / 'none.parquet', collection.images, is_labelled=True)
    assert caught.value.code == 'missing_file'
    with pytest.raises(TrainerError, match='The image folder'):
        ImageList(collection.write_list(), tmp_path / 'none', is_labelled=True)
    (tmp_path / 'text.parquet').write_text('image_id,path')
    with pytest.raises(TrainerError, match='cannot be read as Parquet'):
        read_parquet(tmp_path / 'text.parquet', ['image_id'])


def test_batches_are_the_same_with_loader_processes_with_and_without_memory_and_from_the_middle(collection):
    collection.break_image('0102')
    images = _list(collection)
    expected = _batches(images)
    _same(_batches(images, workers=2), expected)
    _same(_batches(images, is_kept=False), expected)
    _same(_batches(images, first_step=4), expected[4:])


def test_a_batch_that_does_not_fit_into_shared_memory_is_reported(collection, monkeypatch):
    # No file of a loader process, including those in /dev/shm, may be larger.
    monkeypatch.setattr('cairn_trainer.loaders._begin_worker', lambda _number: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))

    def is_told():
        with pytest.raises(RuntimeError, match='File too large'):
            _batches(_list(collection), workers=1)
        return 0

    assert exit_code_of(fork(is_told)) == 0


def test_the_loader_leaves_the_ranks_generator_alone(collection):
    before = torch.get_rng_state()
    _batches(_list(collection), workers=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unreadable_image_is_replaced_by_the_next_one_of_the_order_and_named(collection):
    images = _list(collection)
    dataset, sampler = _dataset(images)
    order = sampler.order(0).tolist()
    whole = [dataset[(0, index)] for index in range(3)]
    collection.break_image(images.image_id(order[0]))
    collection.break_image(images.image_id(order[1]))
    broken, _ = _dataset(_list(collection))
    sample = broken[(0, 0)]
    assert sample.row == order[2]
    assert [entry.row for entry in sample.bad] == order[:2]
    assert {entry.reason for entry in sample.bad} == {'not an image of a known format'}
    # The augmentation belongs to the position, not to the replacement image.
    assert sample.erased == whole[0].erased
    assert sample.erased != whole[2].erased


def test_when_no_image_can_be_read_the_batch_is_empty(collection):
    for image_id in collection.ids:
        collection.break_image(image_id)
    dataset, _ = _dataset(_list(collection))
    batch = dataset.collate([dataset[(0, 0)], dataset[(0, 1)]])
    assert len(batch.rows) == 0
    assert {entry.row for entry in batch.bad} == set(range(24))


def test_ranks_augment_the_same_index_differently(collection):
    images = _list(collection)
    first, second = (_dataset(images, rank=rank, world=2)[0][(0, 0)] for rank in (0, 1))
    assert first.row != second.row
    assert first.erased != second.erased


def test_erasing_sets_the_rectangle_to_the_mean_and_nothing_else():
    images = torch.ones(2, 3, 8, 8)
    erase(images, torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]]))
    assert images[0, :, 1:4, 2:6].sum() == 0
    assert images[0].sum() == 3 * (64 - 12)
    assert images[1].sum() == 3 * 64


def test_evaluation_batches_leave_unreadable_images_out(collection):
    collection.break_image('0001')
    dataset = EvalImages(DecodedImages(_list(collection), 32, 'cairn', is_kept=False))
    batches = list(eval_batches(dataset, [[(0, 0), (1, 1), (2, 2)], [], [(7, 1)]], workers=0))
    assert [numbers for _, numbers in batches] == [[0, 2], [], []]
    assert batches[0][0].shape == (2, 32, 32, 3)
    assert batches[1][0] is None
