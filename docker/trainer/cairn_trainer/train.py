"""One training stage: the loop, its checkpoints, its stops and its ends."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from cairn_trainer.bad_images import BadImageLedger
from cairn_trainer.checkpoint import (
    CheckpointSchedule,
    check_same_stage,
    checkpoint_name,
    read_verified,
    stage_checkpoint,
    weights_of,
    write_torch_file,
)
from cairn_trainer.config import StoredFile, TrainerConfig, settings_of_result
from cairn_trainer.data import Batch, DecodedImages, TrainImages, erase, train_batches
from cairn_trainer.errors import EXIT_OK, EXIT_PREEMPTED, TrainerError, of_os_error
from cairn_trainer.evaluate import EvaluationSet, Evaluator, StoppedError
from cairn_trainer.events import EventLog
from cairn_trainer.gradients import GradientMean
from cairn_trainer.lifetime import is_asked_to_stop
from cairn_trainer.lists import ImageList
from cairn_trainer.model import EmbeddingNet, load_weights, normalise
from cairn_trainer.optim import CosineSchedule, Sgd
from cairn_trainer.progress import Progress
from cairn_trainer.ranks import Ranks
from cairn_trainer.samplers import BatchPositions, make_sampler
from cairn_trainer.transforms import Augmenter


class Stage:
    """A stage in one rank. Every method is called by all ranks at the same step."""

    def __init__(self, config: TrainerConfig, ranks: Ranks, events: EventLog) -> None:
        """Reads the lists and the weights, up to the point where the first step can be taken.

        Raises:
            TrainerError: a file is missing, corrupt or does not fit.
        """
        settings = config.settings
        self._config = config
        self._settings = settings
        self._ranks = ranks
        self._output = Path(config.output_dir)
        self._images = ImageList(Path(config.list.path), Path(config.image_root), is_labelled=True)
        self._check_list()
        self._sampler = make_sampler(
            settings.sampler, self._images, batch=settings.batch, seed=settings.seed, rank=ranks.rank, world=ranks.world
        )
        self._steps_per_epoch = self._sampler.steps_per_epoch
        self._total_steps = settings.epochs * self._steps_per_epoch
        self._evaluator = self._make_evaluator()
        self._schedule = CosineSchedule(settings.learning_rate, settings.epochs, settings.warmup_epochs)
        self._checkpoints = CheckpointSchedule(
            every_epochs=settings.checkpoint_every_epochs,
            every_steps=settings.checkpoint_every_steps,
            every_minutes=settings.checkpoint_every_minutes,
            steps_per_epoch=self._steps_per_epoch,
        )
        self._ledger = BadImageLedger(self._images, settings.max_bad_image_share, ranks, events)
        self._progress = Progress(events, ranks, steps_per_epoch=self._steps_per_epoch, total_steps=self._total_steps)
        self._step = 0
        self._saved_step = -1
        self._last_rows: list[int] = []

        torch.manual_seed((settings.seed * 1_000_003 + ranks.rank) % 2**63)
        self._net = EmbeddingNet(config.model, config.classes, settings.margin, settings.scale)
        if config.resume is None and config.start is not None:
            weights = weights_of(read_verified(config.start))
            load_weights(self._net, weights, f'The checkpoint {config.start.path}', may_grow=True)
        self._net.to(ranks.device).train()
        self._gradients = GradientMean(list(self._net.parameters()), ranks.world)
        self._optimizer = Sgd(self._net.named_parameters(), settings.momentum, settings.weight_decay, settings.bias_lr_factor)
        if config.resume is not None:
            self._resume(config.resume)

    def run(self) -> int:
        """Trains to the end or until asked to stop; the exit code.

        Raises:
            TrainerError: the stage cannot end well.
        """
        self._progress.tell_start(
            step=self._step,
            images=int((self._images.labels >= 0).sum()),
            parameters=sum(parameter.numel() for parameter in self._net.parameters()),
            warnings=self._sampler.warnings,
        )
        try:
            if self._ranks.any(self._is_asked_to_stop()):
                raise StoppedError
            if self._step == 0 and self._settings.evaluate == 'start_and_end':
                self._evaluate('start')
            batches = self._batches()
            while self._step < self._total_steps:
                self._train_step(batches)
            self._ledger.judge()
            self._save(is_final=True)
            if self._settings.evaluate != 'none':
                self._evaluate('end')
        except StoppedError:
            return self._end_preempted()
        self._progress.tell_finished(self._step, self._ledger.count)
        # No rank ends well before rank 0 has written the last checkpoint.
        self._ranks.barrier()
        return EXIT_OK

    def _batches(self) -> Iterator[Batch]:
        settings = self._settings
        dataset = TrainImages(
            self._images,
            self._sampler,
            DecodedImages(self._images, settings.image_size, settings.preprocessing, is_kept=True),
            Augmenter(settings.image_size, settings.pad, settings.flip, settings.erasing, settings.seed),
            rank=self._ranks.rank,
            world=self._ranks.world,
        )
        positions = BatchPositions(
            batch=settings.batch, steps_per_epoch=self._steps_per_epoch, first_step=self._step, last_step=self._total_steps
        )
        return train_batches(dataset, positions, workers=settings.loader_workers, pin=self._ranks.device.type == 'cuda')

    def _train_step(self, batches: Iterator[Batch]) -> None:
        """One optimizer step; afterwards what is due: a metric point, a checkpoint, the stop."""
        began = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - began
        self._ledger.note_tried(batch.rows, batch.bad)
        self._last_rows = batch.rows.tolist()
        loss, loss_value, correct = self._forward(batch)
        # All that the ranks must agree on in a step goes in one small message.
        stops, empty, not_finite, bad, is_time_over, loss_sum, correct_sum, waited_sum = self._ranks.sum(
            [
                self._is_asked_to_stop(),
                not self._last_rows,
                not math.isfinite(loss_value),
                len(batch.bad),
                self._ranks.is_first and self._checkpoints.is_time_over(),
                loss_value,
                correct,
                waited,
            ]
        )
        if bad:
            self._ledger.share(batch.bad)
        if empty:
            raise self._ledger.give_up()
        if not_finite:
            raise self._diverged('The loss', loss_value)
        learning_rate = self._schedule.at(self._step / self._steps_per_epoch)
        self._gradients.zero()
        loss.backward()
        if not self._gradients.finish():
            raise self._diverged('A gradient', loss_value)
        self._optimizer.step(learning_rate)
        self._step += 1

        world, images = self._ranks.world, self._settings.batch * self._ranks.world
        seconds = time.monotonic() - began
        self._progress.add_step(loss=loss_sum / world, correct=correct_sum, images=images, waited=waited_sum / world, seconds=seconds)
        if self._step % self._settings.log_every_steps == 0 or self._step == self._total_steps:
            self._progress.tell_steps(self._step, learning_rate)
        if self._step % self._settings.log_every_steps == 0 or self._step % self._steps_per_epoch == 0:
            self._ledger.judge()
        if self._step < self._total_steps:
            if stops:
                raise StoppedError
            if is_time_over or self._checkpoints.is_due_after(self._step):
                self._save(is_final=False)

    def _forward(self, batch: Batch) -> tuple[torch.Tensor, float, int]:
        """The loss as a tensor and as a number, and how many images are classified rightly without the margin."""
        if len(batch.rows) == 0:
            return torch.zeros(()), 0.0, 0
        device = self._ranks.device
        images = normalise(batch.pixels.to(device, non_blocking=True))
        erase(images, batch.erased)
        loss, correct = self._net(images, batch.labels.to(device, non_blocking=True))
        return loss, loss.item(), int(correct.item())

    def _diverged(self, what: str, loss: float | None = None) -> TrainerError:
        """Saves which images the ranks had last, and gives the error."""
        ids = [self._images.image_id(row) for row in self._last_rows]
        by_rank = self._ranks.gather({'rank': self._ranks.rank, 'loss': repr(loss), 'imageIds': ids})
        path = self._output / 'diverged.json'
        report = {'what': what, 'step': self._step, 'epoch': self._step / self._steps_per_epoch, 'ranks': by_rank}
        if self._ranks.is_first:
            try:
                path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
            except OSError as error:
                raise of_os_error(error, f'writing {path}') from error
        where = f'{what} is not finite after {self._step} steps; the images of the last batch are in {path}.'
        return TrainerError('training_diverged', f'{where} Lower the learning rate or the scale.', is_agreed=True)

    def _save(self, *, is_final: bool) -> None:
        """Rank 0 writes one file with every rank's own state: its random states, and the running means that its batches gave.

        Raises:
            TrainerError: `training_diverged` when a weight or a running mean is not finite: such a file would spoil what starts from it.
        """
        if self._ranks.any(not all(bool(value.isfinite().all()) for value in self._net.state_dict().values())):
            raise self._diverged('A weight or running mean')
        mine = {'random': self._random_states(), 'buffers': dict(self._net.named_buffers())}
        by_rank = self._ranks.gather(_on_cpu(mine))
        images = self._ledger.state_dict()
        if self._ranks.is_first:
            epoch, step_in_epoch = divmod(self._step, self._steps_per_epoch)
            content = stage_checkpoint(
                stage=self._identity(),
                step=self._step,
                sampler={'epoch': epoch, 'step': step_in_epoch},
                model=_on_cpu(self._net.state_dict()),
                optimizer=_on_cpu(self._optimizer.state_dict()),
                ranks=by_rank,
                images=images,
            )
            written = write_torch_file(self._output / checkpoint_name(self._step), content)
            self._progress.tell_checkpoint(written, step=self._step, is_final=is_final)
        self._checkpoints.note_written()
        self._saved_step = self._step

    def _resume(self, stored: StoredFile) -> None:
        source = f'The checkpoint {stored.path}'
        content = read_verified(stored)
        check_same_stage(content, self._identity(), source)
        load_weights(self._net, content['model'], source, may_grow=False)
        self._optimizer.load_state_dict(content['optimizer'], source)
        own = content['ranks'][self._ranks.rank]
        for name, buffer in self._net.named_buffers():
            buffer.copy_(own['buffers'][name])
        torch.set_rng_state(own['random']['cpu'].clone())
        if self._ranks.device.type == 'cuda' and 'cuda' in own['random']:
            torch.cuda.set_rng_state(own['random']['cuda'].clone(), self._ranks.device)
        self._ledger.load_state_dict(content['images'])
        self._step = content['step']
        self._saved_step = self._step

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be one of this stage."""
        counts = {'rows': self._images.rows, 'classes': self._config.classes, 'stepsPerEpoch': self._steps_per_epoch}
        settings = settings_of_result(self._settings, self._config.model)
        return {'stage': self._config.stage, 'world': self._ranks.world, **counts, **settings}

    def _random_states(self) -> dict[str, torch.Tensor]:
        states = {'cpu': torch.get_rng_state()}
        if self._ranks.device.type == 'cuda':
            states['cuda'] = torch.cuda.get_rng_state(self._ranks.device)
        return states

    def _end_preempted(self) -> int:
        if self._saved_step != self._step:
            self._save(is_final=False)
        self._progress.tell_preempted(self._step)
        # torchrun ends the other ranks when the first one exits, so none may before rank 0 has told.
        self._ranks.barrier()
        return EXIT_PREEMPTED

    def _evaluate(self, when: Literal['start', 'end']) -> None:
        assert self._evaluator is not None
        score = self._evaluator.score(self._net, self._is_asked_to_stop)
        self._progress.tell_evaluation(when, score, step=self._step)

    def _make_evaluator(self) -> Evaluator | None:
        if self._settings.evaluate == 'none' or self._config.evaluation is None:
            return None
        return Evaluator(
            EvaluationSet.read(self._config.evaluation, Path(self._config.image_root)),
            self._ranks,
            size=self._settings.image_size,
            preprocessing=self._settings.preprocessing,
            batch=self._settings.batch,
            workers=self._settings.loader_workers,
        )

    def _check_list(self) -> None:
        if self._images.rows != self._config.list.rows:
            message = f'{self._config.list.path} has {self._images.rows} rows, not {self._config.list.rows}. Fetch it again.'
            raise TrainerError('corrupt_artifact', message)
        largest = int(self._images.labels.max())
        if largest >= self._config.classes:
            message = f'{self._config.list.path} has the label {largest}, but the classifier has {self._config.classes} classes.'
            raise TrainerError('bad_row', message)

    def _is_asked_to_stop(self) -> bool:
        return is_asked_to_stop(Path(self._config.stop_path))


def _on_cpu(value: Any) -> Any:
    """Tensors in nested dictionaries, copied to the CPU where they are not there."""
    if isinstance(value, dict):
        return {name: _on_cpu(entry) for name, entry in value.items()}
    return value.cpu()
