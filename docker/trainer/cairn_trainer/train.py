"""One training stage: the loop, checkpoints, stopping and the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cairn_trainer.bad_images import BadImageLedger
from cairn_trainer.checkpoint import CheckpointSchedule, checkpoint_name, write_torch_file
from cairn_trainer.config import StoredFile, TrainerConfig, settings_of_result
from cairn_trainer.data import BadImage, Batch, DecodedImages, TrainImages, train_batches
from cairn_trainer.errors import EXIT_OK, EXIT_PREEMPTED, TrainerError, from_os_error
from cairn_trainer.evaluate import EvaluationSet, Evaluator, StoppedError
from cairn_trainer.events import EventLog
from cairn_trainer.foreign_file import read_stored_tensors
from cairn_trainer.forward import Forward
from cairn_trainer.lifetime import is_asked_to_stop
from cairn_trainer.lists import ImageList
from cairn_trainer.model import EmbeddingNet, load_weights
from cairn_trainer.optim import CosineSchedule, LossScale, Sgd
from cairn_trainer.progress import Progress, describe_reading, describe_step
from cairn_trainer.published_weights import load_published
from cairn_trainer.ranks import Ranks
from cairn_trainer.read_ahead import read_ahead_of
from cairn_trainer.samplers import BatchPositions, make_sampler
from cairn_trainer.snapshot import Snapshots
from cairn_trainer.step_tally import RankReport, StepTally
from cairn_trainer.transforms import Augmenter


@dataclass(frozen=True)
class _Step:
    """An optimizer step that was queued on the device. `number` counts from 1; rows, unreadable images and loss are this rank's own."""

    number: int
    learning_rate: float
    rows: list[int]
    bad: list[BadImage]
    loss: Tensor
    tally: StepTally
    seconds: float


class Stage:
    """A stage in one rank. All ranks call every method in the same step."""

    def __init__(self, config: TrainerConfig, ranks: Ranks, events: EventLog) -> None:
        """Reads the lists and the weights and prepares the first step.

        Raises:
            TrainerError: a file is missing, corrupt or does not fit.
        """
        settings = config.settings
        self._config = config
        self._settings = settings
        self._ranks = ranks
        self._output = Path(config.output_dir)
        self._images = ImageList(Path(config.list.path), Path(config.image_root), is_labelled=True)
        self._images.check(config.list.rows, config.classes)
        self._sampler = make_sampler(settings, self._images, rank=ranks.rank, world=ranks.world)
        self._steps_per_epoch = self._sampler.steps_per_epoch
        self._total_steps = (settings.last_epoch or settings.epochs) * self._steps_per_epoch
        self._notes = [describe_step(settings, self._sampler), *describe_reading(settings, self._images)]
        self._evaluator = self._make_evaluator()
        self._schedule = CosineSchedule(settings.learning_rate, settings.epochs, settings.warmup_epochs)
        self._checkpoints = CheckpointSchedule(
            every_epochs=settings.checkpoint_every_epochs,
            every_steps=settings.checkpoint_every_steps,
            every_minutes=settings.checkpoint_every_minutes,
            steps_per_epoch=self._steps_per_epoch,
        )
        self._ledger = BadImageLedger(self._images, settings.max_bad_image_share, ranks, events)
        board = Path(config.events_path).parent / 'tensorboard'
        self._progress = Progress(events, ranks, folder=board, steps_per_epoch=self._steps_per_epoch, total_steps=self._total_steps)
        self._step = 0
        self._saved_step = -1
        self._last_rows: list[int] = []
        self._under_way: _Step | None = None
        self._stops = self._is_time_over = False

        torch.manual_seed((settings.seed * 1_000_003 + ranks.rank) % 2**63)
        self._net = EmbeddingNet(config.model, config.classes, settings.margin, settings.scale)
        if config.resume is None:
            self._load_start()
        self._net.to(ranks.device).train()
        self._forward = Forward(self._net, settings, ranks)
        self._forward.rehearse()
        self._scale = LossScale(ranks.device, is_needed=settings.precision == 'fp16')
        self._optimizer = Sgd(
            self._net.named_parameters(),
            self._schedule,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            bias_factor=settings.bias_lr_factor,
        )
        self._snapshots = Snapshots(self._identity(), net=self._net, optimizer=self._optimizer, scale=self._scale, ledger=self._ledger)
        if config.resume is not None:
            self._resume(config.resume)

    def run(self) -> int:
        """Trains to the end or until asked to stop; returns the exit code.

        Raises:
            TrainerError: the stage failed.
        """
        self._progress.report_start(
            step=self._step,
            images=int((self._images.labels >= 0).sum()),
            parameters=sum(parameter.numel() for parameter in self._net.parameters()),
            notes=self._notes,
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
                is_epoch_over = self._step % self._steps_per_epoch == 0 and self._step < self._total_steps
                if is_epoch_over and self._settings.evaluate == 'every_epoch':
                    self._settle()
                    self._evaluate('epoch')
            self._settle()
            self._ledger.judge()
            self._save(is_final=True)
            if self._settings.evaluate != 'none':
                self._evaluate('end')
        except StoppedError:
            return self._end_preempted()
        self._progress.report_finished(self._step, self._ledger.count)
        # No rank may end successfully before rank 0 has written the last checkpoint.
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
            batch=settings.batch,
            batches_per_step=settings.batches_per_step,
            steps_per_epoch=self._steps_per_epoch,
            first_step=self._step,
            last_step=self._total_steps,
        )
        pin = self._ranks.device.type == 'cuda'
        ahead = read_ahead_of(self._images, settings, self._sampler, self._ranks.world)
        pin = self._ranks.device.type == 'cuda'
        return train_batches(dataset, positions, workers=settings.loader_workers, pin=pin, ahead=ahead)

    def _train_step(self, batches: Iterator[Batch]) -> None:
        """Queues one optimizer step on the device and settles the previous one; then saves a checkpoint or stops if due."""
        began = time.monotonic()
        passed = self._step / self._steps_per_epoch
        rows, bad, waited, is_empty = list[int](), list[BadImage](), 0.0, False
        loss = correct = torch.zeros((), device=self._ranks.device)
        self._optimizer.zero_grad()
        parts = self._settings.batches_per_step
        for part in range(1, parts + 1):
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            self._ledger.record_tried(batch.rows, batch.bad)
            rows += batch.rows.tolist()
            bad += batch.bad
            is_empty |= len(batch.rows) == 0
            with self._forward.part(is_last=part == parts):
                outcome = self._forward(batch)
                loss, correct = loss + outcome.loss.detach(), correct + outcome.correct
                if part == parts:
                    # Before the backward pass, so that the sum runs in parallel with it.
                    tally = StepTally(self._ranks, self._rank_report(is_empty=is_empty, bad=len(bad), waited=waited), loss, correct)
                self._scale.scaled(outcome.loss / parts).backward()
        tally.finish(self._optimizer.step(passed, self._scale))
        self._step += 1
        step = _Step(self._step, self._schedule.at(passed), rows, bad, loss / parts, tally, seconds=time.monotonic() - began)
        # The device works on this step while the host reads the results of the previous one.
        self._settle()
        self._under_way = step

        if self._step < self._total_steps:
            if self._is_time_over or self._checkpoints.is_due_after(self._step):
                self._save(is_final=False)
            if self._stops:
                raise StoppedError

    def _rank_report(self, *, is_empty: bool, bad: int, waited: float) -> RankReport:
        is_time_over = self._ranks.is_first and self._checkpoints.is_time_over()
        return RankReport(float(self._is_asked_to_stop()), float(is_time_over), float(is_empty), float(bad), waited)

    def _settle(self) -> None:
        """Waits for the step in progress, if any, and evaluates it, with the same result on every rank.

        Raises:
            TrainerError: `training_diverged` if it was not finite, and so was skipped; `too_many_bad_images`.
        """
        step, self._under_way = self._under_way, None
        if step is None:
            return
        self._last_rows = step.rows
        began = time.monotonic()
        sums = step.tally.read()
        seconds = step.seconds + time.monotonic() - began
        if sums.report.bad:
            self._ledger.share(step.bad)
        if sums.report.empty:
            raise self._ledger.give_up()
        many = self._ranks.world * self._settings.batches_per_step
        if not math.isfinite(sums.loss):
            raise self._diverged('The loss', step.number - 1, step.loss.item())
        if sums.scale < LossScale.MIN:
            raise self._diverged('A gradient', step.number - 1, step.loss.item())
        images, waited = self._settings.images_per_step, sums.report.waited / self._ranks.world
        self._progress.add_step(loss=sums.loss / many, correct=sums.correct, images=images, waited=waited, seconds=seconds)
        if step.number % self._settings.log_every_steps == 0 or step.number == self._total_steps:
            self._progress.report_steps(step.number, step.learning_rate)
        if step.number % self._settings.log_every_steps == 0 or step.number % self._steps_per_epoch == 0:
            self._ledger.judge()
        self._stops |= sums.report.stops > 0
        self._is_time_over |= sums.report.is_time_over > 0

    def _diverged(self, what: str, steps: int, loss: float | None = None) -> TrainerError:
        """Saves the ids of the ranks' images in the last settled step, and returns the error; `steps` is the number of successful steps."""
        ids = [self._images.image_id(row) for row in self._last_rows]
        by_rank = self._ranks.gather({'rank': self._ranks.rank, 'loss': repr(loss), 'imageIds': ids})
        path = self._output / 'diverged.json'
        report = {'what': what, 'step': steps, 'epoch': steps / self._steps_per_epoch, 'ranks': by_rank}
        if self._ranks.is_first:
            try:
                path.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
            except OSError as error:
                raise from_os_error(error, f'writing {path}') from error
        where = f'{what} is not finite after {steps} steps; the images of the last batch are in {path}.'
        return TrainerError('training_diverged', f'{where} Lower the learning rate or the scale.', is_agreed=True)

    def _save(self, *, is_final: bool) -> None:
        """Rank 0 writes one file with every rank's own state.

        Raises:
            TrainerError: `training_diverged` if a weight or a running mean is not finite: such a checkpoint must not be used.
        """
        self._settle()
        if self._ranks.any(not all(bool(value.isfinite().all()) for value in self._net.state_dict().values())):
            raise self._diverged('A weight or running mean', self._step)
        content = self._snapshots.take(self._ranks, step=self._step, steps_per_epoch=self._steps_per_epoch)
        if self._ranks.is_first:
            written = write_torch_file(self._output / checkpoint_name(self._step), content)
            self._progress.report_checkpoint(written, step=self._step, is_final=is_final)
        self._checkpoints.record_written()
        self._is_time_over = False
        self._saved_step = self._step

    def _load_start(self) -> None:
        """Loads the initial weights of the stage if they are not those of `initSeed`."""
        start, weights = self._config.start, self._config.weights
        if start is not None:
            load_weights(self._net, read_stored_tensors(start), f'The checkpoint {start.path}', may_grow=True)
        elif weights is not None:
            source = f'The file {weights.path}'
            loaded = load_published(self._net.base, read_stored_tensors(weights), source, self._settings.weights_extent)
            left = [key for key in loaded.untouched if not key.endswith('num_batches_tracked')]
            without = f', {len(left)} keep their initialisation ({left[0]} ...)' if left else ''
            self._notes.append(f'{source} sets {loaded.tensors} tensors of the backbone{without}.')

    def _resume(self, stored: StoredFile) -> None:
        self._step, before = self._snapshots.restore(stored, self._ranks)
        self._saved_step = self._step
        if before != self._ranks.world:
            self._notes.append(f'Continues with {self._ranks.world} ranks after {before} ranks; {self._sampler.dependence}.')

    def _identity(self) -> dict[str, Any]:
        """What must match for a checkpoint to belong to this stage."""
        counts = {'rows': self._images.rows, 'classes': self._config.classes, 'stepsPerEpoch': self._steps_per_epoch}
        settings = settings_of_result(self._settings, self._config.model)
        return {'stage': self._config.stage, **counts, **settings}

    def _end_preempted(self) -> int:
        if self._saved_step != self._step:
            self._save(is_final=False)
        self._progress.report_preempted(self._step)
        # torchrun ends the other ranks when the first one exits, so none may exit before rank 0 has reported.
        self._ranks.barrier()
        return EXIT_PREEMPTED

    def _evaluate(self, when: Literal['start', 'epoch', 'end']) -> None:
        assert self._evaluator is not None
        score = self._evaluator.score(self._net, self._is_asked_to_stop)
        self._progress.report_evaluation(when, score, step=self._step)

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

    def _is_asked_to_stop(self) -> bool:
        return is_asked_to_stop(Path(self._config.stop_path))
