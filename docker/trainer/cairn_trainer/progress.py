"""Reports the progress of a stage: events for programs, lines on stdout and TensorBoard files for people. Only rank 0 reports."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from cairn_trainer.checkpoint import WrittenFile
from cairn_trainer.config import TrainSettings
from cairn_trainer.errors import from_os_error
from cairn_trainer.evaluate import Score
from cairn_trainer.events import EventLog
from cairn_trainer.lists import ImageList
from cairn_trainer.ranks import Ranks
from cairn_trainer.samplers import Sampler


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


class Means(NamedTuple):
    """Per step and image, over all ranks; accuracy and data_wait_share in 0..1."""

    loss: float
    accuracy: float
    images_per_second: float
    data_wait_share: float
    seconds_per_step: float


class IntervalMeans:
    """Accumulates steps until they are read. Time outside of steps (checkpoints, evaluations) does not count."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._steps = self._images = 0
        self._loss = self._correct = self._waited = self._seconds = 0.0

    def add(self, loss: float, correct: float, images: int, waited: float, seconds: float) -> None:
        """Adds one step: its mean loss, its images and correct predictions over all ranks, and its seconds."""
        self._steps += 1
        self._images += images
        self._loss += loss
        self._correct += correct
        self._waited += waited
        self._seconds += seconds

    def take(self) -> Means:
        """The means of the steps added since the last call, at least one."""
        seconds = max(self._seconds, 1e-9)
        means = Means(
            loss=self._loss / self._steps,
            accuracy=self._correct / self._images,
            images_per_second=self._images / seconds,
            data_wait_share=min(self._waited / seconds, 1.0),
            seconds_per_step=self._seconds / self._steps,
        )
        self._clear()
        return means


class TensorBoardLog:
    """One event file in a folder, flushed after each call. Raises the errors of EventLog."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step` is the step that the stage continues from: TensorBoard drops later steps of earlier files.

        Raises:
            TrainerError: `storage_full`.
        """
        self._path = folder / f'events.out.tfevents.{int(time.time())}.{os.getpid()}'
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(self._path))
        except OSError as error:
            raise from_os_error(error, f'opening {self._path}') from error
        self._write(Event(file_version='brain.Event:2'))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, **values: float) -> None:
        """Adds one point per curve."""
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            raise from_os_error(error, f'writing {self._path}') from error


def describe_step(settings: TrainSettings, sampler: Sampler) -> str:
    """The composition of an optimizer step, and what changes with the number of ranks: the first line of a stage's log."""
    batches = f' x {settings.batches_per_step} batches' if settings.batches_per_step > 1 else ''
    made_of = f'{settings.images_per_step} images per optimizer step: {settings.ranks} ranks x {settings.batch} images{batches}'
    if settings.effective_batch is None:
        kept = 'With another number of ranks the step size changes but not the learning rate: set effectiveBatch to keep the size'
    else:
        kept = 'With another number of ranks the step size and the learning rate stay the same (effectiveBatch)'
    return f'{made_of}. {kept}; batch norms see the {settings.batch} images of one rank at a time; {sampler.dependence}.'


def describe_reading(settings: TrainSettings, images: ImageList) -> list[str]:
    """How images in tars are read, where that is not as they come."""
    size = settings.shuffle_buffer
    if size is not None and not images.is_in_tars:
        return ['The images are in no tars: shuffleBuffer has no effect']
    if size is not None:
        return [f'Runs of tars in random order, their images shuffled within {size} images (shuffleBuffer)']
    if images.is_served and images.is_in_tars:
        return [
            'Images that the cache of the node lacks are requested one by one, in random order: with shuffleBuffer they are read in ranges'
        ]
    return []
