"""`python -m cairn_trainer.check_import backbone|model|matcher --file FILE [--backbone NAME]`: checks an imported file.

Tensors must fit the network; a matcher must be an ONNX graph of the accepted form that can match a pair of images.

One JSON object on standard output: the file's content, or `{"code", "message", "mismatches"}` if it is rejected.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cairn_trainer.backbones import outline_backbone
from cairn_trainer.config import MatchingSettings, ModelSettings
from cairn_trainer.errors import TrainerError, answer_with
from cairn_trainer.foreign_file import heads_of, read_named_tensors
from cairn_trainer.matchers import OnnxMatcher
from cairn_trainer.model import EmbeddingNet, mismatches
from cairn_trainer.published_weights import Extent, match_published

_SHOWN = 12


class DoesNotFitError(TrainerError):
    """`model_mismatch` with all differences in `mismatches`; the message shows the first ones."""

    def __init__(self, path: Path, backbone: str, faults: list[str]) -> None:
        more = f' and {len(faults) - _SHOWN} more' if len(faults) > _SHOWN else ''
        super().__init__('model_mismatch', f'{path} does not fit {backbone}: {"; ".join(faults[:_SHOWN])}{more}.')
        self.mismatches = faults


def check_backbone(path: Path, backbone: str, extent: Extent) -> dict[str, Any]:
    """Compares published weights with a backbone, as a stage would load them.

    Raises:
        TrainerError: `model_mismatch`, `unsafe_file`, `unreadable_file`, `missing_file`, `invalid_configuration` (the backbone).
    """
    matched = match_published(outline_backbone(backbone), read_named_tensors(path), extent)
    _refuse(path, backbone, matched.expected, matched.found)
    return {'tensors': len(matched.expected), 'parameters': _numbers(matched.found), 'untouched': len(matched.untouched)}


def check_model(path: Path, backbone: str) -> dict[str, Any]:
    """Compares a whole model (`base.*`, `fcneck.*`, `fcneck_bn.*`, `classifier.weight`) with the network of that backbone.

    Raises:
        TrainerError: as `check_backbone`.
    """
    found = read_named_tensors(path)
    heads = heads_of(path, found)
    absent = [f'{key} is missing or not a matrix' for key in ('fcneck.weight', 'classifier.weight') if key not in heads]
    if absent:
        outline_backbone(backbone)  # an unknown backbone is reported first
        raise DoesNotFitError(path, backbone, absent)
    dim, classes = len(heads['fcneck.weight']), len(heads['classifier.weight'])
    net = EmbeddingNet(ModelSettings(backbone=backbone, embedding_dim=dim), classes=classes)
    wanted = net.state_dict()
    _refuse(path, backbone, wanted, found)
    used = {key: found[key] for key in wanted}
    return {'tensors': len(used), 'parameters': _numbers(used), 'embeddingDim': dim, 'classes': classes}


def check_matcher(path: Path) -> dict[str, Any]:
    """Opens an ONNX matcher and matches a drawn pair of images of different sizes with it.

    Raises:
        TrainerError: `missing_file`, `unreadable_file` for a file of another form, `program_failed` if the graph fails for the pair.
    """
    matcher = OnnxMatcher(path, MatchingSettings())
    draw = np.random.default_rng(0)
    pair = [matcher.prepare(draw.integers(0, 256, size, np.uint8)) for size in ((240, 320), (320, 216))]
    matcher.match(*pair)
    return {'version': matcher.description['version']}


def _refuse(path: Path, backbone: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    faults = mismatches(wanted, found)
    faults = faults or [f'{key} has values that are not finite' for key in wanted if not torch.isfinite(found[key]).all()]
    if faults:
        raise DoesNotFitError(path, backbone, faults)


def _numbers(found: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in found.values())


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and checks the file; returns the exit code."""
    parser = argparse.ArgumentParser(prog='python -m cairn_trainer.check_import', description='Checks an imported file of tensors.')
    parser.add_argument('holds', choices=('backbone', 'model', 'matcher'))
    parser.add_argument('--file', type=Path, required=True)
    parser.add_argument('--backbone')
    parser.add_argument('--extent', choices=('all', 'upstream'), default='all')
    options = parser.parse_args(arguments)
    if options.holds == 'matcher':
        return answer_with(lambda: check_matcher(options.file))
    if options.backbone is None:
        parser.error('--backbone is required')
    if options.holds == 'model':
        return answer_with(lambda: check_model(options.file, options.backbone))
    return answer_with(lambda: check_backbone(options.file, options.backbone, options.extent))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
