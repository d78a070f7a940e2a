"""Loads published ImageNet weights into the backbones: torchvision's, IBN-Net's, ResNeSt's, timm's.

A published file contains the tensors of a whole classifier, some under other names. The differences:
- the classifier (`fc.*`; for timm the name that it declares) is ignored;
- if the shortcut pools first (the ResNet-50 of the reference), `downsample.0` and `.1` of the file are `.1` and `.2` here;
- files from before PyTorch 0.4.1 have no `num_batches_tracked`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor, nn

from cairn_trainer.backbones.blocks import SqueezeExcitation
from cairn_trainer.errors import TrainerError
from cairn_trainer.model import copy_weights, mismatches

Extent = Literal['all', 'upstream']
"""`all`: every tensor of the network. `upstream`: like the reference, which skips every name with `fc` in it and so leaves
the squeeze-excitations (66 tensors, 4.74 M parameters of se_resnet101_ibn_a) untrained."""

_COUNTER = 'num_batches_tracked'


class Loaded(NamedTuple):
    """The number of tensors that were set, and the names of those that kept their initialisation."""

    tensors: int
    untouched: list[str]


def load_published(backbone: nn.Module, content: Mapping[str, Tensor], source: str, extent: Extent) -> Loaded:
    """Copies published weights into a backbone.

    Raises:
        TrainerError: `model_mismatch`, naming every tensor that is missing, unknown or of another shape.
    """
    expected, found, untouched = match_published(backbone, content, extent)
    faults = mismatches(expected, found)
    if faults:
        raise TrainerError('model_mismatch', f'{source} does not fit the backbone: ' + '; '.join(faults) + '.')
    copy_weights(expected, found)
    return Loaded(len(expected), untouched)


class Matched(NamedTuple):
    """The backbone's tensors to fill, the file's under the same names, and the names of those that are not filled."""

    expected: dict[str, Tensor]
    found: dict[str, Tensor]
    untouched: list[str]


def match_published(backbone: nn.Module, content: Mapping[str, Tensor], extent: Extent) -> Matched:
    """Renames the tensors of both sides to the same names; remaining differences are errors in the file."""
    inner = getattr(backbone, 'model', backbone)  # networks of timm are wrapped
    wanted = inner.state_dict()
    found = _renamed(inner, content)
    untouched = [key for key in wanted if key.endswith(_COUNTER) and key not in found]
    if extent == 'upstream':
        attention = [f'{name}.' for name, module in inner.named_modules() if isinstance(module, SqueezeExcitation)]
        left_out = [key for key in wanted if key.startswith(tuple(attention))]
        untouched += left_out
        found = {key: value for key, value in found.items() if key not in left_out}
    return Matched({key: value for key, value in wanted.items() if key not in untouched}, found, untouched)


def _renamed(network: nn.Module, content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors under Cairn's names, without the classifier."""
    found = dict(content)
    for name, module in network.named_modules():
        if name.endswith('.downsample') and isinstance(module[0], nn.AvgPool2d) and f'{name}.0.weight' in found:
            for here, there in ((2, 1), (1, 0)):
                for key in [key for key in found if key.startswith(f'{name}.{there}.')]:
                    found[key.replace(f'{name}.{there}.', f'{name}.{here}.')] = found.pop(key)
    heads = getattr(network, 'default_cfg', {}).get('classifier', 'fc')
    prefixes = tuple(f'{head}.' for head in ((heads,) if isinstance(heads, str) else heads))
    return {key: value for key, value in found.items() if not key.startswith(prefixes)}
