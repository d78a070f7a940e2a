import pytest
import torch

from cairn_trainer.config import ModelSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.model import EmbeddingNet, GeM, load_weights, normalise

SETTINGS = ModelSettings(backbone='small', embedding_dim=16, init_seed=5)


def test_gem_is_the_generalised_mean():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])
    assert GeM(3.0)(x).item() == pytest.approx(((1 + 8 + 27 + 1e-18) / 4) ** (1 / 3))
    assert GeM(1.0)(x).item() == pytest.approx(1.5)


def test_pixels_become_the_networks_input():
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    expected = [(0 - 123.675) / 57, (128 - 116.28) / 57, (255 - 103.53) / 57]
    assert normalise(pixels).flatten().tolist() == pytest.approx(expected)


def test_state_keys_are_the_agreed_ones():
    keys = EmbeddingNet(SETTINGS, classes=4).state_dict()
    others = [key for key in keys if not key.startswith('base.')]
    statistics = ['fcneck_bn.running_mean', 'fcneck_bn.running_var', 'fcneck_bn.num_batches_tracked']
    assert others == ['fcneck.weight', 'fcneck_bn.weight', 'fcneck_bn.bias', *statistics, 'classifier.weight']


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    first = EmbeddingNet(SETTINGS, classes=4).state_dict()
    torch.manual_seed(99)
    again, other = EmbeddingNet(SETTINGS, classes=9).state_dict(), EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 4)
    for key in first.keys() - {'classifier.weight'}:
        assert torch.equal(first[key], again[key]), key
    assert not torch.equal(first['fcneck.weight'], other.state_dict()['fcneck.weight'])
    assert torch.equal(again['fcneck_bn.weight'], torch.ones(16))
    assert not torch.equal(first['base.conv1.weight'], torch.zeros_like(first['base.conv1.weight']))


def test_features_have_length_one_and_the_necks_bias_is_frozen():
    net = EmbeddingNet(SETTINGS, classes=4).eval()
    features = net.features(torch.randn(3, 3, 32, 32))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    assert not net.fcneck_bn.bias.requires_grad
    assert net.fcneck_bn.weight.requires_grad


def test_more_classes_keep_the_first_rows_and_initialise_the_others():
    small, large = EmbeddingNet(SETTINGS, classes=4), EmbeddingNet(SETTINGS, classes=6)
    initial = large.classifier.weight.detach().clone()
    with torch.no_grad():
        for value in small.state_dict().values():
            value.add_(1)
    load_weights(large, small.state_dict(), 'A', may_grow=True)
    assert torch.equal(large.classifier.weight[:4], small.classifier.weight)
    assert torch.equal(large.classifier.weight[4:], initial[4:])
    assert torch.equal(large.fcneck.weight, small.fcneck.weight)


def test_a_clean_lists_classifier_fills_the_first_rows_of_the_full_lists():
    settings = ModelSettings(backbone='small', embedding_dim=8)
    clean, full = EmbeddingNet(settings, classes=81_313), EmbeddingNet(settings, classes=203_094)
    initial = full.classifier.weight.detach().clone()
    with torch.no_grad():
        clean.classifier.weight.add_(1)
    load_weights(full, clean.state_dict(), 'A', may_grow=True)
    assert torch.equal(full.classifier.weight[:81_313], clean.classifier.weight)
    assert torch.equal(full.classifier.weight[81_313:], initial[81_313:])


def test_every_mismatch_is_named():
    net = EmbeddingNet(SETTINGS, classes=4)
    state = dict(net.state_dict())
    state['extra.weight'] = state.pop('base.bn1.bias')
    state['fcneck.weight'] = torch.zeros(8, 32)
    state['classifier.weight'] = torch.zeros(5, 16)
    with pytest.raises(TrainerError) as caught:
        load_weights(net, state, 'The checkpoint a.pt', may_grow=True)
    assert caught.value.code == 'model_mismatch'
    for fault in (
        'The checkpoint a.pt does not fit',
        'base.bn1.bias is missing',
        'extra.weight is unknown',
        'fcneck.weight has the shape 8x32, the network needs 16x32',
        'classifier.weight has the shape 5x16, the network needs 4x16',
    ):
        assert fault in str(caught.value)


def test_fewer_classes_are_rejected_if_nothing_may_grow():
    small, large = EmbeddingNet(SETTINGS, classes=4), EmbeddingNet(SETTINGS, classes=6)
    with pytest.raises(TrainerError, match=r'classifier\.weight has the shape 4x16'):
        load_weights(large, small.state_dict(), 'A', may_grow=False)


@pytest.mark.parametrize('backbone', ['timm:test_resnet', 'timm:test_convnext', 'timm:test_vit'])
def test_a_network_of_timm_trains_under_the_same_head(backbone):
    net = EmbeddingNet(ModelSettings(backbone=backbone, embedding_dim=16), classes=4)
    net(torch.randn(4, 3, 64, 64), torch.arange(4)).loss.backward()
    # The optimizer requires one for each parameter.
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters() if parameter.requires_grad)
    assert net.fcneck.weight.grad.abs().sum() > 0
