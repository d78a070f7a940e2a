"""ArcFace (arXiv 1801.07698), computed in fp32 and stable for a cosine of 1."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name that PyTorch's own documentation uses
from torch import Tensor, nn

# The derivative of sqrt(1 - cos^2) is infinite at cos = 1. With this bound it is at most 708.
_COSINE_BOUND = 1 - 1e-6


class Classified(NamedTuple):
    """The loss of a batch (a scalar) and the number of its images classified correctly without the margin (a scalar)."""

    loss: Tensor
    correct: Tensor


class ArcFace(nn.Module):
    """A classifier that adds a margin to the angle of the target: `scale * cos(theta + margin)`.

    For angles above pi - margin, cos(theta + margin) would rise again; there the target is `cos - margin * sin(margin)`.
    """

    def __init__(self, dimensions: int, classes: int, margin: float, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dimensions))
        self.margin = margin
        self.scale = scale

    def reset_parameters(self, generator: torch.Generator) -> None:
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Classified:
        """Embeddings [N, D] of any length, labels [N] in 0..classes-1."""
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = F.linear(F.normalize(embeddings.float()), F.normalize(self.weight.float()))
            logits = self.logits(cosine, labels)
            correct = (cosine.detach().argmax(1) == labels).sum()
            return Classified(F.cross_entropy(logits, labels), correct)

    def logits(self, cosine: Tensor, labels: Tensor) -> Tensor:
        """Cosines [N, classes] to logits of the same shape: scaled, the target's with the margin."""
        cosine = cosine.clamp(-_COSINE_BOUND, _COSINE_BOUND)
        target = cosine.gather(1, labels[:, None])
        sine = (1 - target * target).sqrt()
        widened = target * math.cos(self.margin) - sine * math.sin(self.margin)
        past_turn = target - self.margin * math.sin(self.margin)
        with_margin = torch.where(target > math.cos(math.pi - self.margin), widened, past_turn)
        return self.scale * cosine.scatter(1, labels[:, None], with_margin)
