import pytest
import torch

from cairn_trainer.backbones import BACKBONES
from cairn_trainer.backbones.resnet import ResNetSpec
from cairn_trainer.rank import preload

torch.set_num_threads(1)
preload()  # once, for all ranks that are forked from here


@pytest.fixture(autouse=True)
def _small_backbone(monkeypatch):
    """A residual network of 20,000 parameters, also registered in forked ranks."""
    monkeypatch.setitem(BACKBONES, 'small', ResNetSpec(blocks=(1, 1, 1, 1), widths=(4, 8, 16, 32)))
