import pytest
import torch
from published_layouts import LAYOUTS

from cairn_trainer.backbones import BACKBONES, build_backbone
from cairn_trainer.errors import TrainerError
from cairn_trainer.published_weights import load_published


def _published(name):
    """A state dict of the published layout without data: a view of one zero for each tensor."""
    zero = torch.zeros(())
    return {key: zero.expand(shape) for key, shape in LAYOUTS[name].items()}


def _on_meta(name):
    with torch.device('meta'):
        return BACKBONES[name].build()


@pytest.mark.parametrize('name', LAYOUTS)
def test_every_published_tensor_finds_its_place(name):
    backbone = _on_meta(name)
    counters = [key for key in backbone.state_dict() if key.endswith('num_batches_tracked')]
    loaded = load_published(backbone, _published(name), 'A', 'all')
    assert loaded.untouched == (counters if name == 'resnet50' else [])
    assert loaded.tensors == len(LAYOUTS[name]) - 2


def _small(name):
    """The published layout with data, of a small network."""
    from dataclasses import replace

    return replace(BACKBONES[name], blocks=(1, 1, 1, 1)).build()


def _numbered(network, rename=lambda key: key):
    generator = torch.Generator().manual_seed(0)
    state = {rename(key): torch.rand(value.shape, generator=generator) for key, value in network.state_dict().items()}
    return {**state, 'fc.weight': torch.zeros(1000, 2048), 'fc.bias': torch.zeros(1000)}


def test_the_shortcuts_that_pool_take_the_tensors_of_those_that_do_not():
    backbone = _small('resnet50')
    shifted = {'layer2.0.downsample.': True, 'layer3.0.downsample.': True}

    def as_published(key):
        for head in shifted:
            if key.startswith(head):
                number, rest = key.removeprefix(head).split('.', 1)
                return f'{head}{int(number) - 1}.{rest}'
        return key

    state = _numbered(backbone, as_published)
    load_published(backbone, state, 'A', 'all')
    for stage, (conv, norm) in {1: (0, 1), 2: (1, 2), 3: (1, 2), 4: (0, 1)}.items():
        found = getattr(backbone, f'layer{stage}')[0].downsample
        assert torch.equal(found[conv].weight, state[f'layer{stage}.0.downsample.0.weight'])
        assert torch.equal(found[norm].running_var, state[f'layer{stage}.0.downsample.1.running_var'])


def test_squeeze_excitation_is_loaded_unless_the_reference_is_to_be_followed():
    names = [key for key in _on_meta('se_resnet101_ibn_a').state_dict() if '.se.fc.' in key]
    assert len(names) == 66
    loaded = load_published(_on_meta('se_resnet101_ibn_a'), _published('se_resnet101_ibn_a'), 'A', 'upstream')
    assert loaded.untouched == names

    backbone = _small('se_resnet101_ibn_a')
    before = backbone.layer1[0].se.fc[0].weight.clone()
    state = _numbered(backbone)
    load_published(backbone, state, 'A', 'upstream')
    assert torch.equal(backbone.layer1[0].se.fc[0].weight, before)
    assert torch.equal(backbone.layer1[0].conv1.weight, state['layer1.0.conv1.weight'])
    load_published(backbone, state, 'A', 'all')
    assert torch.equal(backbone.layer1[0].se.fc[0].weight, state['layer1.0.se.fc.0.weight'])


def test_what_the_reference_leaves_untrained_starts_as_pytorchs_linear_layers_do():
    backbone, _ = build_backbone('se_resnet101_ibn_a', torch.Generator().manual_seed(0))
    layers = [layer for name, layer in backbone.named_modules() if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 66
    before = [layer.weight.clone() for layer in layers]
    load_published(backbone, _published('se_resnet101_ibn_a'), 'A', 'upstream')
    for layer, weight in zip(layers, before, strict=True):
        bound = layer.in_features**-0.5
        assert torch.equal(layer.weight, weight)
        assert weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


def test_following_the_reference_keeps_resnests_attention():
    assert load_published(_on_meta('resnest101'), _published('resnest101'), 'A', 'upstream').untouched == []


def test_every_mismatch_is_named():
    state = _published('resnext101_ibn_a')
    del state['layer1.0.bn1.IN.weight']
    state['layer4.2.bn1.IN.weight'] = torch.zeros(512)
    state['layer2.0.conv2.weight'] = torch.zeros(256, 256, 3, 3)
    with pytest.raises(TrainerError) as caught:
        load_published(_on_meta('resnext101_ibn_a'), state, 'The file a.pth', 'all')
    assert caught.value.code == 'model_mismatch'
    for fault in (
        'The file a.pth does not fit the backbone',
        'layer1.0.bn1.IN.weight is missing',
        'layer4.2.bn1.IN.weight is unknown',
        'layer2.0.conv2.weight has the shape 256x256x3x3, the network needs 256x8x3x3',
    ):
        assert fault in str(caught.value)


def test_weights_of_timm_are_taken_without_their_classifier():
    import timm

    published = timm.create_model('test_resnet', pretrained=False)
    backbone, _ = build_backbone('timm:test_resnet', torch.Generator())
    load_published(backbone, published.state_dict(), 'A', 'all')
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone.eval()(images), published.eval().forward_features(images))
