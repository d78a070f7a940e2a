"""Each backbone at full depth with the real launcher: two ranks, small images, a few steps."""

import pytest
import torch
from builders import Collection, StageRun, exit_code_of

from cairn_trainer.backbones import BACKBONES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('backbone', [name for name in BACKBONES if name != 'small'] + ['timm:convnext_atto'])
def test_two_ranks_train_it(tmp_path, backbone):
    collection = Collection(tmp_path / 'data', landmarks=4, views=4)
    model = {'backbone': backbone, 'embeddingDim': 64, 'gemPower': 3, 'initSeed': 1}
    # An untrained network with 90 blocks and batch norms over four images has gradients of 10^7: it would diverge with a larger rate.
    run = StageRun(tmp_path / 'run', collection, ranks=2, epochs=1, batch=4, imageSize=64, learningRate=1e-9, model=model)
    assert exit_code_of(run.start(), seconds=300) == 0
    assert [event['step'] for event in run.events('step')] == [1, 2]
    content = torch.load(run.checkpoint()['path'], weights_only=True)
    assert all(value.isfinite().all() for value in content['model'].values())
    for name, velocity in content['optimizer'].items():
        assert velocity.abs().sum() > 0, name
