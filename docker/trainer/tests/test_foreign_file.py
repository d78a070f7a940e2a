import hashlib
import json
import os
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from builders import Collection, StageRun, configure_export, run_export
from torch.nn import Parameter

from cairn_trainer import foreign_file
from cairn_trainer.check_import import check_model
from cairn_trainer.config import ModelSettings, StoredFile
from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog
from cairn_trainer.foreign_file import read_named_tensors, read_stored_tensors
from cairn_trainer.foreign_text import plain_name, plain_text
from cairn_trainer.lists import read_parquet
from cairn_trainer.model import EmbeddingNet, load_weights


def _saved(path, content):
    torch.save(content, path)
    return path


def _stored(path):
    return {'path': str(path), 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}


def _refusal(function, *arguments):
    with pytest.raises(TrainerError) as caught:
        function(*arguments)
    return caught.value


def _as_the_reference_saves(classes):
    """The state of a network under DistributedDataParallel, with the unused ImageNet classifier of its backbone."""
    torch.manual_seed(9)
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16, init_seed=4), classes)
    net(torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long))  # running means
    state = {f'module.{key}': value for key, value in net.state_dict().items()}
    return net, {**state, 'module.base.fc.weight': torch.zeros(1000, 2048), 'module.base.fc.bias': torch.zeros(1000)}


WRAPPINGS = {
    'bare': lambda state: state,
    'state_dict': lambda state: {'epoch': 6, 'state_dict': state, 'optimizer': {'lr': 0.1}},
    'model': lambda state: {'model': state, 'epoch': 6},
    'net': lambda state: {'net': {f'module._orig_mod.{key}': value for key, value in state.items()}},
    'nested': lambda state: {'model': {'state_dict': state}},
    'a name of its own': lambda state: {'epoch': 6, 'student': state, 'optimizer': {'state': {0: {'momentum_buffer': torch.zeros(3)}}}},
    'next to averages': lambda state: {'state_dict_ema': {key: value * 0 for key, value in state.items()}, 'state_dict': state},
    'averages alone': lambda state: {'epoch': 6, 'state_dict_ema': state},
    'an attribute of a trainer': lambda state: {'state_dict': {f'model.{key}': value for key, value in state.items()}},
    'an attribute, compiled': lambda state: {'state_dict': {f'net._orig_mod.{key}': value for key, value in state.items()}},
    'half precision': lambda state: {key: value.half() for key, value in state.items()},
    'bfloat16': lambda state: {key: value.bfloat16() for key, value in state.items()},
    'parameters': lambda state: {key: Parameter(value) if value.is_floating_point() else value for key, value in state.items()},
    'options and scores': lambda state: {'model': state, 'args': Namespace(lr=0.1, out=Path('/tmp')), 'best': np.float64(0.5)},
}


def _safetensors(path, state):
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


def test_a_file_of_safetensors_as_models_pull_downloads_is_read_like_one_of_torch(tmp_path):
    _, state = _as_the_reference_saves(7)
    path = _safetensors(tmp_path / 'a.safetensors', state)
    found = read_named_tensors(path)
    assert found.keys() == {key.removeprefix('module.') for key in state}
    assert all(torch.equal(found[key.removeprefix('module.')], value) for key, value in state.items())
    assert check_model(path, 'small')['classes'] == 7


@pytest.mark.parametrize(
    ('header', 'content'),
    [
        (b'{', b''),
        (b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(8)),
        (b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,16]}}', bytes(16)),
        (b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"v":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', bytes(12)),
        (b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,16]}}', bytes(16)),
        (b'{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
        (b'{' + b'[' * 100_000, b''),
        (b'{}', b''),
    ],
    ids=['cut', 'short', 'huge', 'overlapping', 'negative', 'eight bits', 'deep', 'empty'],
)
def test_an_invalid_file_of_safetensors_is_unreadable(tmp_path, header, content):
    path = tmp_path / 'a.safetensors'
    path.write_bytes(len(header).to_bytes(8, 'little') + header + content)
    assert _refusal(read_named_tensors, path).code == 'unreadable_file'
    path.write_bytes((2**40).to_bytes(8, 'little') + header + content)
    assert _refusal(read_named_tensors, path).code == 'unreadable_file'


@pytest.mark.parametrize('wrapping', WRAPPINGS)
def test_the_tensors_of_a_training_program_are_read_whatever_wraps_them(tmp_path, wrapping):
    _, state = _as_the_reference_saves(7)
    path = _saved(tmp_path / 'a.pth', WRAPPINGS[wrapping](state))
    found = read_named_tensors(path)
    assert found.keys() == {key.removeprefix('module.') for key in state}
    assert check_model(path, 'small') == {'tensors': len(state) - 2, 'parameters': 21113, 'embeddingDim': 16, 'classes': 7}


def test_a_model_of_the_reference_is_checked_exported_and_trained_on_from_the_same_file(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=6)
    net, state = _as_the_reference_saves(4)
    path = _saved(tmp_path / 'theirs.pth', {'state_dict': state})
    run = StageRun(tmp_path / 'run', collection, start=_stored(path), epochs=1, learningRate=1e-9)
    assert run.run() == 0, run.events('failed')
    untrained = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16, init_seed=1), 6).state_dict()
    trained = read_stored_tensors(StoredFile(**run.checkpoint()))
    for key, value in net.state_dict().items():
        if 'running' not in key and 'batches' not in key:
            torch.testing.assert_close(trained[key][: len(value)], value, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(trained['classifier.weight'][4:], untrained['classifier.weight'][4:], atol=1e-6, rtol=1e-5)

    code, events = run_export(configure_export(tmp_path / 'out', collection, _stored(path)))
    assert (code, events[-1]['event']) == (0, 'exported'), events
    exported = torch.load(tmp_path / 'out' / 'weights.pt', weights_only=True)
    assert exported.keys() == net.state_dict().keys()
    assert all(torch.equal(exported[key], value) for key, value in net.state_dict().items())


class Malice:
    def __reduce__(self):
        return os.system, ('touch harmed',)


def _write_malice(path, form):
    content = {'conv1.weight': torch.zeros(2), 'more': Malice()}
    if form in ('zip', 'old'):
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    else:
        path.write_bytes(pickle.dumps(Malice(), int(form)))


@pytest.mark.parametrize('form', ['zip', 'old', '0', '2', '4', '5'])
def test_a_file_that_would_run_code_is_rejected_by_the_name_of_what_it_calls_and_runs_nothing(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a.pth'
    _write_malice(path, form)
    error = _refusal(read_named_tensors, path)
    assert error.code == 'unsafe_file'
    assert f'{os.system.__module__}.system' in str(error)
    assert not (tmp_path / 'harmed').exists()


def test_a_stage_and_an_export_refuse_a_file_that_would_run_code_as_the_fault_of_who_brought_it(tmp_path):
    collection = Collection(tmp_path / 'data')
    path = tmp_path / 'a.pth'
    _write_malice(path, 'zip')
    for number, role in enumerate(('start', 'weights')):
        run = StageRun(tmp_path / str(number), collection, **{role: _stored(path)})
        assert run.run() == 65
        assert [event['code'] for event in run.events('failed')] == ['unsafe_file']
    code, events = run_export(configure_export(tmp_path / 'out', collection, _stored(path)))
    assert (code, events[-1]['code']) == (65, 'unsafe_file')


def test_truncated_empty_invalid_and_missing_files_have_different_errors(tmp_path):
    whole = _saved(tmp_path / 'a.pth', {'w': torch.arange(1000.0)})
    for cut in (100, 2000):
        (tmp_path / 'cut.pth').write_bytes(whole.read_bytes()[:cut])
        assert _refusal(read_named_tensors, tmp_path / 'cut.pth').code == 'unreadable_file'
    (tmp_path / 'empty.pth').write_bytes(b'')
    assert 'is empty' in str(_refusal(read_named_tensors, tmp_path / 'empty.pth'))
    (tmp_path / 'page.pth').write_text('<html>not found</html>')
    assert _refusal(read_named_tensors, tmp_path / 'page.pth').code == 'unreadable_file'
    with zipfile.ZipFile(tmp_path / 'other.zip', 'w') as archive:
        archive.writestr('a', 'b')
    assert _refusal(read_named_tensors, tmp_path / 'other.zip').code == 'unreadable_file'
    assert _refusal(read_named_tensors, tmp_path / 'none.pth').code == 'missing_file'
    changed = StoredFile(path=str(whole), sha256='0' * 64)
    assert _refusal(read_stored_tensors, changed).code == 'corrupt_artifact'


def test_files_with_more_than_plain_tensors_by_name_are_rejected(tmp_path):
    within_itself = {}
    within_itself['model'] = within_itself
    strange = [torch.zeros(1).to_sparse(), torch.zeros(1, device='meta'), torch.zeros(1, dtype=torch.complex64)]
    unnamed = ([torch.zeros(1)], {}, {'state_dict': torch.zeros(1)[:0].tolist()}, {1: torch.zeros(1)}, within_itself)
    for content in (*unnamed, *({'w': value} for value in strange)):
        assert _refusal(read_named_tensors, _saved(tmp_path / 'a.pth', content)).code == 'unreadable_file'
    path = _saved(tmp_path / 'a.pth', {'epoch': 3, 'w': torch.zeros(1)})
    assert "more than named tensors: 'epoch'" in str(_refusal(read_named_tensors, path))
    twice = _saved(tmp_path / 'a.pth', {'module.w': torch.zeros(1), 'w': torch.zeros(1)})
    assert 'contains w twice' in str(_refusal(read_named_tensors, twice))


def test_several_networks_in_one_file_are_not_mixed(tmp_path):
    path = _saved(tmp_path / 'a.pth', {'student': {'w': torch.zeros(1)}, 'teacher': {'w': torch.ones(1)}})
    assert "more than named tensors: 'student', 'teacher'" in str(_refusal(read_named_tensors, path))


def test_weights_of_whole_numbers_do_not_fit_a_network(tmp_path):
    _, state = _as_the_reference_saves(7)
    path = _saved(tmp_path / 'a.pth', {key: value.to(torch.int8) for key, value in state.items()})
    assert 'base.conv1.weight has whole numbers (torch.int8)' in str(_refusal(check_model, path, 'small'))


class _Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _archive(path, content, **how):
    """The records of a file of torch.save in an archive of another form."""
    torch.save(content, path)
    with zipfile.ZipFile(path) as whole:
        records = [(entry.filename, whole.read(entry)) for entry in whole.infolist()]
    with zipfile.ZipFile(path, 'w', **how) as archive:
        for name, data in records:
            archive.writestr(name, data)


@pytest.mark.parametrize('is_archive', [True, False])
def test_a_file_that_would_fill_the_memory_in_one_call_is_rejected_by_the_name_of_it(tmp_path, is_archive):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.zeros(1), 'more': _Call(bytearray, 2**28)}, path, _use_new_zipfile_serialization=is_archive)
    error = _refusal(read_named_tensors, path)
    assert (error.code, 'builtins.bytearray' in str(error)) == ('unsafe_file', True)


@pytest.mark.parametrize('call', [_Call(torch.Tensor, 2**38), _Call(torch.UntypedStorage, 2**40)], ids=['tensor', 'storage'])
def test_a_tensor_without_content_in_the_file_is_never_used(tmp_path, call):
    _, state = _as_the_reference_saves(7)
    path = _saved(tmp_path / 'a.pth', {**state, 'module.base.conv1.weight': call})
    assert _refusal(check_model, path, 'small').code in ('unreadable_file', 'model_mismatch')


def test_a_pickle_that_grows_in_memory_is_unreadable_in_any_form_of_file(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_file, '_OTHER_MEMORY', -(2**40))
    torch.save({'w': torch.zeros(1)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert 'more memory than a file of its size' in str(_refusal(read_named_tensors, tmp_path / 'a.pth'))
    with zipfile.ZipFile(tmp_path / 'b.pth', 'w') as archive:
        archive.writestr('b/data.pkl', b'\x80\x02](' + b'}' * 2**24 + b'e.')
    assert "data.pkl' in it has 16777" in str(_refusal(read_named_tensors, tmp_path / 'b.pth'))


def test_a_compressed_archive_is_unreadable_before_it_is_unpacked(tmp_path):
    path = tmp_path / 'a.pth'
    _archive(path, {'w': torch.zeros(3_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    assert 'is compressed' in str(_refusal(read_named_tensors, path))


def test_what_a_file_attaches_to_a_tensor_does_not_replace_its_methods(tmp_path):
    net, state = _as_the_reference_saves(7)
    attached = {'numel': 1, 'copy_': 2, 'is_floating_point': 3, 'detach': 4, '__torch_function__': 5}
    for key in ('module.fcneck.weight', 'module.classifier.weight', 'module.base.conv1.weight'):
        state[key].__dict__.update(attached)
    path = _saved(tmp_path / 'a.pth', state)
    assert torch.load(path, weights_only=True)['module.fcneck.weight'].numel == 1
    assert check_model(path, 'small')['classes'] == 7
    load_weights(net, read_named_tensors(path), 'a.pth', may_grow=False)


def test_a_name_of_prefixes_alone_takes_no_time(tmp_path):
    path = _saved(tmp_path / 'a.pth', {'module.' * 300_000 + 'w': torch.zeros(1)})
    assert list(read_named_tensors(path)) == ['w']


def test_names_that_no_report_could_hold_are_cleaned_where_they_are_read(tmp_path):
    names = ['a\0b', 'half \ud800', 'line\nend', 'right \u202eto left', 'x' * 5000, 'fcneck.weight\0']
    path = _saved(tmp_path / 'a.pth', {name: torch.zeros(1) for name in names})
    found = list(read_named_tensors(path))
    assert found[:4] == ['a\\x00b', 'half \\ud800', 'line\\nend', 'right \\u202eto left']
    assert len(found[4]) == 201
    assert 'fcneck.weight' not in found


def test_a_file_older_than_torchs_zip_archives_is_read(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save({'conv1.weight': torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_named_tensors(path)['conv1.weight'], torch.arange(3.0))


def test_what_no_report_could_hold_is_written_out_and_the_rest_stays():
    assert plain_text('a\0b \ud800 \x1b[2J \u202ec\r') == 'a\\x00b \\ud800 \\x1b[2J \\u202ec\\r'
    assert plain_text('Ä 😀\n\tü') == 'Ä 😀\n\tü'
    assert plain_name('a\nb\tc') == 'a\\nb\\tc'
    assert plain_name('x' * 201) == 'x' * 200 + '…'


def test_errors_and_events_hold_no_text_that_a_reader_would_stumble_over(tmp_path):
    message = 'the column a\0\udfff'
    assert str(TrainerError('bad_row', message)) == 'the column a\\x00\\udfff'
    EventLog(tmp_path / 'events').emit('badImage', image_id='a', path=message, reason='none')
    assert json.loads((tmp_path / 'events').read_text())['path'] == 'the column a\\x00\\udfff'


def test_the_header_of_a_parquet_file_is_named_as_text_and_in_part(tmp_path):
    pq.write_table(pa.table({f'column {number}\0': [1] for number in range(30)}), tmp_path / 'a.parquet')
    with pytest.raises(TrainerError) as caught:
        read_parquet(tmp_path / 'a.parquet', ['image_id'])
    assert 'it has column 0\\x00, ' in str(caught.value)
    assert str(caught.value).endswith(' and 10 more.')
