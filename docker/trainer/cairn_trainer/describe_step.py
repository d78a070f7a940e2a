"""A description of a stage's optimizer step."""

from __future__ import annotations

from cairn_trainer.config import TrainSettings
from cairn_trainer.samplers import Sampler


def describe_step(settings: TrainSettings, sampler: Sampler) -> str:
    """The composition of an optimizer step, and what changes with the number of ranks: the first line of a stage's log."""
    batches = f' x {settings.batches_per_step} batches' if settings.batches_per_step > 1 else ''
    made_of = f'{settings.images_per_step} images per optimizer step: {settings.ranks} ranks x {settings.batch} images{batches}'
    if settings.effective_batch is None:
        kept = 'With another number of ranks the step size changes but not the learning rate: set effectiveBatch to keep the size'
    else:
        kept = 'With another number of ranks the step size and the learning rate stay the same (effectiveBatch)'
    return f'{made_of}. {kept}; batch norms see the {settings.batch} images of one rank at a time; {sampler.dependence}.'
