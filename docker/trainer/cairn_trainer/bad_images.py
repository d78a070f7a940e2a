"""The images of a stage that could not be read: each is recorded once, and too many end the stage."""

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

# With fewer images the share is not meaningful: one broken file in the first batch does not indicate a broken collection.
_MIN_SAMPLE = 1000


class BadImageLedger:
    """Counts the distinct images that were tried and those that could not be read, over all ranks and across interruptions."""

    def __init__(self, images: ImageList, max_share: float, ranks: Ranks, events: EventLog) -> None:
        self._images = images
        self._max_share = max_share
        self._ranks = ranks
        self._events = events
        self._tried = torch.zeros(images.images, dtype=torch.uint8)
        self._bad: dict[int, str] = {}
        self._is_grown = False

    @property
    def count(self) -> int:
        """Distinct images that could not be read, as of the last exchange between the ranks."""
        return len(self._bad)

    def record_tried(self, rows: torch.Tensor, bad: Sequence[BadImage]) -> None:
        """Records the rows that this rank read (int64 [N]) and those that it could not read."""
        for tried in (rows.numpy(), np.array([entry.row for entry in bad], np.int64)):
            self._tried[torch.from_numpy(self._images.image_of_row[tried].astype(np.int64))] = 1

    def share(self, bad: Sequence[BadImage]) -> None:
        """Shares this rank's unreadable images with the other ranks; all ranks call it in the same step. Rank 0 records new ones."""
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
        """Ends the stage if too many images cannot be read; all ranks call it in the same step.

        The share refers to the distinct images tried, but at least 1,000 (or all images of a smaller list).

        Raises:
            TrainerError: `too_many_bad_images`.
        """
        if not self._is_grown:
            return
        self._is_grown = False
        tried = int(self._all_tried().sum())
        if self.count > self._max_share * max(tried, min(self._images.images, _MIN_SAMPLE)):
            raise self._too_many(f'{self.count} of {tried} images tried')

    def give_up(self) -> TrainerError:
        """The error for a rank that tried a long series of images and could not read any."""
        return self._too_many('A long series of consecutive images of the list')

    def _too_many(self, what: str) -> TrainerError:
        named = ', '.join(list(self._bad.values())[:5])
        limit = f'maxBadImageShare allows {self._max_share:.1%}'
        return TrainerError('too_many_bad_images', f'{what} cannot be read; {limit}. Among them: {named}.', is_agreed=True)

    def _all_tried(self) -> torch.Tensor:
        return self._ranks.largest(self._tried)

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint; all ranks call it in the same step. One bit per image, and the numbers and ids of the bad images."""
        return {'tried': torch.from_numpy(np.packbits(self._all_tried().numpy())), 'bad': dict(self._bad)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._tried = torch.from_numpy(np.unpackbits(state['tried'].numpy(), count=self._images.images))
        self._bad = dict(state['bad'])
