"""The images of a stage that could not be read: recorded once each, and too many of them end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from cairn_trainer.data import BadImage
from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog
from cairn_trainer.lists import ImageList
from cairn_trainer.ranks import Ranks

# A share of fewer images than this says nothing yet: one broken file in the first batch is no sign of a broken collection.
_LEAST_SAMPLE = 1000


class BadImageLedger:
    """Counts distinct images, over all ranks and over interruptions: those tried, and those that could not be read."""

    def __init__(self, images: ImageList, most_share: float, ranks: Ranks, events: EventLog) -> None:
        self._images = images
        self._most_share = most_share
        self._ranks = ranks
        self._events = events
        self._tried = torch.zeros(images.images, dtype=torch.uint8)
        self._bad: dict[int, str] = {}
        self._is_grown = False

    @property
    def count(self) -> int:
        """Distinct images that could not be read, as far as the ranks have told each other."""
        return len(self._bad)

    def note_tried(self, rows: torch.Tensor, bad: Sequence[BadImage]) -> None:
        """What this rank read (rows int64 [N]), and what it could not."""
        for tried in (rows.numpy(), np.array([entry.row for entry in bad], np.int64)):
            self._tried[torch.from_numpy(self._images.image_of_row[tried].astype(np.int64))] = 1

    def share(self, bad: Sequence[BadImage]) -> None:
        """Tells the other ranks what this one could not read; every rank calls it at the same step. Rank 0 records what is new."""
        for entry in (entry for entries in self._ranks.gather(list(bad)) for entry in entries):
            image = int(self._images.image_of_row[entry.row])
            if image in self._bad:
                continue
            image_id = self._images.image_id(entry.row)
            self._bad[image] = image_id
            self._is_grown = True
            if self._ranks.is_first:
                self._events.emit('badImage', image_id=image_id, path=self._images.image_path(entry.row), reason=entry.reason)

    def judge(self) -> None:
        """Ends the stage when too many images cannot be read; every rank calls it at the same step.

        The share is that of the distinct images tried. While fewer than 1,000 were tried (or all, in a smaller list) the bad ones are
        measured against that number.

        Raises:
            TrainerError: `too_many_bad_images`.
        """
        if not self._is_grown:
            return
        self._is_grown = False
        tried = int(self._all_tried().sum())
        if self.count > self._most_share * max(tried, min(self._images.images, _LEAST_SAMPLE)):
            raise self._too_many(f'{self.count} of {tried} images tried')

    def give_up(self) -> TrainerError:
        """The error for a rank that tried image after image and could read none."""
        return self._too_many('A whole stretch of the list, one image after another,')

    def _too_many(self, what: str) -> TrainerError:
        named = ', '.join(list(self._bad.values())[:5])
        limit = f'maxBadImageShare allows {self._most_share:.1%}'
        return TrainerError('too_many_bad_images', f'{what} cannot be read; {limit}. Among them: {named}.', is_agreed=True)

    def _all_tried(self) -> torch.Tensor:
        return self._ranks.largest(self._tried)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; every rank calls it at the same step. A bit for each image, and the bad images' numbers and ids."""
        return {'tried': torch.from_numpy(np.packbits(self._all_tried().numpy())), 'bad': dict(self._bad)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._tried = torch.from_numpy(np.unpackbits(state['tried'].numpy(), count=self._images.images))
        self._bad = dict(state['bad'])
