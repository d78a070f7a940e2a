"""The gap between `cairn` and `reference` preprocessing for one model: the same images, decoded both ways, in features and mAP@100."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from cairn_trainer.config import EvaluationFiles, ModelSettings
from cairn_trainer.evaluate import EvaluationSet, average_precision
from cairn_trainer.lists import ImageList
from cairn_trainer.model import EmbeddingNet, load_weights, normalise
from cairn_trainer.transforms import BadImageError, decode
from torch import Tensor

_WAYS = ('cairn', 'reference')
_BATCH = 32


def features(net: EmbeddingNet, images: ImageList, size: int, way: str) -> tuple[Tensor, list[str]]:
    """Features [N, D] of the list's readable distinct images, and their ids."""
    pixels, ids = [], []
    for row in np.unique(images.image_of_row, return_index=True)[1]:
        try:
            pixels.append(decode(images.read(int(row)), size, way))
        except BadImageError:
            continue
        ids.append(images.image_id(int(row)))
    with torch.inference_mode():
        blocks = [net.features(normalise(torch.from_numpy(np.stack(pixels[at : at + _BATCH])))) for at in range(0, len(pixels), _BATCH)]
    return torch.cat(blocks), ids


def main() -> None:
    """Parses the command line and prints one JSON object."""
    parser = argparse.ArgumentParser()
    for name in ('weights', 'lists', 'images'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--backbone', required=True)
    parser.add_argument('--size', type=int, required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.weights, weights_only=True)
    classes, dim = state['classifier.weight'].shape
    net = EmbeddingNet(ModelSettings(backbone=arguments.backbone, embedding_dim=dim), classes).eval()
    load_weights(net, state, str(arguments.weights), may_grow=False)
    files = {name: str(arguments.lists / f'{name}.parquet') for name in ('query', 'index', 'ground_truth')}
    data = EvaluationSet.read(EvaluationFiles(**files), arguments.images)
    queries = {way: features(net, data.queries, arguments.size, way) for way in _WAYS}
    index = {way: features(net, data.index, arguments.size, way) for way in _WAYS}

    def score(query_way: str, index_way: str) -> float:
        (asked, query_ids), (found, index_ids) = queries[query_way], index[index_way]
        nearest = (asked @ found.T).topk(min(100, len(index_ids)), dim=1).indices.tolist()
        scored = zip(query_ids, nearest, strict=True)
        precisions = [average_precision([index_ids[at] for at in row], data.truths[name]) for name, row in scored if name in data.truths]
        return sum(precisions) / len(data.truths)

    both = [torch.cat([queries[way][0], index[way][0]]) for way in _WAYS]
    cosines = (both[0] * both[1]).sum(1)
    report = {
        'images': len(cosines),
        'cosine': {'mean': cosines.mean().item(), 'p1': cosines.quantile(0.01).item(), 'least': cosines.min().item()},
        'mapAt100': {f'queries {a}, index {b}': score(a, b) for a in _WAYS for b in _WAYS},
    }
    print(json.dumps(report))


if __name__ == '__main__':
    main()
