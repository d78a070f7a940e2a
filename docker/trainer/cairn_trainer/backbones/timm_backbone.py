"""Backbones of timm (PyTorch Image Models, Apache 2.0) with the same head: new architectures need no new code."""

from __future__ import annotations

import difflib
import warnings

import torch
from torch import Tensor, nn

from cairn_trainer.backbones import TIMM_PREFIX
from cairn_trainer.errors import TrainerError

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import timm

_SMALL_SIDE = 64


class TimmBackbone(nn.Module):
    """A network of timm without its head: images [N, 3, H, W] to a map [N, C, h, w], or [N, C, tokens, 1] of a transformer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._prefix_tokens: int = getattr(model, 'num_prefix_tokens', 0)
        self._is_nhwc = str(getattr(model, 'output_fmt', 'NCHW')).endswith('NHWC')

    def forward(self, x: Tensor) -> Tensor:
        found = self.model.forward_features(x)
        if found.ndim == 3:
            # The class token and registers are not part of the image.
            return found[:, self._prefix_tokens :].transpose(1, 2)[..., None]
        return found.permute(0, 3, 1, 2) if self._is_nhwc else found


def build_timm(name: str, generator: torch.Generator) -> tuple[nn.Module, int]:
    """Builds a network of timm with timm's random weights, seeded from the generator; also returns the number of channels of its last map.

    Raises:
        TrainerError: `invalid_configuration` if timm has no network of that name; the message has the closest names.
    """
    wanted = name.removeprefix(TIMM_PREFIX)
    # A name may have the tag of its pretrained weights, as in timm.
    known = timm.list_models() + (timm.list_pretrained() if '.' in wanted else [])
    if wanted not in known:
        nearest = ', '.join(TIMM_PREFIX + other for other in difflib.get_close_matches(wanted, known, n=3))
        hint = f' Closest names: {nearest}.' if nearest else ''
        raise TrainerError('invalid_configuration', f'model.backbone is {name!r}, but timm {timm.__version__} has no such network.{hint}')
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        backbone = TimmBackbone(_create(wanted))
    return backbone, _try_out(backbone)


def _create(name: str) -> nn.Module:
    # Never pretrained: that would download from a hub, and pods have no internet access.
    options = {'pretrained': False, 'num_classes': 0, 'global_pool': ''}
    try:
        # Without this option transformers accept only one image size.
        return timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:
        return timm.create_model(name, **options)


def _try_out(backbone: TimmBackbone) -> int:
    """Runs one black image through the network; returns the channels of its map. Freezes unused parameters, which get no gradient."""
    backbone.eval()
    try:
        feature_map = backbone(torch.zeros(1, 3, _SMALL_SIDE, _SMALL_SIDE))
    except (AssertionError, RuntimeError):
        # It accepts only its own image size, or other multiples.
        feature_map = backbone(torch.zeros(1, *backbone.model.default_cfg['input_size']))
    feature_map.sum().backward()
    for parameter in backbone.parameters():
        parameter.requires_grad = parameter.grad is not None
        parameter.grad = None
    backbone.train()
    return feature_map.shape[1]
