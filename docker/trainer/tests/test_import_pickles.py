import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cairn_trainer import feature_set, foreign_pickle, import_features, import_lists, read_revisited
from cairn_trainer.errors import TrainerError
from cairn_trainer.foreign_pickle import read_pickle
from cairn_trainer.pickled_items import read_items

ROOT = '/home/someone/landmarks/'
ROWS = [
    (f'{ROOT}train/a/b/c/abc1.jpg', 0, 0, 'Asia'),
    (f'{ROOT}index/d/e/f/def2.jpg', 3, 1, 'North America'),
    (f'{ROOT}test/a/b/d/abd3.jpg', -1, 0, 'null'),
    (f'{ROOT}train/a/b/c/abc1.jpg', 3, 0, -1),
]


class Malice:
    def __reduce__(self):
        return os.system, ('touch harmed',)


def _pickled(path, content, protocol=pickle.HIGHEST_PROTOCOL):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def _refusal(function, *arguments, **options):
    with pytest.raises(TrainerError) as caught:
        function(*arguments, **options)
    return caught.value


@pytest.mark.parametrize('protocol', range(6))
def test_a_list_becomes_rows_in_our_columns(tmp_path, monkeypatch, protocol):
    monkeypatch.setattr(import_lists, '_ROW_GROUP', 3)
    _pickled(tmp_path / 'cache_all_list.pkl', ROWS, protocol)
    told = import_lists.import_lists([tmp_path / 'cache_all_list.pkl'], tmp_path / 'out', None)['lists']['all']
    assert {key: told[key] for key in ('rows', 'images', 'labels', 'noisy', 'unlabelled')} == {
        'rows': 4,
        'images': 3,
        'labels': 2,
        'noisy': 1,
        'unlabelled': 1,
    }
    assert pq.read_table(tmp_path / 'out/lists/all.parquet').to_pydict() == {
        'image_id': ['abc1', 'def2', 'abd3', 'abc1'],
        'path': ['train/a/b/c/abc1.jpg', 'index/d/e/f/def2.jpg', 'test/a/b/d/abd3.jpg', 'train/a/b/c/abc1.jpg'],
        'label': [0, 3, -1, 3],
        'noisy': [0, 1, 0, 0],
        'country': [None] * 4,
        'continent': ['Asia', 'North America', None, None],
        'image_number': [0, 1, 2, 0],
    }


@pytest.mark.parametrize(
    ('row', 'fault'),
    [
        (('train/a/b/c/abx.jpg', 0, 0, -1), 'does not end in train'),
        (('train/a/b/c/../../../abc.jpg', 0, 0, -1), 'does not end in train'),
        (('train/a/b/c/abc1.jpg', -2, 0, -1), 'its label is -2'),
        (('train/a/b/c/abc1.jpg', True, 0, -1), 'its label is True'),
        (('train/a/b/c/abc1.jpg', 0, 2, -1), 'noisy is 2'),
        (('train/a/b/c/abc1.jpg', 0, 0, 1.5), 'its continent is 1.5'),
        (('train/a/b/c/abc1.jpg', 0, 0, 'Asia\0'), "its continent is 'Asia\\x00'"),
        (('train/a/b/c/abc1.jpg', 0, 0, '\ud800'), "its continent is '\\ud800'"),
        (('train/\0/b/c/\0bc1.jpg', 0, 0, -1), 'does not end in train'),
        (('train/a/b/c/abc1.jpg', 0, 0), 'not a tuple of path'),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written_also_not_of_the_lists_before(tmp_path, row, fault):
    good = _pickled(tmp_path / 'cache_clean_list.pkl', ROWS[:1])
    bad = _pickled(tmp_path / 'cache_full_list.pkl', [*ROWS, row])
    error = _refusal(import_lists.import_lists, [good, bad], tmp_path / 'out', None)
    assert (error.code, f'{bad}, row 4' in str(error), fault in str(error)) == ('bad_row', True, True)
    assert list((tmp_path / 'out/lists').iterdir()) == []


@pytest.mark.parametrize(
    'read',
    [read_pickle, lambda path: read_items(path, lambda *_: None), read_revisited.read_revisited],
    ids=['lists', 'features', 'revisited'],
)
@pytest.mark.parametrize('content', [Malice(), [ROWS[0], Malice()], {'probe_feats': Malice()}, {'gnd': [{'easy': [Malice()]}]}])
def test_what_a_pickle_would_call_is_named_and_not_called(tmp_path, monkeypatch, read, content):
    monkeypatch.chdir(tmp_path)
    error = _refusal(read, _pickled(tmp_path / 'a.pkl', content))
    assert (error.code, f'{os.system.__module__}.system' in str(error)) == ('unsafe_file', True)
    assert not (tmp_path / 'harmed').exists()


def test_lists_may_hold_no_arrays(tmp_path):
    path = _pickled(tmp_path / 'a.pkl', [np.zeros(2, np.float32)])
    assert 'numpy.' in str(_refusal(read_pickle, path))


def test_a_list_that_grows_in_memory_is_unreadable_before_the_machine_has_none_left(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_pickle, '_OTHER_MEMORY', -(2**40))
    error = _refusal(read_pickle, _pickled(tmp_path / 'a.pkl', ROWS))
    assert (error.code, 'more memory than a file of its size' in str(error)) == ('unreadable_file', True)


def test_truncated_and_invalid_lists_are_unreadable(tmp_path):
    whole = _pickled(tmp_path / 'a.pkl', ROWS).read_bytes()
    for content in (b'', whole[:-1], whole[: len(whole) // 2], b'<html>', b'\x80\x05\x8e' + b'\xff' * 8):
        (tmp_path / 'b.pkl').write_bytes(content)
        assert _refusal(read_pickle, tmp_path / 'b.pkl').code == 'unreadable_file'
    for path in (tmp_path / 'none.pkl', tmp_path):
        assert _refusal(read_pickle, path).code == 'missing_file'


def _features(names, dim=4, dtype=np.float16, kind='index'):
    vectors = np.random.default_rng(0).normal(size=(len(names), dim)).astype(dtype)
    return {f'{kind}_name_list': np.array(names), f'{kind}_feats': vectors}


@pytest.mark.parametrize('kind', ['probe', 'index', 'reference set'])
def test_features_become_a_feature_set_of_unit_vectors(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(feature_set, '_PART_ROWS', 2)
    names = ['abc1', 'abc2', 'abc3', 'abc4', 'abc5']
    content = _features(names, kind='index' if kind == 'reference set' else kind)
    vectors = next(value for key, value in content.items() if key.endswith('feats'))
    vectors[2] = 0
    vectors[3, 1] = np.inf
    if kind == 'reference set':
        content = dict(zip(names, vectors, strict=True))
    told = import_features.import_features(_pickled(tmp_path / 'a.pkl', content), tmp_path / 'out')
    assert (told['rows'], told['rejected'], told['dim'], len(told['files'])) == (3, 2, 4, 9)
    found = [np.load(path) for path in sorted((tmp_path / 'out/img_emb').iterdir())]
    assert [part.dtype for part in found] == [np.float16] * 3
    wide = vectors[[0, 1, 4]].astype(np.float64)
    np.testing.assert_allclose(np.concatenate(found), wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-3)
    ids = [pq.read_table(path)['image_id'].to_pylist() for path in sorted((tmp_path / 'out/metadata').iterdir())]
    assert ids == [['abc1', 'abc2'], [], ['abc5']]
    assert pq.read_table(tmp_path / 'out/rejected/rejected_00001.parquet')['image_id'].to_pylist() == ['abc3', 'abc4']


def test_a_duplicate_image_is_named_by_its_rows_also_across_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_set, '_PART_ROWS', 2)
    names = ['abc0', 'abc1', 'abc2', 'abc1', 'abc0', 'abc1']
    error = _refusal(import_features.import_features, _pickled(tmp_path / 'a.pkl', _features(names)), tmp_path / 'out')
    assert 'rows 1 and 3 have the same image' in str(error)


_PEAK = """
import sys
from pathlib import Path
from cairn_trainer.import_features import import_features
from cairn_trainer.import_lists import read_list
file, out = map(Path, sys.argv[1:])
rows = read_list(file)[1]['rows'] if file.name == 'list.pkl' else import_features(file, out)['rows']
# Not ru_maxrss, which starts at the value of the forked process.
peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
print(rows, int(peak.split()[1]) * 1024)
"""


def _peak_of(path, rows):
    (path.parent / 'peak.py').write_text(_PEAK)
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    command = [sys.executable, str(path.parent / 'peak.py'), str(path), str(path.parent / f'out-{rows}')]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=240).stdout.split()
    assert int(told[0]) == rows
    return int(told[1])


@pytest.mark.slow
@pytest.mark.parametrize('form', ['two arrays', 'a vector a name'])
def test_memory_does_not_grow_with_the_number_of_vectors(tmp_path, form):
    def peak_of(rows):
        names = [f'{number:016x}' for number in range(rows)]
        vectors = np.random.default_rng(0).standard_normal((rows, 512), dtype=np.float32)
        content = {'index_name_list': np.array(names), 'index_feats': vectors}
        path = _pickled(tmp_path / 'a.pkl', content if form == 'two arrays' else dict(zip(names, map(np.copy, vectors), strict=True)))
        return _peak_of(path, rows), path.stat().st_size

    (small, small_file), (large, large_file) = peak_of(10_000), peak_of(110_000)
    assert large_file - small_file > 200_000_000
    assert large - small < 60_000_000


@pytest.mark.slow
def test_a_list_takes_little_more_memory_than_its_pickle(tmp_path):
    def peak_of(rows):
        ids = (f'{number:016x}' for number in range(rows))
        content = [(f'{ROOT}train/{i[0]}/{i[1]}/{i[2]}/{i}.jpg', number % 1000, number % 2, 'Asia') for number, i in enumerate(ids)]
        return _peak_of(_pickled(tmp_path / 'list.pkl', content), rows)

    # The 4.8 million rows of the largest list take 2 GB at most.
    assert (peak_of(400_000) - peak_of(150_000)) / 250_000 < 400


def test_features_of_another_structure_are_rejected_and_nothing_is_written(tmp_path):
    good = _features(['abc1', 'abc2'])
    for content, code in (
        ([1], 'unreadable_file'),
        ({'a': 1}, 'unreadable_file'),
        ({**good, 'index_feats': good['index_feats'][:1]}, 'unreadable_file'),
        ({**good, 'index_feats': good['index_name_list']}, 'unreadable_file'),
        ({**good, 'index_feats': np.zeros((2, 4), np.int32)}, 'unreadable_file'),
        ({'abc1': np.zeros(3, np.int32)}, 'unreadable_file'),
        ({'abc1': np.zeros(3), 'abc2': np.zeros(4)}, 'unreadable_file'),
        ({'abc1': np.zeros(0)}, 'unreadable_file'),
        ({'abc1': np.zeros(3), 'more': 1}, 'unreadable_file'),
        ({**good, 'abc1': np.zeros(4)}, 'unreadable_file'),
        ({**good, 'index_feats': np.full((2, 4), np.nan, np.float32)}, 'unreadable_file'),
        ({'index_name_list': np.array([], '<U16'), 'index_feats': np.zeros((0, 4), np.float32)}, 'unreadable_file'),
        (_features(['abc1', 'abc1']), 'bad_row'),
        (_features(['abc1', '../x']), 'bad_row'),
    ):
        assert _refusal(import_features.import_features, _pickled(tmp_path / 'a.pkl', content), tmp_path / 'out').code == code
    assert [path.name for path in tmp_path.iterdir()] == ['a.pkl']
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/mine').touch()
    assert _refusal(import_features.import_features, _pickled(tmp_path / 'a.pkl', good), tmp_path / 'out').code == 'name_taken'
    assert (tmp_path / 'out/mine').exists()


def test_a_value_that_doubles_with_each_level_is_not_printed(tmp_path):
    bomb = ()
    for _ in range(60):
        bomb = (bomb, bomb)
    rows = [('train/a/b/c/abc1.jpg', bomb, 0, -1)]
    assert 'its label is a tuple' in str(_refusal(import_lists.read_list, _pickled(tmp_path / 'a.pkl', rows)))
    assert (
        _refusal(import_features.import_features, _pickled(tmp_path / 'a.pkl', {'a': [bomb]}), tmp_path / 'out').code == 'unreadable_file'
    )


def test_a_folder_gives_all_its_lists(tmp_path):
    for name in ('cache_c2f_list.pkl', 'cache_test_list.pkl', 'train_info.pkl'):
        _pickled(tmp_path / name, ROWS)
    assert list(import_lists.import_lists([tmp_path], tmp_path / 'out', None)['lists']) == ['c2x', 'test']
    twice = _refusal(import_lists.import_lists, [tmp_path, tmp_path / 'cache_test_list.pkl'], tmp_path / 'out', None)
    assert 'are both the list test' in str(twice)
    (tmp_path / 'none').mkdir()
    assert _refusal(import_lists.import_lists, [tmp_path / 'none'], tmp_path / 'out', None).code == 'missing_file'
    nowhere = _refusal(import_lists.import_lists, [tmp_path / 'nowhere'], tmp_path / 'out', None)
    assert (nowhere.code, str(nowhere)) == ('missing_file', f'File or folder not found: {tmp_path}/nowhere.')


def test_the_programs_answer_one_json_object(tmp_path, capsys):
    _pickled(tmp_path / 'mine.pkl', ROWS)
    arguments = [str(tmp_path / 'mine.pkl'), '--out', str(tmp_path / 'out')]
    assert import_lists.main(arguments) == 78
    assert 'cache_clean_list.pkl' in json.loads(capsys.readouterr().out)['message']
    assert import_lists.main([*arguments, '--list', 'full']) == 0
    assert json.loads(capsys.readouterr().out)['lists']['full']['rows'] == 4
    assert import_features.main([str(tmp_path / 'mine.pkl'), '--out', str(tmp_path / 'features')]) == 65
    assert json.loads(capsys.readouterr().out)['code'] == 'unreadable_file'


def _revisited(**over):
    """Two queries: one with lists, one with an array, numpy's numbers and nothing hard."""
    gnd = [
        {'bbx': [1.5, 2.0, 30.0, 40.0], 'easy': [0, 2], 'hard': [3], 'junk': [1]},
        {'bbx': np.array([0.0, 0.0, 9.0, 9.0]), 'easy': np.array([1, 3]), 'hard': [], 'junk': [np.int64(0)]},
    ]
    return {'gnd': gnd, 'imlist': ['all_souls_000013', 'b_1', 'b_2', 'b_3'], 'qimlist': ['q_1', 'q_2'], **over}


@pytest.mark.parametrize('protocol', range(3, 6))
def test_the_ground_truth_of_revisited_oxford_is_read(tmp_path, protocol):
    assert read_revisited.read_revisited(_pickled(tmp_path / 'gnd.pkl', _revisited(), protocol)) == {
        'images': ['all_souls_000013', 'b_1', 'b_2', 'b_3'],
        'queries': [
            {'id': 'q_1', 'easy': [0, 2], 'hard': [3], 'junk': [1]},
            {'id': 'q_2', 'easy': [1, 3], 'hard': [], 'junk': [0]},
        ],
    }


def test_another_ground_truth_is_rejected_with_what_is_wrong(tmp_path):
    good, _ = _revisited()['gnd']
    for content, code, message in (
        ([1], 'unreadable_file', 'contains a list, not the ground truth of revisited Oxford or Paris'),
        ({'gnd': []}, 'unreadable_file', 'a dict with imlist, qimlist and gnd'),
        (_revisited(qimlist=['q_1']), 'unreadable_file', 'an entry for each query'),
        (_revisited(imlist=['a', 'b', 'b', 'c']), 'bad_row', "imlist has 'b' twice"),
        (_revisited(imlist=['a', 'b', 7, 'c']), 'bad_row', 'imlist[2] is 7, not the name of an image'),
        (_revisited(qimlist=['q_1', 'q\n2']), 'bad_row', 'not the name of an image'),
        (_revisited(gnd=[good, 3]), 'bad_row', "query 1 ('q_2'): its ground truth is 3, not a dict"),
        (_revisited(gnd=[good, {**good, 'hard': [4]}]), 'bad_row', 'hard has 4, not a position in imlist, which has 4 names'),
        (_revisited(gnd=[good, {**good, 'easy': [-1]}]), 'bad_row', 'easy has -1'),
        (_revisited(gnd=[good, {**good, 'easy': [True]}]), 'bad_row', 'easy has True'),
        (_revisited(gnd=[good, {**good, 'easy': np.array([0.5])}]), 'bad_row', 'easy has 0.5'),
        (_revisited(gnd=[good, {'easy': [], 'hard': []}]), 'bad_row', 'junk is None, not a list of positions'),
        (_revisited(gnd=[good, {**good, 'junk': np.array([object()])}]), 'unsafe_file', 'an array of'),
    ):
        error = _refusal(read_revisited.read_revisited, _pickled(tmp_path / 'a.pkl', content))
        assert (error.code, message in str(error)) == (code, True), str(error)
