import pytest


def pytest_configure(config):
    """Loads torch once, for all ranks that are forked from here, but not in the process that only distributes the tests."""
    if config.getoption('dist', 'no') != 'no':
        return
    import torch

    from cairn_trainer.rank import preload

    torch.set_num_threads(1)
    preload()


@pytest.fixture(autouse=True)
def _small_backbone(monkeypatch):
    """A residual network of 20,000 parameters, also registered in forked ranks."""
    from cairn_trainer.backbones import BACKBONES
    from cairn_trainer.backbones.resnet import ResNetSpec

    monkeypatch.setitem(BACKBONES, 'small', ResNetSpec(blocks=(1, 1, 1, 1), widths=(4, 8, 16, 32)))
