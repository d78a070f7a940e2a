import hashlib
import json
import os
import pickle
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from builders import Collection, StageRun, configure_export, run_export

from cairn_trainer.check_import import check_model
from cairn_trainer.config import ModelSettings, StoredFile
from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog
from cairn_trainer.foreign_file import read_named_tensors, read_stored_tensors
from cairn_trainer.foreign_text import plain_name, plain_text
from cairn_trainer.lists import read_parquet
from cairn_trainer.model import EmbeddingNet


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
}


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
