"""The mean of the gradients over the ranks, in buckets that never change.

DistributedDataParallel rebuilds its buckets after the first backward pass, so that a resumed run sums in another order than the run it
continues, and its constructor imports torch._dynamo (two seconds in every rank). Here the buckets follow from the parameters alone: the
same sums in the same order in every process and after every resume. As there, a bucket's reduction starts while the backward pass goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist

from cairn_trainer.ranks import meeting

_BUCKET_BYTES = 16 * 1024 * 1024


class GradientMean:
    """Owns the gradients of some parameters, which must not be moved or cast afterwards.

    A step is `zero`, then for each of its batches `begin` and a backward pass, then `finish`. Only the last backward pass reduces. Until
    then a gradient is the tensor that the backward pass made: none is written over with zeros and added to, and a lone rank copies none.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], world: int, bucket_bytes: int = _BUCKET_BYTES) -> None:
        """Every parameter must get a gradient in every backward pass."""
        self._world = world
        self._is_last = True
        # Backward reaches the last layers first, so their bucket is full first.
        self._parameters = [p for p in reversed(parameters) if p.requires_grad]
        self._buckets: list[Tensor] = []
        self._sizes: list[int] = []
        self._works: list[dist.Work] = []
        if world > 1:
            for members in _split(self._parameters, bucket_bytes):
                self._add_bucket(members)
        self._missing = list(self._sizes)

    def _add_bucket(self, members: list[nn.Parameter]) -> None:
        flat = torch.zeros(sum(p.numel() for p in members), dtype=members[0].dtype, device=members[0].device)
        number, offset = len(self._buckets), 0
        for parameter in members:
            # In the parameter's own order of memory (channels last, perhaps): copying to it would be slow in another.
            place = flat[offset : offset + parameter.numel()].as_strided(parameter.size(), parameter.stride(), offset)
            offset += parameter.numel()
            parameter.register_post_accumulate_grad_hook(lambda p, number=number, place=place: self._on_gradient(p, number, place))
        self._buckets.append(flat)
        self._sizes.append(len(members))

    def _on_gradient(self, parameter: Tensor, number: int, place: Tensor) -> None:
        if not self._is_last:
            return
        assert parameter.grad is not None
        place.copy_(parameter.grad)
        parameter.grad = place
        self._missing[number] -= 1
        # In the buckets' order on every rank, whichever is full first: reductions are matched by their order.
        while len(self._works) < len(self._buckets) and self._missing[len(self._works)] == 0:
            with meeting():
                work = dist.all_reduce(self._buckets[len(self._works)], async_op=True)
            assert work is not None
            self._works.append(work)

    def zero(self) -> None:
        """Before a step."""
        for parameter in self._parameters:
            parameter.grad = None

    def begin(self, *, is_last: bool = True) -> None:
        """Before a backward pass; `is_last` when it is the step's last one."""
        self._is_last = is_last
        self._missing = list(self._sizes)
        self._works = []

    def finish(self, scale: float = 1.0) -> bool:
        """After the last backward pass: waits for the sums and divides them by the ranks and by `scale`, the factor on the loss.

        False when a gradient is not finite, then on every rank.
        """
        missing = sum(p.grad is None for p in self._parameters) or sum(self._missing)
        if missing:
            raise RuntimeError(f'{missing} parameters got no gradient.')
        with meeting():
            for work in self._works:
                work.wait()
        # What was reduced is the same on every rank now, so every rank comes to the same answer without asking.
        sums = self._buckets or [p.grad for p in self._parameters if p.grad is not None]
        if self._world * scale != 1:
            torch._foreach_div_(sums, self._world * scale)
        return bool(torch.stack([gradients.sum() for gradients in sums]).isfinite().all())


def _split(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    """The parameters in their order, cut where a bucket would grow over its size; a larger parameter has its own."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for parameter in parameters:
        size = parameter.numel() * parameter.element_size()
        if not buckets or size > room:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(parameter)
        room -= size
    return buckets
