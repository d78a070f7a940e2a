"""The resumable state of a stage: network, optimizer and every rank, saved and restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from cairn_trainer.bad_images import BadImageLedger
from cairn_trainer.checkpoint import check_same_stage, read_verified, stage_checkpoint
from cairn_trainer.config import StoredFile
from cairn_trainer.model import EmbeddingNet, load_weights
from cairn_trainer.optim import LossScale, Sgd
from cairn_trainer.ranks import Ranks


class Snapshots:
    """Takes and restores a stage's state. All ranks call every method in the same step."""

    def __init__(self, identity: Mapping[str, Any], *, net: EmbeddingNet, optimizer: Sgd, scale: LossScale, ledger: BadImageLedger) -> None:
        """`identity` must match for a snapshot to belong to this stage."""
        self._identity = dict(identity)
        self._net = net
        self._optimizer = optimizer
        self._scale = scale
        self._ledger = ledger

    def take(self, ranks: Ranks, *, step: int, steps_per_epoch: int) -> dict[str, Any]:
        """The checkpoint's content on rank 0 (None on the others), with the running means of rank 0 and every rank's random states."""
        by_rank = ranks.gather(_on_cpu({'random': _random_states(ranks)}))
        images = self._ledger.state_dict()
        if not ranks.is_first:
            return {}
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        return stage_checkpoint(
            stage=self._identity,
            step=step,
            sampler={'epoch': epoch, 'step': step_in_epoch},
            model=_on_cpu(self._net.state_dict()),
            optimizer=_on_cpu(self._optimizer.state_dict()),
            scale=self._scale.state_dict(),
            ranks=by_rank,
            images=images,
        )

    def restore(self, stored: StoredFile, ranks: Ranks) -> tuple[int, int]:
        """Restores a checkpoint; returns the step to continue from, and the number of ranks of the snapshot.

        With more ranks than before the new ones have their own random numbers.

        Raises:
            TrainerError: `missing_file`, `corrupt_artifact`; `model_mismatch` if it belongs to another stage, naming each difference.
        """
        source = f'The checkpoint {stored.path}'
        content = read_verified(stored)
        check_same_stage(content, self._identity, source)
        load_weights(self._net, content['model'], source, may_grow=False)
        self._optimizer.load_state_dict(content['optimizer'], source)
        self._scale.load_state_dict(content['scale'])
        self._ledger.load_state_dict(content['images'])
        before = len(content['ranks'])
        if ranks.rank < before:
            random = content['ranks'][ranks.rank]['random']
            torch.set_rng_state(random['cpu'].clone())
            if ranks.device.type == 'cuda' and 'cuda' in random:
                torch.cuda.set_rng_state(random['cuda'].clone(), ranks.device)
        return content['step'], before


def _random_states(ranks: Ranks) -> dict[str, torch.Tensor]:
    states = {'cpu': torch.get_rng_state()}
    if ranks.device.type == 'cuda':
        states['cuda'] = torch.cuda.get_rng_state(ranks.device)
    return states


def _on_cpu(value: Any) -> Any:
    """Copies tensors in nested dictionaries to the CPU if necessary."""
    if isinstance(value, dict):
        return {name: _on_cpu(entry) for name, entry in value.items()}
    return value.cpu()
