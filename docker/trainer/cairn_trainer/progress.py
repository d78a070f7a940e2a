"""Reports the progress of a stage: events for programs, lines on stdout and TensorBoard files for people. Only rank 0 reports."""

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
    """The reports of a stage, and the means over the optimizer steps since the last one."""

    def __init__(self, events: EventLog, ranks: Ranks, *, folder: Path, steps_per_epoch: int, total_steps: int) -> None:
        """`folder` is for TensorBoard's files."""
        self._events = events
        self._folder = folder
        self._board: TensorBoardLog | None = None
        self._ranks = ranks
        self._steps_per_epoch = steps_per_epoch
        self._total_steps = total_steps
        self._means = IntervalMeans()

    def report_start(self, *, step: int, images: int, parameters: int, notes: Sequence[str], warnings: Sequence[str]) -> None:
        """`step` is the step that the stage continues from, `images` the number of images with a label."""
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
        """Adds one step: the mean loss, images and correct predictions over all ranks, the mean wait for images, and its seconds."""
        self._means.add(loss, correct, images, waited, seconds)

    def report_steps(self, step: int, learning_rate: float) -> None:
        """Reports the means over the steps added since the last call, at least one."""
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

    def report_checkpoint(self, written: WrittenFile, *, step: int, is_final: bool) -> None:
        """Called by rank 0, which wrote it."""
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

    def report_evaluation(self, when: Literal['start', 'epoch', 'end'], score: Score, *, step: int) -> None:
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

    def report_preempted(self, step: int) -> None:
        if self._ranks.is_first:
            self._events.emit('preempted', step=step)

    def report_finished(self, step: int, bad_images: int) -> None:
        if self._ranks.is_first:
            self._events.emit('finished', step=step, bad_images=bad_images)

    def _draw(self, step: int, **values: float) -> None:
        assert self._board is not None  # report_start comes first
        self._board.add(step, **values)

    def _epoch(self, step: int) -> float:
        return step / self._steps_per_epoch
