import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from builders import MODEL, Collection, StageRun, configure_export, run_export
from event_schema import parse_event
from torch import nn

from cairn_trainer import onnx_export
from cairn_trainer.backbones import BACKBONES
from cairn_trainer.backbones.resnet import ResNetSpec
from cairn_trainer.checkpoint import write_torch_file
from cairn_trainer.config import ModelSettings
from cairn_trainer.half_backbone import HalfBackbone
from cairn_trainer.model import EmbeddingNet, normalise


@pytest.fixture
def trained(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=4, views=6)
    run = StageRun(tmp_path / 'run', collection, epochs=2, learningRate=0.001, model=MODEL)
    assert run.run() == 0
    return collection, run


def test_the_exported_model_follows_pytorch_for_any_number_of_images(tmp_path, trained):
    collection, run = trained
    collection.break_image(collection.ids[1])
    code, events = run_export(configure_export(tmp_path / 'out', collection, run.checkpoint()))
    assert code == 0
    assert [event['event'] for event in events] == ['badImage', 'exported']
    exported = events[-1]
    assert exported['images'] == 12
    assert exported['cosine'] > 0.999999
    assert [file['name'] for file in exported['files']] == ['model.onnx', 'weights.pt', 'weights.safetensors']
    written = ['events.jsonl', 'export.json', 'model.onnx', 'weights.pt', 'weights.safetensors']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == written

    model = onnx.load(tmp_path / 'out' / 'model.onnx')
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        'cairn.imageSize': '32',
        'cairn.preprocessing': 'cairn',
        'cairn.precision': 'fp32',
        'cairn.backbone': 'small',
    }
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx', providers=['CPUExecutionProvider'])
    (images,), (features,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ('images', 'tensor(uint8)', [32, 32, 3])
    assert (features.name, features.type, features.shape[1:]) == ('features', 'tensor(float)', [16])
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4)
    weights = torch.load(tmp_path / 'out' / 'weights.pt', weights_only=True)
    safe = safetensors.torch.load_file(tmp_path / 'out' / 'weights.safetensors')
    assert safe.keys() == weights.keys()
    assert all(torch.equal(safe[name], weights[name]) for name in weights)
    net.load_state_dict(safe)
    for count in (1, 5, 9):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        (found,) = session.run(None, {'images': pixels})
        with torch.inference_mode():
            expected = net.eval().features(normalise(torch.from_numpy(pixels)))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_features_of_several_scales_are_the_mean_of_what_the_network_returns_at_each(tmp_path, trained):
    collection, run = trained
    code, events = run_export(configure_export(tmp_path / 'out', collection, run.checkpoint(), scales=[0.707, 1, 1.414], imageSize=100))
    assert (code, events[-1]['event']) == (0, 'exported')
    assert events[-1]['cosine'] > 0.999999
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx', providers=['CPUExecutionProvider'])
    assert session.get_modelmeta().custom_metadata_map['cairn.scales'] == '0.707 1.0 1.414'
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4)
    net.load_state_dict(torch.load(tmp_path / 'out' / 'weights.pt', weights_only=True))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 100, 100, 3), dtype=np.uint8)

    batch = (torch.from_numpy(pixels).float() - torch.tensor([123.675, 116.28, 103.53])) / 57
    batch = batch.permute(0, 3, 1, 2)
    with torch.inference_mode():
        total = torch.zeros(5, 16)
        for side in (64, 96, 128):  # 70.7, 100 and 141.4, rounded down to multiples of 16
            total += net.eval().embed(torch.nn.functional.interpolate(batch, size=side, mode='bilinear', align_corners=False))
        mean = total / 3
        expected = mean / mean.norm(dim=1, keepdim=True)
        single = net.features(batch)
    (found,) = session.run(None, {'images': pixels})
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert not np.allclose(found, single.numpy(), atol=1e-3)


@pytest.mark.parametrize('options', [{}, {'scales': [0.5, 1]}])
def test_mirrored_images_count_as_much(tmp_path, trained, options):
    collection, run = trained
    code, events = run_export(configure_export(tmp_path / 'out', collection, run.checkpoint(), flip=True, **options))
    assert (code, events[-1]['event']) == (0, 'exported')
    assert events[-1]['cosine'] > 0.999999
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx', providers=['CPUExecutionProvider'])
    assert session.get_modelmeta().custom_metadata_map['cairn.flip'] == 'true'
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    (found,) = session.run(None, {'images': pixels})
    (mirrored,) = session.run(None, {'images': np.ascontiguousarray(pixels[:, :, ::-1])})
    np.testing.assert_allclose(found, mirrored, atol=1e-6)
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4)
    net.load_state_dict(torch.load(tmp_path / 'out' / 'weights.pt', weights_only=True))
    with torch.inference_mode():
        single = net.eval().features(normalise(torch.from_numpy(pixels)), **options).numpy()
    assert not np.allclose(found, single, atol=1e-3)


def test_a_model_that_differs_is_rejected_with_its_worst_image(tmp_path, trained, monkeypatch):
    collection, run = trained
    forward = onnx_export.ExportedGraph.forward
    monkeypatch.setattr(onnx_export.ExportedGraph, 'forward', lambda self, images: forward(self, images // 2))
    code, events = run_export(configure_export(tmp_path / 'out', collection, run.checkpoint()))
    assert code == 65
    assert events[-1]['code'] == 'model_mismatch'
    assert any(f'for image {image_id} the cosine is' in events[-1]['message'] for image_id in collection.ids)


def _element_types(model) -> dict[str, set[int]]:
    """The types of the first input, by operator."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.value_info, *graph.input, *graph.output]}
    found: dict[str, set[int]] = {}
    for node in graph.node:
        found.setdefault(node.op_type, set()).add(types.get(node.input[0], 0) if node.input else 0)
    return found


@pytest.mark.parametrize('backbone', ['small', 'small_ibn'])
def test_in_fp16_the_backbone_alone_computes_in_it(tmp_path, trained, backbone, monkeypatch):
    ibn = ResNetSpec(blocks=(1, 1, 1, 1), widths=(4, 8, 16, 32), block='bottleneck', ibn_stages=3, se_reduction=4)
    monkeypatch.setitem(BACKBONES, 'small_ibn', ibn)
    collection, run = trained
    model = {**MODEL, 'backbone': backbone}
    if backbone != 'small':
        run = StageRun(tmp_path / 'ibn', collection, epochs=1, model=model)
        assert run.run() == 0
    sizes = {}
    for precision in ('fp32', 'fp16'):
        code, events = run_export(configure_export(tmp_path / precision, collection, run.checkpoint(), precision=precision, model=model))
        assert (code, events[-1]['event']) == (0, 'exported')
        assert events[-1]['cosine'] > 0.9995
        sizes[precision] = (tmp_path / precision / 'model.onnx').stat().st_size
    assert sizes['fp16'] < 0.7 * sizes['fp32']
    exported = onnx.load(tmp_path / 'fp16' / 'model.onnx')
    onnx.checker.check_model(exported)
    types = _element_types(exported)
    single, half = {onnx.TensorProto.FLOAT}, {onnx.TensorProto.FLOAT16}
    assert types['Conv'] == types['Relu'] == half
    assert types['Pow'] == types['ReduceL2'] == single
    assert types['MatMul'] >= single
    assert types.get('InstanceNormalization', single) == single
    assert ('InstanceNormalization' in types) == (backbone == 'small_ibn')
    session = onnxruntime.InferenceSession(tmp_path / 'fp16' / 'model.onnx', providers=['CPUExecutionProvider'])
    assert [(port.type, port.shape[1:]) for port in session.get_outputs()] == [('tensor(float)', [16])]
    assert [port.type for port in session.get_inputs()] == ['tensor(uint8)']


def test_maps_whose_third_power_no_fp16_holds_are_pooled_and_weights_that_overflow_are_rejected(tmp_path, trained):
    collection, run = trained
    weights = torch.load(run.checkpoint()['path'], weights_only=True)['model']
    *_, norm = (key for key in weights if key.startswith('base.') and key.endswith('bn2.weight'))

    def export_with(factor: float, precision: str) -> tuple[int, dict]:
        scaled = {key: value * factor if key in (norm, norm.replace('weight', 'bias')) else value for key, value in weights.items()}
        name = f'{precision}-{factor}'
        written = write_torch_file(tmp_path / f'{name}.pt', scaled)
        checkpoint = {'path': str(written.path), 'sha256': written.sha256}
        code, events = run_export(configure_export(tmp_path / name, collection, checkpoint, precision=precision))
        return code, events[-1]

    assert export_with(300, 'fp16')[0] == 0  # 300 cubed is 400 times the maximum of fp16
    code, failed = export_with(1e6, 'fp16')
    assert (code, failed['code']) == (65, 'model_mismatch')
    assert 'minCosine is 0.999. Export with precision fp32' in failed['message']
    assert export_with(1e6, 'fp32')[0] == 0


@pytest.mark.parametrize('affine', [True, False])
def test_a_variance_beyond_the_range_of_fp16_is_no_harm_to_a_backbone_in_it(affine):
    torch.manual_seed(0)
    variance = 1e6
    conv, norm = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8, affine=affine)
    with torch.no_grad():
        norm.running_var.fill_(variance)
        norm.running_mean.uniform_(-1, 1).mul_(variance**0.5)
        conv.weight.mul_(variance**0.5)
    backbone = nn.Sequential(conv, norm).eval()
    images = torch.randn(2, 8, 16, 16)
    with torch.inference_mode():
        half = HalfBackbone(backbone)
        torch.testing.assert_close(half(images).float(), backbone(images), atol=5e-3, rtol=5e-3)
    # torch 2.11 refuses 0.
    assert half.backbone[1].eps > 0
    assert torch.ones(()) + half.backbone[1].eps == 1
    assert norm.running_var[0] == variance


def test_a_checkpoint_of_another_network_and_a_changed_one_are_rejected(tmp_path, trained):
    collection, run = trained
    code, events = run_export(configure_export(tmp_path / 'a', collection, run.checkpoint(), model={**MODEL, 'embeddingDim': 8}))
    assert (code, events[-1]['code']) == (65, 'model_mismatch')
    code, events = run_export(configure_export(tmp_path / 'b', collection, {**run.checkpoint(), 'sha256': '0' * 64}))
    assert (code, events[-1]['code']) == (65, 'corrupt_artifact')
    code, events = run_export(configure_export(tmp_path / 'c', collection, run.checkpoint(), checkImages=0))
    assert (code, events[-1]['code']) == (78, 'invalid_configuration')


@pytest.mark.slow
def test_resnet18_is_exported_by_a_new_process(tmp_path, trained):
    collection, _ = trained
    model = {'backbone': 'resnet18', 'embeddingDim': 32, 'gemPower': 3, 'initSeed': 1}
    run = StageRun(tmp_path / 'resnet', collection, epochs=1, batch=8, model=model)
    assert run.run() == 0
    path = configure_export(tmp_path / 'out', collection, run.checkpoint(), model=model)
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    command = [sys.executable, '-m', 'cairn_trainer.export', '--config', str(path)]
    subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True)
    exported = parse_event((tmp_path / 'out' / 'events.jsonl').read_text())
    assert exported['cosine'] > 0.99999
