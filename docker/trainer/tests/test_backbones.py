import json
from pathlib import Path

import pytest
import torch
from backbone_costs import costs_of
from builders import Collection, StageRun, exit_code_of
from published_layouts import LAYOUTS, parameters_of
from torch import nn

from cairn_trainer.backbones import BACKBONES, build_backbone
from cairn_trainer.backbones.blocks import InstanceBatchNorm
from cairn_trainer.backbones.resnest import ResNeStSpec
from cairn_trainer.backbones.resnet import ResNetSpec
from cairn_trainer.errors import TrainerError

# The table of backbones.
PARAMETERS = {
    'resnet50': 23_508_032,
    'resnet101_ibn_a': 42_500_160,
    'se_resnet101_ibn_a': 47_243_328,
    'resnext101_ibn_a': 42_128_704,
    'resnest101': 46_226_016,
    'resnest269': 108_880_480,
}


def _on_meta(name):
    """The whole network without data: 109 million numbers would take seconds."""
    with torch.device('meta'):
        return BACKBONES[name].build()


def _shuffled(network, seed=0):
    """Weights and running statistics that are not equal by chance."""
    generator = torch.Generator().manual_seed(seed)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * (0.2 if value.ndim > 1 else 1) + (0 if value.ndim > 1 else 0.5))
            if value.ndim > 1:
                value.sub_(0.1)
    return network


@pytest.mark.parametrize('name', PARAMETERS)
def test_a_backbone_has_the_published_parameters_and_maps_256_px_to_16_x_16_x_2048(name):
    backbone = _on_meta(name)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[name] == parameters_of(LAYOUTS[name])
    assert backbone(torch.empty(2, 3, 256, 256, device='meta')).shape == (2, 2048, 16, 16)
    assert BACKBONES[name].channels == 2048


@pytest.mark.parametrize('name', PARAMETERS)
def test_its_state_keys_and_shapes_are_the_published_ones(name):
    wanted = {key: shape for key, shape in LAYOUTS[name].items() if not key.startswith('fc.')}
    if name == 'resnet50':
        wanted = {_with_pooled_shortcut(key): shape for key, shape in wanted.items()}
    found = {key: tuple(value.shape) for key, value in _on_meta(name).state_dict().items()}
    if name == 'resnet50':
        found = {key: shape for key, shape in found.items() if not key.endswith('num_batches_tracked')}
    assert found == wanted


def _with_pooled_shortcut(key):
    if key.startswith(('layer2.0.downsample.', 'layer3.0.downsample.')):
        head, number, rest = key.rsplit('.', 2)
        return f'{head}.{int(number) + 1}.{rest}'
    return key


def test_only_where_the_reference_halves_the_map_does_resnet50_pool_its_shortcut():
    backbone = _on_meta('resnet50')
    kinds = [[type(module).__name__ for module in getattr(backbone, f'layer{stage}')[0].downsample] for stage in (1, 2, 3, 4)]
    plain, pooled = ['Conv2d', 'BatchNorm2d'], ['AvgPool2d', 'Conv2d', 'BatchNorm2d']
    assert kinds == [plain, pooled, pooled, plain]
    assert backbone.layer4[0].conv2.stride == backbone.layer4[0].downsample[0].stride == (1, 1)


@pytest.mark.parametrize('name', ['resnest101', 'resnest269'])
def test_resnest_dilates_the_last_stage_but_for_its_first_block_and_averages_at_the_head_of_stages_2_to_4(name):
    backbone = _on_meta(name)
    for stage in (1, 2, 3, 4):
        for number, block in enumerate(getattr(backbone, f'layer{stage}')):
            dilation = 2 if stage == 4 and number > 0 else 1
            assert block.conv2.conv.dilation == block.conv2.conv.padding == (dilation, dilation)
            is_averaged = isinstance(block.avd_layer, nn.AvgPool2d)
            assert is_averaged == (stage > 1 and number == 0)
            assert not is_averaged or block.avd_layer.stride == (2 if stage in (2, 3) else 1)


def test_resnet18_is_torchvisions_with_the_last_stride_at_one():
    from torchvision.models import resnet18

    backbone, channels = build_backbone('resnet18', torch.Generator().manual_seed(0))
    reference = resnet18(weights=None)
    reference.layer4[0].conv1.stride = reference.layer4[0].downsample[0].stride = (1, 1)
    reference.fc = torch.nn.Identity()
    assert list(reference.state_dict()) == list(backbone.state_dict())
    reference.load_state_dict(backbone.state_dict())
    images = torch.randn(2, 3, 64, 64)
    feature_map = backbone(images)
    assert feature_map.shape == (2, channels, 4, 4)
    torch.testing.assert_close(feature_map.mean((2, 3)), reference(images))


def _torchvisions(**options):
    from torchvision.models.resnet import Bottleneck, ResNet

    reference = ResNet(Bottleneck, [1, 2, 1, 2], **options)
    reference.layer4[0].conv2.stride = reference.layer4[0].downsample[0].stride = (1, 1)
    reference.fc = nn.Identity()
    return reference


class _Halves(nn.Module):
    """A direct implementation of IBN-a: the first channels by their mean and variance over the image, the rest by batch."""

    def __init__(self, norm: InstanceBatchNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x):
        first, rest = x[:, : self.norm.half], x[:, self.norm.half :]
        deviation = first - first.mean((2, 3), keepdim=True)
        first = deviation / (deviation.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        mean, variance = (value[:, None, None] for value in (self.norm.BN.running_mean, self.norm.BN.running_var))
        rest = (rest - mean) / (variance + 1e-5).sqrt()
        weight = torch.cat((self.norm.IN.weight, self.norm.BN.weight))[:, None, None]
        return torch.cat((first, rest), 1) * weight + torch.cat((self.norm.IN.bias, self.norm.BN.bias))[:, None, None]


def _agree(ours, theirs):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = theirs.eval()(images), ours.eval()(images).mean((2, 3))
    assert expected.std() > 1e-3  # all-zero activations would be equal to anything
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_resnet50_computes_what_torchvisions_blocks_do_with_the_shortcuts_of_the_reference():
    ours = _shuffled(ResNetSpec(blocks=(1, 2, 1, 2), block='bottleneck', is_pooled=True).build())
    theirs = _torchvisions()
    for stage in (theirs.layer2, theirs.layer3):
        _, norm = stage[0].downsample
        conv = nn.Conv2d(stage[0].downsample[0].in_channels, norm.num_features, 1, bias=False)
        stage[0].downsample = nn.Sequential(nn.AvgPool2d(2), conv, norm)
    theirs.load_state_dict(ours.state_dict())
    _agree(ours, theirs)


@pytest.mark.parametrize('options', [{}, {'groups': 32, 'group_width': 4}])
def test_the_ibn_networks_compute_what_torchvisions_blocks_do_with_half_of_the_first_norms_by_instance(options):
    ours = _shuffled(ResNetSpec(blocks=(1, 2, 1, 2), block='bottleneck', ibn_stages=3, **options).build())
    theirs = _torchvisions(groups=options.get('groups', 1), width_per_group=options.get('group_width', 64))
    for stage in (1, 2, 3):
        for mine, other in zip(getattr(ours, f'layer{stage}'), getattr(theirs, f'layer{stage}'), strict=True):
            other.bn1 = _Halves(mine.bn1)
    state = {key.replace('.bn1.', '.bn1.norm.') if '.bn1.IN' in key or '.bn1.BN' in key else key: v for key, v in ours.state_dict().items()}
    theirs.load_state_dict(state)
    _agree(ours, theirs)


def test_squeeze_excitation_and_resnest_compute_what_timms_do():
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import Bottleneck, ResNet

    se = ResNet(Bottleneck, (1, 2, 1, 2), num_classes=0, output_stride=32, block_args={'attn_layer': 'se'})
    se.layer4[0].conv2.stride = se.layer4[0].downsample[0].stride = (1, 1)
    ours = _shuffled(ResNetSpec(blocks=(1, 2, 1, 2), block='bottleneck', se_reduction=16).build())
    names = {'fc.0.weight': 'fc1.weight', 'fc.2.weight': 'fc2.weight'}
    state = {key: torch.zeros_like(value) for key, value in se.state_dict().items() if '.se.' in key and key.endswith('bias')}
    for key, value in ours.state_dict().items():
        head, is_se, tail = key.partition('.se.')
        state[f'{head}.se.{names[tail]}' if is_se else key] = value[:, :, None, None] if is_se else value
    se.load_state_dict(state)
    _agree(ours, se)

    options = {'radix': 2, 'avd': True, 'avd_first': False}
    stem = {'stem_width': 64, 'stem_type': 'deep', 'avg_down': True, 'base_width': 64, 'cardinality': 1}
    resnest = ResNet(ResNestBottleneck, (1, 2, 1, 3), num_classes=0, output_stride=16, block_args=options, **stem)
    # Where dilation replaces the stride timm drops the average too, and pools the shortcut differently; the authors' code does not.
    resnest.layer4[0].avd_last = nn.AvgPool2d(3, 1, padding=1)
    resnest.layer4[0].downsample[0] = nn.Identity()
    ours = _shuffled(ResNeStSpec(blocks=(1, 2, 1, 3)).build())
    resnest.load_state_dict(ours.state_dict())
    _agree(ours, resnest)


@pytest.mark.parametrize('side', [37, 50])
def test_sides_that_no_stride_divides_are_taken(side):
    for spec in (ResNetSpec(blocks=(1, 1, 1, 1), block='bottleneck', is_pooled=True), ResNeStSpec(blocks=(1, 1, 1, 1))):
        with torch.device('meta'):
            backbone = spec.build()
        assert backbone(torch.empty(2, 3, side, side, device='meta')).shape == (2, 2048, -(-side // 16), -(-side // 16))


def test_an_unknown_backbone_is_rejected_with_the_nearest_and_all_known_ones():
    generator = torch.Generator()
    with pytest.raises(TrainerError, match=r"'resnest100'; it must be one of resnet18, .* Did you mean resnest101\?") as caught:
        build_backbone('resnest100', generator)
    assert caught.value.code == 'invalid_configuration'
    with pytest.raises(TrainerError, match=r'timm:NAME for a network of timm\.$'):
        build_backbone('?', generator)
    with pytest.raises(TrainerError, match=r'no such network\. Closest names: timm:convnext_base'):
        build_backbone('timm:convnext_bas', generator)


@pytest.mark.parametrize(('name', 'channels', 'side'), [('test_resnet', 96, 2), ('test_convnext', 64, 2)])
def test_a_network_of_timm_is_a_backbone(name, channels, side):
    backbone, found = build_backbone(f'timm:{name}', torch.Generator().manual_seed(3))
    assert found == channels
    feature_map = backbone(torch.randn(2, 3, 64, 64))
    assert feature_map.shape == (2, channels, side, side)
    feature_map.square().sum().backward()
    for key, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    assert backbone.training


def test_a_transformer_of_timm_gives_its_picture_tokens_as_a_map():
    backbone, channels = build_backbone('timm:test_vit', torch.Generator().manual_seed(3))
    assert backbone(torch.randn(2, 3, 96, 96)).shape == (2, channels, 36, 1)


def test_a_seed_gives_a_network_of_timm_its_weights_whatever_was_drawn_before():
    def first_weights(seed):
        return next(build_backbone('timm:test_resnet', torch.Generator().manual_seed(seed))[0].parameters())

    before = torch.get_rng_state()
    one = first_weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(3)
    assert torch.equal(first_weights(1), one)
    assert not torch.equal(first_weights(2), one)


@pytest.mark.slow
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


TABLE = json.loads((Path(__file__).parents[3] / 'libs' / 'domain' / 'backbone-costs.json').read_text())


# The large ones take seconds each, even on the meta device.
LARGE = {'resnest101', 'resnest269', 'resnext101_ibn_a', 'se_resnet101_ibn_a'}


@pytest.mark.parametrize('backbone', [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in TABLE])
def test_the_table_of_backbone_costs_is_current(backbone):
    assert TABLE[backbone] == {**costs_of(backbone), 'channels': BACKBONES[backbone].channels}


def test_every_backbone_but_those_of_tests_is_in_the_table():
    assert set(TABLE) == set(BACKBONES) - {'small'}
