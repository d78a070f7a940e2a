"""Batches of images, read and decoded in this process or in loader processes, with identical results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cairn_trainer.lists import ImageList
from cairn_trainer.loaders import load
from cairn_trainer.read_ahead import ReadAhead
from cairn_trainer.samplers import BatchPositions, Sampler
from cairn_trainer.transforms import Augmenter, BadImageError, Pixels, Rectangle, decode

_CACHE_BYTES = 256 * 1024 * 1024
_MAX_TRIES = 1000


class BadImage(NamedTuple):
    """A row whose image cannot be read, and the reason."""

    row: int
    reason: str


class Sample(NamedTuple):
    """One image of a training batch. `row` is -1 when no readable image was found; `bad` are the rows that could not be read."""

    pixels: Pixels
    row: int
    erased: Rectangle
    bad: list[BadImage]


class Batch(NamedTuple):
    """Pixels uint8 [N, S, S, 3], rows int64 [N], labels int64 [N], erased rectangles int64 [N, 4], and the unreadable rows."""

    pixels: Tensor
    rows: Tensor
    labels: Tensor
    erased: Tensor
    bad: list[BadImage]


def stand_in(images: int, size: int) -> Batch:
    """Black images with label 0, for a pass whose result is discarded."""
    pixels, labels = torch.zeros(images, size, size, 3, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
    return Batch(pixels, labels, labels, torch.zeros(images, 4, dtype=torch.int64), [])


class DecodedImages:
    """Decodes the rows of a list to squares. With `is_kept` they are cached if all distinct images of the list fit into 256 MiB.

    The cache does not change results: decoding is a function of the bytes. Each rank and each loader process has its own.
    """

    def __init__(self, images: ImageList, size: int, preprocessing: str, *, is_kept: bool) -> None:
        self._images = images
        self._size = size
        self._preprocessing = preprocessing
        self._kept: dict[int, Pixels | BadImageError] | None = None
        if is_kept and images.images * size * size * 3 <= _CACHE_BYTES:
            self._kept = {}

    def get(self, row: int) -> Pixels:
        """The row's image.

        Raises:
            BadImageError: it cannot be read.
            TrainerError: `storage_failed` for machine faults.
        """
        image = int(self._images.image_of_row[row])
        found = self._kept.get(image) if self._kept is not None else None
        if found is None:
            try:
                found = decode(self._images.read(row), self._size, self._preprocessing)
            except BadImageError as error:
                found = error
            if self._kept is not None:
                self._kept[image] = found
        if isinstance(found, BadImageError):
            raise BadImageError(str(found))
        return found


class TrainImages(Dataset[Sample]):
    """Training images by (epoch, index in the rank's order of that epoch).

    An unreadable image is replaced by the next readable one in the order, with the augmentation of the requested index.
    """

    def __init__(self, images: ImageList, sampler: Sampler, decoded: DecodedImages, augmenter: Augmenter, *, rank: int, world: int) -> None:
        self._images = images
        self._sampler = sampler
        self._decoded = decoded
        self._augmenter = augmenter
        self._rank = rank
        self._world = world
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._sampler.order(epoch)
        augmentation = self._augmenter.draw(epoch, index * self._world + self._rank)
        bad: list[BadImage] = []
        for offset in range(min(len(self._order), _MAX_TRIES)):
            row = int(self._order[(index + offset) % len(self._order)])
            try:
                pixels = self._decoded.get(row)
            except BadImageError as error:
                bad.append(BadImage(row, str(error)))
                continue
            return Sample(self._augmenter.apply(pixels, augmentation), row, augmentation.erased, bad)
        return Sample(np.zeros((1, 1, 3), np.uint8), -1, Rectangle(0, 0, 0, 0), bad)

    def collate(self, samples: list[Sample]) -> Batch:
        """Stacks samples; a batch with an irreplaceable image has only its unreadable rows."""
        bad = [entry for sample in samples for entry in sample.bad]
        if any(sample.row < 0 for sample in samples):
            samples = []
        rows = np.array([sample.row for sample in samples], np.int64)
        pixels = np.stack([sample.pixels for sample in samples]) if samples else np.empty((0, 1, 1, 3), np.uint8)
        erased = np.array([sample.erased for sample in samples], np.int64).reshape(-1, 4)
        as_tensor = torch.from_numpy
        return Batch(as_tensor(pixels), as_tensor(rows), as_tensor(self._images.labels[rows]), as_tensor(erased), bad)


class EvalImages(Dataset[tuple[int, Pixels | None]]):
    """Images without augmentation, by (number, row); None for one that cannot be read."""

    def __init__(self, decoded: DecodedImages) -> None:
        self._decoded = decoded

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Pixels | None]:
        number, row = key
        try:
            return number, self._decoded.get(row)
        except BadImageError:
            return number, None

    @staticmethod
    def collate(samples: list[tuple[int, Pixels | None]]) -> tuple[Tensor | None, list[int]]:
        """The readable images as uint8 [N, S, S, 3] (None if there are none), and their numbers."""
        readable = [(number, pixels) for number, pixels in samples if pixels is not None]
        if not readable:
            return None, []
        return torch.from_numpy(np.stack([pixels for _, pixels in readable])), [number for number, _ in readable]


def train_batches(
    dataset: TrainImages, positions: BatchPositions, *, workers: int, pin: bool, ahead: ReadAhead | None = None
) -> Iterator[Batch]:
    """The batches at the given positions, in order, without a pause between epochs. Raises the errors of `load`."""
    keys = positions if ahead is None else ahead.through(positions, first=positions.first_row, batch=positions.batch, workers=workers)
    with contextlib.nullcontext() if ahead is None else contextlib.closing(ahead):
        yield from load(dataset, keys, dataset.collate, workers=workers, pin=pin)


def eval_batches(
    dataset: EvalImages, keys: list[list[tuple[int, int]]], *, workers: int, ahead: ReadAhead | None = None
) -> Iterator[tuple[Tensor | None, list[int]]]:
    """One batch per list of (number, row); an empty list gives an empty batch. Raises the errors of `load`."""
    batch = max((len(key) for key in keys), default=0)
    read = keys if ahead is None else ahead.through(keys, first=0, batch=batch, workers=workers)
    with contextlib.nullcontext() if ahead is None else contextlib.closing(ahead):
        yield from load(dataset, read, EvalImages.collate, workers=workers)


def erase(images: Tensor, rectangles: Tensor) -> None:
    """Sets rectangles (int64 [N, 4]: top, left, height, width) of normalised images [N, 3, H, W] to 0, the mean, in place."""
    for image, (top, left, height, width) in zip(images, rectangles.tolist(), strict=True):
        image[:, top : top + height, left : left + width] = 0
