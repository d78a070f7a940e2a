"""What the check on a GPU asks of PyTorch. Each command prints one JSON value as its last line."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tarfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cairn_trainer.config import ModelSettings
from cairn_trainer.foreign_file import read_named_tensors
from cairn_trainer.gpu import check_gpu, why_unsupported
from cairn_trainer.model import EmbeddingNet, load_weights, normalise
from cairn_trainer.transforms import Pixels, decode
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

_DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
_PACKAGES = ('torch', 'torchvision', 'timm', 'numpy', 'pillow', 'pyarrow', 'onnx', 'onnxruntime', 'tensorboardX')


def machine(_: argparse.Namespace) -> object:
    """Versions, and whether GPUs are taken and refused as they should be."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    found = {'python': platform.python_version(), 'packages': packages, 'cuda': torch.version.cuda, 'cudnn': torch.backends.cudnn.version()}
    architectures = torch.cuda.get_arch_list() if _DEVICE.type == 'cuda' else ['sm_80', 'sm_90', 'compute_90']
    too_old = 'Tesla K80'
    found['refusal'] = why_unsupported(too_old, (3, 7), architectures, 'fp16')
    found['refusesByName'] = too_old in (found['refusal'] or '')
    if _DEVICE.type == 'cuda':
        check_gpu(_DEVICE, 'bf16')
        properties = torch.cuda.get_device_properties(_DEVICE)
        found |= {'gpu': properties.name, 'capability': [properties.major, properties.minor], 'bytes': properties.total_memory}
        found |= {'architectures': architectures, 'nccl': torch.cuda.nccl.version()}
    return found


def compare_weights(arguments: argparse.Namespace) -> object:
    """Whether two checkpoints have the same weights, bit for bit, and by how much they differ."""
    one, other = (torch.load(path, map_location='cpu', weights_only=True)['model'] for path in arguments.paths)
    different = [key for key in one if not torch.equal(one[key], other[key])]
    most = max((float((one[key].double() - other[key].double()).abs().max()) for key in different), default=0.0)
    return {'tensors': len(one), 'different': len(different), 'mostDifference': most, 'examples': different[:3]}


def checkpoint(arguments: argparse.Namespace) -> object:
    """Writes weights that a stage or an export can start from.

    They are those of the initialisation, with running means that fit them: without, the maps of a deep network would overflow in fp16. With
    --nan one weight is NaN.
    """
    torch.manual_seed(0)
    net = EmbeddingNet(ModelSettings(backbone=arguments.backbone), arguments.classes).to(_DEVICE).train()
    with torch.no_grad():
        for _ in range(arguments.passes):
            net.embed(normalise(torch.randint(0, 256, (8, arguments.size, arguments.size, 3), dtype=torch.uint8, device=_DEVICE)))
    weights = {key: value.cpu() for key, value in net.state_dict().items()}
    if arguments.nan:
        weights['fcneck.weight'][0, 0] = float('nan')
    path = arguments.paths[0]
    torch.save(weights, path)
    return {'path': str(path), 'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}


def lists(arguments: argparse.Namespace) -> object:
    """Writes the lists of an extraction: `rows` images that are the files of `images` again and again, as files and as pieces of a tar."""
    images, folder = arguments.paths
    files = sorted(images.iterdir())
    tar = images.parent / 'tars' / 'images.tar'
    tar.parent.mkdir(exist_ok=True)
    with tarfile.open(tar, 'w') as archive:
        for file in files:
            archive.add(file, file.name)
    with tarfile.open(tar) as archive:
        pieces = {member.name: (member.offset_data, member.size) for member in archive.getmembers()}
    rows = range(arguments.rows)
    names = [files[row % len(files)].name for row in rows]
    common = {'image_id': [f'{row:016x}' for row in rows], 'label': [0] * len(rows), 'image_number': list(rows)}
    pq.write_table(pa.table({**common, 'path': [f'images/{name}' for name in names]}), folder / 'files.parquet')
    offsets, sizes = zip(*(pieces[name] for name in names), strict=True)
    in_tar = {'path': names, 'tar': ['tars/images.tar'] * len(rows), 'offset': offsets, 'size': sizes}
    pq.write_table(pa.table({**common, **in_tar}), folder / 'tars.parquet')
    return {'files': len(files), 'rows': len(rows)}


def _load(arguments: argparse.Namespace) -> EmbeddingNet:
    weights = read_named_tensors(arguments.weights)
    net = EmbeddingNet(ModelSettings(backbone=arguments.backbone), len(weights['classifier.weight']))
    load_weights(net, weights, str(arguments.weights), may_grow=False)
    return net.to(_DEVICE).eval()


def cosines(arguments: argparse.Namespace) -> object:
    """The cosines between features [N, D] that ONNX Runtime gave in another program and those of PyTorch, for a folder's first files."""
    images, features = arguments.paths
    found = np.load(features).astype(np.float64)
    return _agreement(_load(arguments), _pixels(images, len(found), arguments.size), found)


def exported(arguments: argparse.Namespace) -> object:
    """The same for an ONNX file, which runs on the CPU here."""
    images, model = arguments.paths
    pixels = _pixels(images, arguments.rows, arguments.size)
    (found,) = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider']).run(None, {'images': pixels})
    return _agreement(_load(arguments), pixels, found.astype(np.float64))


def _pixels(images: Path, count: int, size: int) -> Pixels:
    return np.stack([decode(file.read_bytes(), size, 'cairn') for file in sorted(images.iterdir())[:count]])


@torch.inference_mode()
def _agreement(net: EmbeddingNet, pixels: Pixels, found: NDArray[np.float64]) -> object:
    """Cosines to PyTorch in fp32 on this machine's device; `found` may have more rows than there are images."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    parts = np.array_split(pixels, -(-len(pixels) // 8))
    expected = np.concatenate([net.features(normalise(torch.from_numpy(part).to(_DEVICE))).double().cpu().numpy() for part in parts])
    found = found[: len(expected)] / np.linalg.norm(found[: len(expected)], axis=1, keepdims=True)
    values = (expected * found).sum(1)
    return {'images': len(values), 'median': float(np.median(values)), 'least': float(values.min()), 'device': _DEVICE.type}


class _Decoded(Dataset[torch.Tensor]):
    """Files as a PyTorch program reads them for inference: PIL, then bytes."""

    def __init__(self, folder: Path, size: int, length: int) -> None:
        self._paths, self._size, self._length = sorted(folder.iterdir()), size, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self._paths[index % len(self._paths)]) as image:
            pixels = image.convert('RGB').resize((self._size, self._size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels))


@torch.inference_mode()
def loader(arguments: argparse.Namespace) -> object:
    """Images a second of a DataLoader with the same model, in fp16 and channels last on a GPU."""
    net = _load(arguments)
    is_cuda = _DEVICE.type == 'cuda'
    net.base.to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True
    files = _Decoded(arguments.paths[0], arguments.size, arguments.rows)
    began, counted = 0.0, -arguments.batch
    for batch in DataLoader(files, arguments.batch, num_workers=arguments.workers, pin_memory=is_cuda, drop_last=True):
        with torch.autocast(_DEVICE.type, torch.float16, enabled=is_cuda):
            images = normalise(batch.to(_DEVICE, non_blocking=True), torch.channels_last)
            net.features(images).cpu()
        began = began or time.perf_counter()
        counted += len(batch)
    return {'imagesPerSecond': counted / (time.perf_counter() - began), 'workers': arguments.workers}


def vectors(arguments: argparse.Namespace) -> object:
    """Writes unit vectors in fp16 for a search: queries.npy and index.npy, with neighbours that are near."""
    generator = torch.Generator(_DEVICE).manual_seed(1)
    folder, dim = arguments.paths[0], arguments.dim
    for name, rows in (('queries', arguments.queries), ('index', arguments.rows)):
        path = folder / f'{name}.npy'
        values = np.lib.format.open_memmap(path, 'w+', np.float16, (rows, dim))
        for start in range(0, rows, 65_536):
            part = torch.randn(min(65_536, rows - start), dim, generator=generator, device=_DEVICE)
            # A part that all share, so that cosines are not all near 0.
            part[:, : dim // 16] += 1.0
            values[start : start + len(part)] = torch.nn.functional.normalize(part).half().cpu().numpy()
        values.flush()
    return {'rows': arguments.rows}


@torch.inference_mode()
def nearest(arguments: argparse.Namespace) -> object:
    """torch's exact top k over the vectors of a folder, its seconds, and how it differs from the rows that the worker found."""
    folder, k = arguments.paths[0], arguments.top
    torch.backends.cuda.matmul.allow_tf32 = False
    began = time.perf_counter()
    queries, index = (torch.from_numpy(np.load(folder / f'{name}.npy')).to(_DEVICE).float() for name in ('queries', 'index'))
    _wait()
    loaded = time.perf_counter()
    rows = (queries @ index.T).topk(k).indices
    _wait()
    searched = time.perf_counter()
    ours = torch.from_numpy(np.fromfile(folder / 'rows.i32', np.int32).reshape(len(queries), k).astype(np.int64))
    different = ours != rows.cpu()
    # fp32 may swap what is equal to its last bits: what counts is whether the two rows' exact scores differ.
    q, i = torch.nonzero(different, as_tuple=True)
    exact = lambda rows_: (queries[q].double().cpu() * index[rows_.to(_DEVICE)].double().cpu()).sum(1)  # noqa: E731
    gap = float((exact(ours[q, i]) - exact(rows.cpu()[q, i])).abs().max()) if len(q) else 0.0
    sets = sum(set(a) != set(b) for a, b in zip(ours.tolist(), rows.tolist(), strict=True))
    figures = {'differentPlaces': int(different.sum()), 'differentSets': sets, 'mostScoreGap': gap}
    return {**figures, 'places': different.numel(), 'loadSeconds': loaded - began, 'searchSeconds': searched - loaded}


def _wait() -> None:
    if _DEVICE.type == 'cuda':
        torch.cuda.synchronize()


def main() -> None:
    """Parses the command line."""
    commands = {'machine': machine, 'compare-weights': compare_weights, 'checkpoint': checkpoint, 'lists': lists}
    commands |= {'cosines': cosines, 'exported': exported, 'loader': loader, 'vectors': vectors, 'nearest': nearest}
    parser = argparse.ArgumentParser()
    parser.add_argument('command', choices=commands)
    parser.add_argument('paths', type=Path, nargs='*')
    parser.add_argument('--backbone', default='resnet18')
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--nan', action='store_true')
    defaults = {'classes': 100, 'size': 64, 'rows': 0, 'batch': 8, 'workers': 0, 'queries': 0, 'dim': 512, 'top': 100, 'passes': 40}
    for name, value in defaults.items():
        parser.add_argument(f'--{name}', type=int, default=value)
    arguments = parser.parse_args()
    print(json.dumps(commands[arguments.command](arguments)))


if __name__ == '__main__':
    main()
