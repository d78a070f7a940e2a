"""What a step of a stage is made of, in words."""

from __future__ import annotations

from cairn_trainer.config import TrainSettings
from cairn_trainer.samplers import Sampler


def describe_step(settings: TrainSettings, sampler: Sampler) -> str:
    """What a step is made of, and what of it changes with the number of ranks: the first line that a stage says."""
    batches = f' x {settings.batches_per_step} batches' if settings.batches_per_step > 1 else ''
    made_of = f'{settings.images_per_step} images a step: {settings.ranks} ranks x {settings.batch} images{batches}'
    if settings.effective_batch is None:
        kept = 'With other ranks the step changes and the learning rate does not: set effectiveBatch to keep it'
    else:
        kept = 'With other ranks the step and its learning rate stay (effectiveBatch)'
    return f'{made_of}. {kept}; batch norms see the {settings.batch} images of one rank at a time; {sampler.dependence}.'
