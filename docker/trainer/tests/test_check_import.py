import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from published_layouts import LAYOUTS
from test_local_matching import onnx_matcher

from cairn_trainer.backbones import BACKBONES
from cairn_trainer.check_import import check_backbone, check_matcher, check_model, main
from cairn_trainer.config import MatchingSettings, ModelSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.matchers import open_matcher
from cairn_trainer.model import EmbeddingNet


@pytest.fixture
def small_se(monkeypatch):
    """A network with squeeze-excitation, small enough to write."""
    spec = replace(BACKBONES['se_resnet101_ibn_a'], blocks=(1, 1, 1, 1))
    monkeypatch.setitem(BACKBONES, 'small_se', spec)
    torch.manual_seed(0)
    return {key: torch.rand(value.shape) for key, value in spec.build().state_dict().items()} | {'fc.weight': torch.zeros(5, 2048)}


def _saved(path, content):
    torch.save(content, path)
    return path


def _refusal(function, *arguments):
    with pytest.raises(TrainerError) as caught:
        function(*arguments)
    return caught.value


@pytest.mark.parametrize('name', ['resnet50', 'resnest101'])
def test_a_file_of_the_published_layout_fits_its_backbone(tmp_path, monkeypatch, name):
    # A real file has 100 MB: here each tensor is a view of one zero, which torch.save writes once.
    state = {key: torch.zeros(()).expand(shape) for key, shape in LAYOUTS[name].items()}
    path = _saved(tmp_path / 'a.pth', state)
    answer = check_backbone(path, name, 'all')
    assert answer['tensors'] == len(LAYOUTS[name]) - 2
    error = _refusal(check_backbone, path, 'resnet101_ibn_a', 'all')
    assert error.code == 'model_mismatch'
    assert 'layer1.0.bn1.BN.weight is missing' in error.mismatches
    assert len(error.mismatches) > 100
    assert str(error).endswith(' more.')
    assert len(str(error)) < 1500


def test_squeeze_excitation_may_be_left_out_where_the_reference_is_followed(tmp_path, small_se):
    without = {key: value for key, value in small_se.items() if '.se.' not in key}
    path = _saved(tmp_path / 'a.pth', without)
    assert 'layer1.0.se.fc.0.weight is missing' in _refusal(check_backbone, path, 'small_se', 'all').mismatches
    assert check_backbone(path, 'small_se', 'upstream')['untouched'] == 8
    assert check_backbone(_saved(tmp_path / 'b.pth', small_se), 'small_se', 'all')['untouched'] == 0


def test_numbers_that_are_not_finite_and_unknown_backbones_are_named(tmp_path, small_se):
    small_se['layer2.0.conv1.weight'][0, 0] = torch.nan
    path = _saved(tmp_path / 'a.pth', small_se)
    assert _refusal(check_backbone, path, 'small_se', 'all').mismatches == ['layer2.0.conv1.weight has values that are not finite']
    error = _refusal(check_backbone, path, 'resnet51', 'all')
    assert (error.code, 'Did you mean resnet50?' in str(error)) == ('invalid_configuration', True)


def test_a_whole_model_reports_its_dimension_and_classes(tmp_path):
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), classes=7)
    state = {f'module.{key}': value for key, value in net.state_dict().items()}
    answer = check_model(_saved(tmp_path / 'a.pth', state), 'small')
    assert {key: answer[key] for key in ('embeddingDim', 'classes')} == {'embeddingDim': 16, 'classes': 7}
    assert 'base.layer1.0.conv3.weight is missing' in _refusal(check_model, tmp_path / 'a.pth', 'resnet50').mismatches
    del state['module.fcneck.weight']
    assert _refusal(check_model, _saved(tmp_path / 'b.pth', state), 'small').mismatches == ['fcneck.weight is missing or not a matrix']


def test_a_file_that_claims_more_than_it_holds_is_rejected_before_so_much_is_allocated(tmp_path):
    heads = {'fcneck.weight': torch.zeros(1).expand(16, 32), 'classifier.weight': torch.zeros(1).expand(10**9, 16)}
    error = _refusal(check_model, _saved(tmp_path / 'a.pth', heads), 'small')
    assert (error.code, '64000002048 bytes' in str(error)) == ('unreadable_file', True)


def test_a_matcher_of_the_accepted_form_matches_a_pair_and_others_are_refused(tmp_path, capsys):
    assert main(['matcher', '--file', str(onnx_matcher(tmp_path / 'a.onnx'))]) == 0
    assert 'ONNX Runtime' in json.loads(capsys.readouterr().out)['version']
    error = _refusal(check_matcher, onnx_matcher(tmp_path / 'rgb.onnx', channels=3))
    assert (error.code, 'it has image0 as tensor(float) [1, 3,' in str(error)) == ('unreadable_file', True)
    # Its declared form is right, what it answers is not.
    error = _refusal(check_matcher, onnx_matcher(tmp_path / 'rows.onnx', rows=np.full((2, 2), 99)))
    assert 'matches of rows that kpts0 and kpts1 do not have' in str(error)
    model = onnx.load(onnx_matcher(tmp_path / 'in_one.onnx'))
    onnx.save(model, tmp_path / 'apart.onnx', save_as_external_data=True, location='apart.bin', size_threshold=0)
    assert 'keeps tensors in other files' in str(_refusal(check_matcher, tmp_path / 'apart.onnx'))


def _elsewhere(name, place):
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.UINT8, dims=[8], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key='location', value=str(place))
    return tensor


@pytest.mark.parametrize('place', ['an initializer', 'a constant', 'a branch', 'a function', 'a sparse tensor'])
def test_no_part_of_a_matcher_may_be_another_file_of_this_machine_wherever_it_is_opened(tmp_path, place):
    (tmp_path / 'secret').write_text('password')
    model = onnx.load(onnx_matcher(tmp_path / 'a.onnx'))
    tensor = _elsewhere('leak', '../secret')
    constant = onnx.helper.make_node('Constant', [], ['leak'], value=tensor)
    if place == 'an initializer':
        model.graph.initializer.append(tensor)
    elif place == 'a constant':
        model.graph.node.append(constant)
    elif place == 'a branch':
        branch = onnx.helper.make_graph([constant], 'branch', [], [])
        model.graph.node.append(onnx.helper.make_node('If', ['rows'], ['x'], then_branch=branch, else_branch=branch))
    elif place == 'a function':
        model.functions.add(name='f', domain='d', node=[constant], output=['leak'])
    else:
        model.graph.sparse_initializer.add(values=tensor, dims=[8])
    folder = tmp_path / 'model'
    folder.mkdir()
    (folder / 'a.onnx').write_bytes(model.SerializeToString())
    for use in (check_matcher, lambda path: open_matcher(str(path), MatchingSettings())):
        assert 'keeps tensors in other files' in str(_refusal(use, folder / 'a.onnx'))


def test_the_program_answers_one_json_object_and_the_exit_code_of_the_failure(tmp_path, capsys):
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), classes=7)
    path = _saved(tmp_path / 'a.pth', net.state_dict())
    assert main(['model', '--file', str(path), '--backbone', 'small']) == 0
    assert json.loads(capsys.readouterr().out)['classes'] == 7
    assert main(['backbone', '--file', str(path), '--backbone', 'small']) == 65
    answer = json.loads(capsys.readouterr().out)
    assert answer['code'] == 'model_mismatch'
    assert 'conv1.weight is missing' in answer['mismatches']
