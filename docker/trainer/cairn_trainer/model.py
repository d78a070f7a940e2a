"""The network: backbone, generalised-mean pooling, neck, classifier; its initialisation and loading of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that PyTorch's own documentation uses
from torch import Tensor, nn

from cairn_trainer.backbones import build_backbone
from cairn_trainer.config import ModelSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.loss import ArcFace, Classified

PIXEL_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
"""Mean of the red, green and blue channel over ImageNet, in pixel values."""
PIXEL_STD = 57.0
"""One standard deviation for all channels, in pixel values."""

_CLASSIFIER = 'classifier.weight'
_UNUSED = frozenset({'base.fc.weight', 'base.fc.bias'})
"""The classifier of ImageNet [1000, 2048], which the reference's networks with IBN, SE and split attention contain but never use."""


def pixel_mean(device: torch.device) -> Tensor:
    """PIXEL_MEAN as fp32 [3] on a device; the host waits for the copy."""
    return torch.tensor(PIXEL_MEAN, dtype=torch.float32, device=device)


def normalise(images: Tensor, memory_format: torch.memory_format = torch.contiguous_format, mean: Tensor | None = None) -> Tensor:
    """Pixels uint8 [N, H, W, 3], RGB, to the network's input: fp32 [N, 3, H, W]. `mean` is `pixel_mean` if the caller has it."""
    mean = pixel_mean(images.device) if mean is None else mean
    return ((images.float() - mean) / PIXEL_STD).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)


class GeM(nn.Module):
    """Generalised-mean pooling (arXiv 1711.02512): [N, C, H, W] to [N, C] as mean(x^p)^(1/p), in fp32, p frozen."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return x.float().clamp(min=1e-6).pow(self.power).mean((2, 3)).pow(1 / self.power)


def mean_over_scales(embed: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float] | None) -> Tensor:
    """Embeds normalised images [N, 3, S, S] at each scale and returns the mean [N, D], not of length 1; with None, at their own size.

    Each scale is interpolated from the given size to S x scale, rounded down to a multiple of 16 (the reference's MULTI_SCALE_FEAT, which
    adds the embeddings as the network returns them, and normalises only their mean).
    """
    if scales is None:
        return embed(images)
    size = int(images.shape[-1])
    sides = [int(size * scale // 16) * 16 for scale in scales]
    total = sum(embed(F.interpolate(images, size=(side, side), mode='bilinear', align_corners=False)) for side in sides)
    return total / len(sides)


class EmbeddingNet(nn.Module):
    """The network with its classifier. State keys: `base.*`, `fcneck.weight`, `fcneck_bn.*`, `classifier.weight`."""

    def __init__(self, settings: ModelSettings, classes: int, margin: float = 0.0, scale: float = 1.0) -> None:
        """Builds with the weights of `settings.init_seed`.

        Raises:
            TrainerError: `invalid_configuration` for an unknown backbone.
        """
        super().__init__()
        generator = torch.Generator().manual_seed(settings.init_seed)
        self.base, channels = build_backbone(settings.backbone, generator)
        self.pool = GeM(settings.gem_power)
        self.fcneck = nn.Linear(channels, settings.embedding_dim, bias=False)
        self.fcneck_bn = nn.BatchNorm1d(settings.embedding_dim)
        self.classifier = ArcFace(settings.embedding_dim, classes, margin, scale)
        self._init_head(generator)

    def _init_head(self, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(self.fcneck.weight, generator=generator)
        self.fcneck_bn.reset_running_stats()
        nn.init.ones_(self.fcneck_bn.weight)
        nn.init.zeros_(self.fcneck_bn.bias)
        self.fcneck_bn.bias.requires_grad = False
        # Last, so that the number of classes does not change the rest.
        self.classifier.reset_parameters(generator)

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] to embeddings [N, D], fp32, not of length 1."""
        return self.head(self.base(images))

    def head(self, maps: Tensor) -> Tensor:
        """Pools the backbone's maps [N, C, h, w], in any precision, into embeddings [N, D], fp32: pooling and neck."""
        pooled = self.pool(maps)
        with torch.autocast(maps.device.type, enabled=False):
            return self.fcneck_bn(self.fcneck(pooled))

    def features(self, images: Tensor, scales: Sequence[float] | None = None) -> Tensor:
        """Normalised images [N, 3, H, W] to features [N, D], fp32, of length 1; with scales, of the mean over these."""
        return F.normalize(mean_over_scales(self.embed, images, scales))

    def forward(self, images: Tensor, labels: Tensor) -> Classified:
        """The loss of normalised images [N, 3, H, W] with labels [N]."""
        return self.classifier(self.embed(images), labels)


def load_weights(net: nn.Module, found: Mapping[str, Tensor], source: str, *, may_grow: bool) -> None:
    """Copies a checkpoint's weights into the network.

    With `may_grow`, a classifier of fewer classes fills the first rows and the others keep their initialisation: valid because the ids
    of a smaller list are the first ids of a larger one. Everything else must match.

    Raises:
        TrainerError: `model_mismatch`, naming every key that is missing, unknown or of another shape.
    """
    wanted = net.state_dict()
    faults = mismatches(wanted, found, may_grow=(_CLASSIFIER,) if may_grow else ())
    if faults:
        raise TrainerError('model_mismatch', f'{source} does not fit the network: ' + '; '.join(faults) + '.')
    copy_weights(wanted, found)


def mismatches(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], may_grow: Sequence[str] = ()) -> list[str]:
    """Why `found` cannot be copied into `wanted`, one phrase per tensor; tensors in `may_grow` may have fewer rows.

    The unused ImageNet classifier in models of the reference is ignored.
    """
    faults = [f'{key} is missing' for key in wanted if key not in found]
    faults += [f'{key} is unknown' for key in found if key not in wanted and key not in _UNUSED]
    for key in wanted.keys() & found.keys():
        is_grown = key in may_grow and _is_first_rows(found[key].shape, wanted[key].shape)
        if found[key].shape != wanted[key].shape and not is_grown:
            faults.append(f'{key} has the shape {_shape(found[key])}, the network needs {_shape(wanted[key])}')
        elif wanted[key].is_floating_point() and not found[key].is_floating_point():
            faults.append(f'{key} has whole numbers ({found[key].dtype}), the network needs floating point')
    return sorted(faults)


@torch.no_grad()
def copy_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Copies tensors without mismatches; if `found` has fewer rows, the other rows of `wanted` are kept."""
    for key, target in wanted.items():
        value = found[key]
        (target[: value.shape[0]] if value.shape != target.shape else target).copy_(value)


def _is_first_rows(small: torch.Size, large: torch.Size) -> bool:
    return len(small) == len(large) == 2 and small[0] < large[0] and small[1] == large[1]


def _shape(tensor: Tensor) -> str:
    return 'x'.join(map(str, tensor.shape)) or 'scalar'
