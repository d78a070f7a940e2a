import numpy as np
import pytest
import torch
from builders import exit_code_of, fork

from cairn_trainer.backbones import BACKBONES
from cairn_trainer.backbones.resnet import ResNetSpec
from cairn_trainer.config import ModelSettings, TrainSettings
from cairn_trainer.data import Batch, stand_in
from cairn_trainer.forward import Forward
from cairn_trainer.model import EmbeddingNet
from cairn_trainer.ranks import Ranks


@pytest.fixture(autouse=True)
def _wide_backbone(monkeypatch):
    """With 32 channels: with fewer than 8, channels last, oneDNN's 1x1 convolutions of stride 2 corrupt the heap (its issue 6035)."""
    monkeypatch.setitem(BACKBONES, 'wide', ResNetSpec(blocks=(1, 1, 1, 1), widths=(32, 32, 32, 32)))


def _batch():
    random = np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8))
    erased = torch.tensor([[1, 2, 8, 9]]).repeat(8, 1)
    return Batch(pixels, torch.arange(8), torch.arange(8) % 4, erased, [])


def _run(*, backbone='small', **options):
    """The loss and the gradients of one batch, with the weights of one seed."""
    settings = TrainSettings(list='clean', image_size=32, epochs=1, learning_rate=0.1, batch=8, ranks=1, **options)
    net = EmbeddingNet(ModelSettings(backbone=backbone, embedding_dim=16), 4, margin=0.3, scale=10)
    net.requires_grad_()
    outcome = Forward(net, settings, Ranks())(_batch())
    outcome.loss.backward()
    return outcome.loss.detach(), [parameter.grad for parameter in net.parameters()], net


def _angle(one, other):
    one, other = (torch.cat([gradient.flatten() for gradient in gradients]) for gradients in (one, other))
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


@pytest.mark.parametrize(('precision', 'min_cosine'), [('bf16', 0.98), ('fp16', 0.999)])
def test_half_precision_is_near_to_full_and_leaves_weights_and_loss_in_full(precision, min_cosine):
    full, expected, _ = _run()
    half, found, net = _run(precision=precision)
    assert half.item() == pytest.approx(full.item(), rel=0.02)
    assert half.item() != full.item()
    assert half.dtype == torch.float32
    assert {tensor.dtype for tensor in (*net.parameters(), *found)} == {torch.float32}
    assert min_cosine < _angle(found, expected) < 1


@pytest.mark.parametrize(('precision', 'tolerance', 'min_cosine'), [('fp32', 1e-5, 0.99999), ('bf16', 0.02, 0.999), ('fp16', 0.02, 0.999)])
def test_channels_last_changes_nothing_but_the_rounding(precision, tolerance, min_cosine):
    plain, expected, _ = _run(backbone='wide', precision=precision)
    turned, found, net = _run(backbone='wide', precision=precision, channels_last=True)
    assert net.base.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert {tensor.dtype for tensor in (*net.parameters(), *found)} == {torch.float32}
    assert turned.item() == pytest.approx(plain.item(), rel=tolerance)
    assert _angle(found, expected) > min_cosine


@pytest.mark.slow
def test_a_compiled_network_computes_the_same_and_keeps_its_state_keys(monkeypatch):
    plain, expected, before = _run()
    # Traced and differentiated as usual; only torch's C++ code generation, which compiles for a minute, is skipped.
    whole = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, 'compile', lambda self: whole(self, backend='aot_eager', fullgraph=True))
    compiled, found, net = _run(compile=True)
    assert compiled.item() == pytest.approx(plain.item(), rel=1e-4)
    assert _angle(found, expected) > 0.9999
    assert list(net.state_dict()) == list(before.state_dict())


class _ConcurrentRanks(Ranks):
    """One of several ranks of a test, which rendezvous through a file."""

    def __init__(self, rank, world, meeting_point):
        self.rank = self.local_rank = rank
        self.world = self.local_world = world
        self.device = torch.device('cpu')
        self.join(meeting_point)


def _passes_of_a_rank(rank, folder):
    ranks = _ConcurrentRanks(rank, 3, folder / 'meeting')
    torch.manual_seed(rank)
    settings = TrainSettings(list='clean', image_size=32, epochs=1, learning_rate=0.1, batch=4, ranks=3)
    net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4, margin=0.3, scale=10)
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.get_rng_state()
    forward = Forward(net, settings, ranks)
    forward.rehearse()
    unchanged = [torch.equal(torch.get_rng_state(), random), *(torch.equal(weights[key], now) for key, now in net.state_dict().items())]
    images = torch.randint(256, (4, 32, 32, 3), dtype=torch.uint8)
    batch = stand_in(4, 32)._replace(pixels=images, labels=torch.arange(4))
    gradients = []
    for _ in range(3):
        net.zero_grad()
        with forward.part(is_last=True):
            forward(batch).loss.backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters() if parameter.requires_grad])
    torch.save({'unchanged': unchanged, 'gradients': gradients}, folder / f'{rank}.pt')
    ranks.leave()
    return 0


def test_the_rehearsal_changes_nothing_and_the_first_step_sums_in_the_order_of_all_others(tmp_path):
    # With two ranks there is only one order of summation.
    processes = [fork(_passes_of_a_rank, rank, tmp_path) for rank in range(3)]
    assert [exit_code_of(process) for process in processes] == [0, 0, 0]
    found = [torch.load(tmp_path / f'{rank}.pt') for rank in range(3)]
    assert all(all(rank['unchanged']) for rank in found)
    first = found[0]['gradients'][0]
    for gradients in (gradients for rank in found for gradients in rank['gradients']):
        assert all(map(torch.equal, gradients, first))
