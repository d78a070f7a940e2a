"""mAP@100 of a network on the query and index lists, by Kaggle's formula.

mAP@100 = mean over queries of (1 / min(m, 100)) x sum over ranks k up to 100 of precision(k) x [item k is a ground truth not seen before],
where m is the query's number of ground truths. Ignored queries are skipped; a query whose image cannot be read, or that has no ground
truth, scores 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cairn_trainer.config import EvaluationFiles
from cairn_trainer.data import DecodedImages, EvalImages, eval_batches
from cairn_trainer.lists import ImageList, read_parquet
from cairn_trainer.model import EmbeddingNet, normalise
from cairn_trainer.ranks import Ranks
from cairn_trainer.read_ahead import ReadAhead

_NEIGHBOURS = 100
_QUERY_BLOCK = 64
_ROWS_AHEAD = 512
"""Images of a list in tars that an agent reads before they are asked for: a few ranges."""


class Score(NamedTuple):
    """mAP@100 in 0..1 over Public and Private together, the number of scored queries, and of readable index images.

    `gallery_digest` is the digest of these images: scores are comparable only if it is the same.
    """

    map_at_100: float
    queries: int
    index: int
    gallery_digest: str


class StoppedError(Exception):
    """The ranks agreed to stop inside the evaluation."""


def average_precision(neighbours: Sequence[str], truths: set[str]) -> float:
    """One query's average precision at 100: `neighbours` by decreasing similarity. A repeated neighbour scores nothing but occupies its
    rank."""
    hits, total = 0, 0.0
    seen: set[str] = set()
    for place, image_id in enumerate(neighbours[:_NEIGHBOURS], start=1):
        if image_id in truths and image_id not in seen:
            hits += 1
            total += hits / place
        seen.add(image_id)
    return total / min(len(truths), _NEIGHBOURS)


def gallery_digest(image_ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, one per line, as in the step `search`."""
    return hashlib.sha256(''.join(f'{image_id}\n' for image_id in sorted(image_ids)).encode()).hexdigest()


def read_ground_truth(path: Path) -> dict[str, set[str]]:
    """The ground truths of each scored query. A scored query without one keeps an empty id that nothing matches, so it scores 0."""
    table = read_parquet(path, ['query_id', 'image_id', 'usage'])
    truths: dict[str, set[str]] = {}
    for query, image, usage in zip(*(table[name].to_pylist() for name in ('query_id', 'image_id', 'usage')), strict=True):
        if usage != 'Ignored':
            truths.setdefault(query, set()).add(image or '')
    return truths


@dataclass(frozen=True)
class EvaluationSet:
    """The lists for the evaluation, each distinct image once."""

    queries: ImageList
    index: ImageList
    truths: Mapping[str, set[str]]

    @classmethod
    def read(cls, files: EvaluationFiles, image_root: Path) -> EvaluationSet:
        """Reads the three Parquet files.

        Raises:
            TrainerError: `missing_file`, `missing_column`, `bad_row`.
        """
        queries = ImageList(Path(files.query), image_root, is_labelled=False)
        index = ImageList(Path(files.index), image_root, is_labelled=False)
        return cls(queries, index, read_ground_truth(Path(files.ground_truth)))


class Evaluator:
    """Evaluates a network; images and queries are split over the ranks."""

    def __init__(self, data: EvaluationSet, ranks: Ranks, *, size: int, preprocessing: str, batch: int, workers: int) -> None:
        self._data = data
        self._ranks = ranks
        self._size = size
        self._preprocessing = preprocessing
        self._batch = batch
        self._workers = workers

    def score(self, net: EmbeddingNet, is_asked_to_stop: Callable[[], bool]) -> Score:
        """All ranks call it at the same time. They compute with the running means of rank 0; their own are restored afterwards.

        Raises:
            StoppedError: on every rank, if one was asked to stop.
        """
        own = [buffer.clone() for buffer in net.buffers()]
        self._ranks.from_first(list(net.buffers()))
        net.eval()
        try:
            with torch.inference_mode():
                queries, query_ids = self._features(net, self._data.queries, is_asked_to_stop)
                index, index_ids = self._features(net, self._data.index, is_asked_to_stop)
                return self._search(queries, query_ids, index, index_ids)
        finally:
            net.train()
            for buffer, value in zip(net.buffers(), own, strict=True):
                buffer.copy_(value)

    def _features(self, net: EmbeddingNet, images: ImageList, is_asked_to_stop: Callable[[], bool]) -> tuple[Tensor, list[str]]:
        """Features [readable images, D] on the CPU and their ids, the same on every rank."""
        rows = np.unique(images.image_of_row, return_index=True)[1]
        if images.is_in_tars:
            # So that each rank reads its own part of the tars, from its begin to its end.
            rows = images.by_place()[np.isin(images.by_place(), rows)]
        share = -(-len(rows) // self._ranks.world)
        first = self._ranks.rank * share
        mine = rows[first : first + share]
        # The same number of batches on every rank, so that they can agree to continue after each.
        batches = [list(enumerate(mine))[start : start + self._batch] for start in range(0, share, self._batch)]
        dataset = EvalImages(DecodedImages(images, self._size, self._preprocessing, is_kept=False))
        features = torch.zeros(share, net.fcneck.out_features)
        read: list[int] = []
        announcements = images.announcements()
        ahead = None
        if announcements is not None:
            ahead = ReadAhead(images, announcements, lambda _epoch: mine, rows_per_epoch=share, epochs=1, ahead=_ROWS_AHEAD)
        for pixels, places in eval_batches(dataset, batches, workers=self._workers, ahead=ahead):
            if self._ranks.any(is_asked_to_stop()):
                raise StoppedError
            if pixels is not None:
                features[places] = net.features(normalise(pixels.to(self._ranks.device))).cpu()
                read += places
        read_by_rank = self._ranks.gather(read)
        blocks = self._ranks.gather_rows(features)
        ids = [images.image_id(int(rows[rank * share + place])) for rank, places in enumerate(read_by_rank) for place in places]
        return torch.cat([block[places] for block, places in zip(blocks, read_by_rank, strict=True)]), ids

    def _search(self, queries: Tensor, query_ids: list[str], index: Tensor, index_ids: list[str]) -> Score:
        total = 0.0
        for start in range(self._ranks.rank * _QUERY_BLOCK, len(query_ids), self._ranks.world * _QUERY_BLOCK):
            block = queries[start : start + _QUERY_BLOCK]
            nearest = (block @ index.T).topk(min(_NEIGHBOURS, len(index_ids)), dim=1).indices.tolist()
            for query_id, neighbours in zip(query_ids[start : start + _QUERY_BLOCK], nearest, strict=True):
                if query_id in self._data.truths:
                    total += average_precision([index_ids[i] for i in neighbours], self._data.truths[query_id])
        scored = len(self._data.truths)
        return Score(self._ranks.sum([total])[0] / max(scored, 1), scored, len(index_ids), gallery_digest(index_ids))
