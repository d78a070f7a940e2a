"""Tells the course of a stage: events for programs, a line each on stdout and TensorBoard's files for people. Rank 0 alone speaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from cairn_trainer.checkpoint import WrittenFile
from cairn_trainer.evaluate import Score
from cairn_trainer.events import EventLog
from cairn_trainer.meter import IntervalMeans
from cairn_trainer.ranks import Ranks
from cairn_trainer.tensorboard_log import TensorBoardLog


class Progress:
    """What a stage tells, and the means over the steps since it last told any."""

    def __init__(self, events: EventLog, ranks: Ranks, *, folder: Path, steps_per_epoch: int, total_steps: int) -> None:
        """`folder` is where TensorBoard's files go."""
        self._events = events
        self._folder = folder
        self._board: TensorBoardLog | None = None
        self._ranks = ranks
        self._steps_per_epoch = steps_per_epoch
        self._total_steps = total_steps
        self._means = IntervalMeans()

    def tell_start(self, *, step: int, images: int, parameters: int, notes: Sequence[str], warnings: Sequence[str]) -> None:
        """`step` is the one the stage goes on from, `images` those that have a label."""
        if not self._ranks.is_first:
            return
        self._board = TensorBoardLog(self._folder, step)
        for note in notes:
            print(note, flush=True)
        for warning in warnings:
            print(f'warning: {warning}', flush=True)
        self._events.emit(
            'started',
            world_size=self._ranks.world,
            device=self._ranks.device_name,
            parameters=parameters,
            images=images,
            steps_per_epoch=self._steps_per_epoch,
            total_steps=self._total_steps,
            start_step=step,
        )

    def add_step(self, *, loss: float, correct: float, images: int, waited: float, seconds: float) -> None:
        """One step: the mean loss, images and right answers over all ranks, the mean wait for images, and its seconds."""
        self._means.add(loss, correct, images, waited, seconds)

    def tell_steps(self, step: int, learning_rate: float) -> None:
        """The means over the steps added since the last call; there must be one."""
        means = self._means.take()
        if not self._ranks.is_first:
            return
        device = self._ranks.device
        epoch = self._epoch(step)
        curves = {
            'loss': means.loss,
            'accuracy': means.accuracy,
            'learning_rate': learning_rate,
            'images_per_second': means.images_per_second,
            'data_wait_share': means.data_wait_share,
            'gpu_memory_bytes': torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else 0,
        }
        self._events.emit('step', step=step, epoch=epoch, **curves, eta_seconds=(self._total_steps - step) * means.seconds_per_step)
        self._draw(step, **curves)
        print(
            f'step {step}/{self._total_steps} epoch {epoch:.2f} loss {means.loss:.4f} accuracy {means.accuracy:.3f} '
            f'lr {learning_rate:.6f} {means.images_per_second:.1f} images/s',
            flush=True,
        )

    def tell_checkpoint(self, written: WrittenFile, *, step: int, is_final: bool) -> None:
        """By rank 0, which wrote it."""
        self._events.emit(
            'checkpoint',
            path=str(written.path),
            sha256=written.sha256,
            bytes=written.bytes,
            step=step,
            epoch=self._epoch(step),
            final=is_final,
            optimizer=True,
        )

    def tell_evaluation(self, when: Literal['start', 'epoch', 'end'], score: Score, *, step: int) -> None:
        if not self._ranks.is_first:
            return
        self._draw(step, map_at_100=score.map_at_100)
        gallery = {'index': score.index, 'gallery_digest': score.gallery_digest}
        self._events.emit('evaluation', when=when, step=step, map_at100=score.map_at_100, queries=score.queries, **gallery)
        print(
            f'mAP@100 at the {when} (step {step}): {score.map_at_100:.4f} over {score.queries} queries, {score.index} index images '
            f'(gallery {score.gallery_digest[:12]})',
            flush=True,
        )

    def tell_preempted(self, step: int) -> None:
        if self._ranks.is_first:
            self._events.emit('preempted', step=step)

    def tell_finished(self, step: int, bad_images: int) -> None:
        if self._ranks.is_first:
            self._events.emit('finished', step=step, bad_images=bad_images)

    def _draw(self, step: int, **values: float) -> None:
        assert self._board is not None  # tell_start comes first
        self._board.add(step, **values)

    def _epoch(self, step: int) -> float:
        return step / self._steps_per_epoch
