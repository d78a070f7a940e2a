import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from builders import Collection, StageRun, exit_code_of, fork
from event_schema import parse_event

from cairn_trainer import export, onnx_export
from cairn_trainer.config import ModelSettings
from cairn_trainer.model import EmbeddingNet, normalise

MODEL = {'backbone': 'small', 'embeddingDim': 16, 'gemPower': 3, 'initSeed': 1}


@pytest.fixture
def trained(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=4, views=6)
    run = StageRun(tmp_path / 'run', collection, epochs=2, model=MODEL)
    assert run.run() == 0
    return collection, run


def _configure(folder, collection, checkpoint, **overrides) -> Path:
    folder.mkdir()
    config = {
        'protocol': 1,
        'settings': {'imageSize': 32, 'preprocessing': 'cairn', 'checkImages': 12, 'minCosine': 0.9999},
        'model': MODEL,
        'checkpoint': checkpoint,
        'list': {'path': str(collection.folder / 'train.parquet'), 'rows': len(collection.rows), 'labels': None},
        'imageRoot': str(collection.images),
        'outputDir': str(folder),
        'eventsPath': str(folder / 'events.jsonl'),
    }
    for name, value in overrides.items():
        (config if name in config else config['settings'])[name] = value
    path = folder / 'export.json'
    path.write_text(json.dumps(config))
    return path


def _export(path) -> tuple[int, list[dict]]:
    code = exit_code_of(fork(export.main, ['--config', str(path)]))
    return code, [parse_event(line) for line in (path.parent / 'events.jsonl').read_text().splitlines()]


def test_the_exported_model_follows_pytorch_for_any_number_of_images(tmp_path, trained):
    collection, run = trained
    collection.break_image(collection.ids[1])
    code, events = _export(_configure(tmp_path / 'out', collection, run.checkpoint()))
    assert code == 0
    assert [event['event'] for event in events] == ['badImage', 'exported']
    exported = events[-1]
    assert exported['images'] == 12
    assert exported['cosine'] > 0.999999
    assert [file['name'] for file in exported['files']] == ['model.onnx', 'weights.pt']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['events.jsonl', 'export.json', 'model.onnx', 'weights.pt']

    model = onnx.load(tmp_path / 'out' / 'model.onnx')
    onnx.checker.check_model(model)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        'cairn.imageSize': '32',
        'cairn.preprocessing': 'cairn',
        'cairn.backbone': 'small',
    }
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx', providers=['CPUExecutionProvider'])
    (images,), (features,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape[1:]) == ('images', 'tensor(uint8)', [32, 32, 3])
    assert (features.name, features.type, features.shape[1:]) == ('features', 'tensor(float16)', [16])
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4)
    net.load_state_dict(torch.load(tmp_path / 'out' / 'weights.pt', weights_only=True))
    for count in (1, 5, 9):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        (found,) = session.run(None, {'images': pixels})
        with torch.inference_mode():
            expected = net.eval().features(normalise(torch.from_numpy(pixels)))
        np.testing.assert_allclose(found.astype(np.float32), expected.numpy(), atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(found.astype(np.float32), axis=1), 1, atol=2e-3)


def test_a_model_that_differs_is_refused_with_its_worst_image(tmp_path, trained, monkeypatch):
    collection, run = trained
    forward = onnx_export.ExportedGraph.forward
    monkeypatch.setattr(onnx_export.ExportedGraph, 'forward', lambda self, images: forward(self, images // 2))
    code, events = _export(_configure(tmp_path / 'out', collection, run.checkpoint()))
    assert code == 65
    assert events[-1]['code'] == 'model_mismatch'
    assert any(f'on the image {image_id} the cosine is' in events[-1]['message'] for image_id in collection.ids)


def test_a_checkpoint_of_another_network_and_a_changed_one_are_refused(tmp_path, trained):
    collection, run = trained
    code, events = _export(_configure(tmp_path / 'a', collection, run.checkpoint(), model={**MODEL, 'embeddingDim': 8}))
    assert (code, events[-1]['code']) == (65, 'model_mismatch')
    code, events = _export(_configure(tmp_path / 'b', collection, {**run.checkpoint(), 'sha256': '0' * 64}))
    assert (code, events[-1]['code']) == (65, 'corrupt_artifact')
    code, events = _export(_configure(tmp_path / 'c', collection, run.checkpoint(), checkImages=0))
    assert (code, events[-1]['code']) == (78, 'invalid_configuration')


@pytest.mark.slow
def test_resnet18_is_exported_by_a_new_process(tmp_path, trained):
    collection, _ = trained
    model = {'backbone': 'resnet18', 'embeddingDim': 32, 'gemPower': 3, 'initSeed': 1}
    run = StageRun(tmp_path / 'resnet', collection, epochs=1, batch=8, model=model)
    assert run.run() == 0
    path = _configure(tmp_path / 'out', collection, run.checkpoint(), model=model)
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    command = [sys.executable, '-m', 'cairn_trainer.export', '--config', str(path)]
    subprocess.run(command, env=environment, check=True, timeout=60, capture_output=True)
    exported = parse_event((tmp_path / 'out' / 'events.jsonl').read_text())
    assert exported['cosine'] > 0.99999
