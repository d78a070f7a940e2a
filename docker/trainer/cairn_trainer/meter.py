"""Means over the optimizer steps between two metric points."""

from __future__ import annotations

from typing import NamedTuple


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
