"""How fast the loaders of one rank read images in the order of a stage; prints JSON. With `--size 0` nothing is decoded."""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from cairn_trainer.config import TrainSettings
from cairn_trainer.data import DecodedImages, TrainImages, train_batches
from cairn_trainer.lists import ImageList
from cairn_trainer.read_ahead import read_ahead_of
from cairn_trainer.samplers import BatchPositions, Sampler, make_sampler
from cairn_trainer.transforms import Augmenter
from torch.utils.data import Dataset

BATCH = 32


class Bytes(Dataset):
    """The images of an order, undecoded."""

    def __init__(self, images: ImageList, sampler: Sampler) -> None:
        self._images, self._order = images, sampler.order(0)

    def __getitem__(self, key: tuple[int, int]) -> int:
        return len(self._images.read(int(self._order[key[1]])))

    @staticmethod
    def collate(sizes: list[int]) -> tuple:
        return tuple(sizes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('list', type=Path)
    parser.add_argument('root', type=Path)
    parser.add_argument('--buffer', type=int, default=0)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--size', type=int, default=0)
    options = parser.parse_args()
    images = ImageList(options.list, options.root, is_labelled=True)
    images.labels = np.zeros(images.rows, np.int64)
    size = options.size or 32
    settings = TrainSettings(
        list='clean', image_size=size, epochs=1, learning_rate=0.1, batch=BATCH, ranks=1, shuffle_buffer=options.buffer or None
    )
    sampler = make_sampler(settings, images, rank=0, world=1)
    dataset = Bytes(images, sampler)
    if options.size:
        decoded = DecodedImages(images, size, 'reference', is_kept=False)
        dataset = TrainImages(images, sampler, decoded, Augmenter(size, 0, 0.5, 1.0, 0), rank=0, world=1)
    positions = BatchPositions(batch=BATCH, steps_per_epoch=sampler.steps_per_epoch, first_step=0, last_step=sampler.steps_per_epoch)
    ahead = read_ahead_of(images, settings, sampler, 1)
    batches = train_batches(dataset, positions, workers=options.workers, pin=False, ahead=ahead)
    next(batches)
    began = time.monotonic()
    read = sum(1 for _ in batches) * BATCH
    print(json.dumps({'images': read, 'seconds': time.monotonic() - began}))


main()
