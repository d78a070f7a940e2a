"""Names and shapes of the tensors in the published ImageNet files, from the papers' tables and not from our modules."""

import math

R101 = (3, 4, 23, 3)


def _conv(key, channels_out, channels_in, side=1, *, is_biased=False):
    yield f'{key}.weight', (channels_out, channels_in, side, side)
    if is_biased:
        yield f'{key}.bias', (channels_out,)


def _norm(key, channels, *, is_batch=True):
    yield f'{key}.weight', (channels,)
    yield f'{key}.bias', (channels,)
    if is_batch:
        yield f'{key}.running_mean', (channels,)
        yield f'{key}.running_var', (channels,)
        yield f'{key}.num_batches_tracked', ()


def _fully_connected():
    yield 'fc.weight', (1000, 2048)
    yield 'fc.bias', (1000,)


def resnet(blocks, *, cardinality=1, base_width=64, ibn_stages=0, has_se=False):
    """torchvision's and IBN-Net's layout of a bottleneck network."""
    yield from _conv('conv1', 64, 3, 7)
    yield from _norm('bn1', 64)
    channels_in = 64
    for stage, count in enumerate(blocks, start=1):
        width = 64 * 2 ** (stage - 1)
        inner, channels = math.floor(width * base_width / 64) * cardinality, 4 * width
        for block in range(count):
            key = f'layer{stage}.{block}'
            yield from _conv(f'{key}.conv1', inner, channels_in)
            if stage <= ibn_stages:
                yield from _norm(f'{key}.bn1.IN', inner // 2, is_batch=False)
                yield from _norm(f'{key}.bn1.BN', inner - inner // 2)
            else:
                yield from _norm(f'{key}.bn1', inner)
            yield from _conv(f'{key}.conv2', inner, inner // cardinality, 3)
            yield from _norm(f'{key}.bn2', inner)
            yield from _conv(f'{key}.conv3', channels, inner)
            yield from _norm(f'{key}.bn3', channels)
            if has_se:
                yield f'{key}.se.fc.0.weight', (channels // 16, channels)
                yield f'{key}.se.fc.2.weight', (channels, channels // 16)
            if block == 0:
                yield from _conv(f'{key}.downsample.0', channels, channels_in)
                yield from _norm(f'{key}.downsample.1', channels)
            channels_in = channels
    yield from _fully_connected()


def resnest(blocks):
    """The layout of ResNeSt's weights_step1."""
    yield from _conv('conv1.0', 64, 3, 3)
    yield from _norm('conv1.1', 64)
    yield from _conv('conv1.3', 64, 64, 3)
    yield from _norm('conv1.4', 64)
    yield from _conv('conv1.6', 128, 64, 3)
    yield from _norm('bn1', 128)
    channels_in = 128
    for stage, count in enumerate(blocks, start=1):
        width = 64 * 2 ** (stage - 1)
        attention = max(width * 2 // 4, 32)
        for block in range(count):
            key = f'layer{stage}.{block}'
            yield from _conv(f'{key}.conv1', width, channels_in)
            yield from _norm(f'{key}.bn1', width)
            yield from _conv(f'{key}.conv2.conv', 2 * width, width // 2, 3)
            yield from _norm(f'{key}.conv2.bn0', 2 * width)
            yield from _conv(f'{key}.conv2.fc1', attention, width, is_biased=True)
            yield from _norm(f'{key}.conv2.bn1', attention)
            yield from _conv(f'{key}.conv2.fc2', 2 * width, attention, is_biased=True)
            yield from _conv(f'{key}.conv3', 4 * width, width)
            yield from _norm(f'{key}.bn3', 4 * width)
            if block == 0:
                yield from _conv(f'{key}.downsample.1', 4 * width, channels_in)
                yield from _norm(f'{key}.downsample.2', 4 * width)
            channels_in = 4 * width
    yield from _fully_connected()


LAYOUTS = {
    # torchvision's file of 2017: older than num_batches_tracked.
    'resnet50': {key: shape for key, shape in resnet((3, 4, 6, 3)) if not key.endswith('num_batches_tracked')},
    'resnet101_ibn_a': dict(resnet(R101, ibn_stages=3)),
    'se_resnet101_ibn_a': dict(resnet(R101, ibn_stages=3, has_se=True)),
    'resnext101_ibn_a': dict(resnet(R101, ibn_stages=3, cardinality=32, base_width=4)),
    'resnest101': dict(resnest(R101)),
    'resnest269': dict(resnest((3, 30, 48, 8))),
}


def parameters_of(layout):
    """The number of trained parameters, without the classifier."""
    return sum(
        math.prod(shape)
        for key, shape in layout.items()
        if not key.startswith('fc.') and not key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
    )
