import pickle

import numpy as np
import pytest

from cairn_trainer import pickled_items
from cairn_trainer.errors import TrainerError
from cairn_trainer.foreign_arrays import FileArray
from cairn_trainer.pickled_items import read_items


def _pickled(path, content, protocol=pickle.HIGHEST_PROTOCOL):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _items(path):
    found = []
    read_items(path, lambda key, array: found.append((key, array)))
    return found


def _refusal(path):
    with pytest.raises(TrainerError) as caught:
        _items(path)
    return caught.value


@pytest.mark.parametrize('left_in_file', [2**16, 0])
@pytest.mark.parametrize('protocol', range(2, 6))
@pytest.mark.parametrize('dtype', ['<f2', '<f4', '>f8', '<U16', '>U3'])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_arrays_are_what_numpy_reads_in_memory_and_in_rows_of_the_file(tmp_path, monkeypatch, left_in_file, protocol, dtype, order):
    monkeypatch.setattr(pickled_items, '_LEFT_IN_FILE', left_in_file)
    array = np.asarray(np.arange(15).reshape(5, 3) / 4, dtype=dtype, order=order)
    path = _pickled(tmp_path / 'a.pkl', {'a': array, 'b': array[0], 'c': array[:0]}, protocol)
    if protocol < 3:
        # Protocol 2 has no bytes: they are encoded with a codec.
        assert '_codecs.encode' in str(_refusal(path))
        return
    found = dict(_items(path))
    # Protocol 3 has a short form for up to 255 bytes, which is always read.
    assert left_in_file or protocol == 3 or any(isinstance(one, FileArray) for one in found.values()) or array.nbytes < 256
    for key, expected in (('a', array), ('b', array[0]), ('c', array[:0])):
        assert (found[key].dtype, found[key].shape, found[key][:].tolist()) == (expected.dtype, expected.shape, expected.tolist())
    assert found['a'][1:4].tolist() == array[1:4].tolist()
    assert found['a'][4:9].tolist() == array[4:].tolist()


@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('protocol', range(3, 6))
def test_a_large_array_stays_in_the_file(tmp_path, order, protocol):
    array = np.asarray(np.random.default_rng(0).normal(size=(700, 50)).astype('<f4'), order=order)
    (_, found), (_, names) = _items(_pickled(tmp_path / 'a.pkl', {'a': array, 'names': np.arange(5000).astype('<U8')}, protocol))
    assert isinstance(found, FileArray)
    assert isinstance(names, FileArray)
    assert np.array_equal(found[300:650], array[300:650])
    assert np.array_equal(found[:], array)
    assert names[4998:].tolist() == ['4998', '4999']


@pytest.mark.parametrize('protocol', range(3, 6))
def test_items_come_in_the_files_order_and_shared_values_are_found_again(tmp_path, protocol):
    shared = np.arange(3.0)
    content = {f'n{number}': shared if number % 2 else np.full(3, number, float) for number in range(3000)}
    found = _items(_pickled(tmp_path / 'a.pkl', content, protocol))
    assert [key for key, _ in found] == list(content)
    assert all(np.array_equal(array, content[key]) for key, array in found)


def test_values_other_than_arrays_are_passed_as_none(tmp_path):
    assert _items(_pickled(tmp_path / 'a.pkl', {'a': 1, 'b': {'c': np.zeros(2)}, 'd': ['x', (True, None, 1.5)]})) == [
        ('a', None),
        ('b', None),
        ('d', None),
    ]


@pytest.mark.parametrize(
    'content',
    [
        np.array([['a', 1]], dtype=object),
        np.zeros(2, [('a', 'f4')]),
        np.datetime64('2021-01-01'),
        np.zeros(2, 'c8'),
        {1, 2},
        range(3),
        1 << 4000,
    ],
    ids=str,
)
def test_arrays_of_objects_and_what_features_do_not_need_are_rejected(tmp_path, content):
    assert _refusal(_pickled(tmp_path / 'a.pkl', {'a': content})).code in ('unsafe_file', 'unreadable_file')


def test_truncated_invalid_and_overlong_files_are_unreadable(tmp_path):
    whole = _pickled(tmp_path / 'a.pkl', {'a': np.zeros(100_000, '<f4'), 'b': np.zeros(3)}).read_bytes()
    claims = b'\x80\x05}\x8c\x01a\x8e' + b'\xff' * 8 + b's.'
    no_text = pickle.dumps({1: np.zeros(2)})
    long_text = pickle.dumps({'x' * 100_000: np.zeros(2)})
    for content in (b'', whole[:-1], whole[:200_000], whole[:50], b'<html>', claims, no_text, long_text, pickle.dumps([1])):
        (tmp_path / 'b.pkl').write_bytes(content)
        assert _refusal(tmp_path / 'b.pkl').code == 'unreadable_file'
    assert _refusal(tmp_path / 'none.pkl').code == 'missing_file'


def test_a_stand_in_is_called_only_as_numpys_pickles_call_it(tmp_path):
    # A state for the dict itself, and a call of something other than a stand-in: feature files need neither.
    for content in (b'\x80\x05}(\x8c\x08_on_item\x8c\x01ad b.', b'\x80\x05}\x8c\x01a)R.', b'\x80\x05}}\x8c\x01a\x8c\x01bsb.'):
        (tmp_path / 'a.pkl').write_bytes(content)
        assert _refusal(tmp_path / 'a.pkl').code in ('unsafe_file', 'unreadable_file')


def test_a_pickle_that_grows_in_memory_is_unreadable_before_the_machine_has_none_left(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled_items, '_memory_of', lambda _path: -(2**40))
    error = _refusal(_pickled(tmp_path / 'a.pkl', {'a': np.zeros(3)}))
    assert (error.code, 'more memory than a file of its size' in str(error)) == ('unreadable_file', True)
