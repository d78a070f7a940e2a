"""The comparison of `npm run bench -- train`: a plain torchvision loop over JPEG files, and the same model on random tensors.

`make FOLDER` draws the files and their list; `plain FOLDER` and `random FOLDER` train for some steps and print images per second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cairn_trainer.config import ModelSettings
from cairn_trainer.model import EmbeddingNet
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

_CLASSES = 100
_PHOTO = (640, 480)
_TYPES = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}


def make(folder: Path, count: int, rows: list[int]) -> None:
    """Draws `count` pictures with the detail of photographs, 640 x 480, and lists of them: each with as many rows as its name says.

    A list that is longer than `count` repeats the pictures, each time as another image.
    """
    images = folder / 'images'
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(_PHOTO, Image.Resampling.BICUBIC)
        grain = random.normal(0, 12, (_PHOTO[1], _PHOTO[0], 1))
        picture = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(images / f'{number:06d}.jpg', quality=90)
    for length in rows or [count]:
        numbers = range(length)
        names = [f'{number:06d}' for number in numbers]
        labels = [number % _CLASSES for number in numbers]
        table = {'image_id': names, 'path': [f'{number % count:06d}.jpg' for number in numbers], 'label': labels, 'noisy': [0] * length}
        pq.write_table(pa.table(table), folder / f'list-{length}.parquet')


class JpegFiles(Dataset[tuple[Tensor, int]]):
    """As in torchvision's tutorials: PIL, then a chain of transforms on the image and on the tensor."""

    def __init__(self, folder: Path, size: int, pad: int, length: int) -> None:
        self._paths = sorted((folder / 'images').iterdir())
        self._length = length
        self._transform = transforms.Compose(
            [
                transforms.Resize((size, size)),
                transforms.RandomHorizontalFlip(),
                transforms.Pad(pad),
                transforms.RandomCrop(size),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.224, 0.224, 0.224)),
                transforms.RandomErasing(p=1.0, scale=(0.02, 0.2), ratio=(0.3, 3.33)),
            ]
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self._paths[index % len(self._paths)]) as image:
            return self._transform(image.convert('RGB')), index % _CLASSES


def _batches(arguments: argparse.Namespace, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    size, batch = arguments.size, arguments.batch
    if arguments.mode == 'plain':
        files = JpegFiles(arguments.folder, size, arguments.pad, arguments.steps * batch)
        workers, is_cuda = arguments.workers, device.type == 'cuda'
        yield from DataLoader(files, batch, shuffle=True, drop_last=True, num_workers=workers, pin_memory=is_cuda)
        return
    images, labels = torch.randn(batch, 3, size, size, device=device), torch.arange(batch, device=device) % _CLASSES
    while True:
        yield images, labels


def train(arguments: argparse.Namespace) -> float:
    """Images per second from the end of the warm-up to the last step."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(arguments.threads)
    net = EmbeddingNet(ModelSettings(backbone=arguments.backbone), arguments.classes, 0.3, 30.0).to(device).train()
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    net.base.to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4)
    kind = _TYPES[arguments.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=kind == torch.float16)
    began = 0.0
    for step, (images, labels) in enumerate(_batches(arguments, device), 1):
        with torch.autocast(device.type, kind, enabled=kind != torch.float32):
            loss, _ = net(images.to(device, non_blocking=True, memory_format=layout), labels.to(device, non_blocking=True))
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        loss.item()
        if step == arguments.warmup:
            began = time.perf_counter()
        if step == arguments.steps:
            break
    return (arguments.steps - arguments.warmup) * arguments.batch / (time.perf_counter() - began)


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument('mode', choices=['make', 'plain', 'random'])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--backbone', default='resnet18')
    parser.add_argument('--precision', choices=_TYPES, default='fp32')
    parser.add_argument('--rows', type=int, nargs='*', default=[])
    parser.add_argument('--classes', type=int, default=_CLASSES)
    parser.add_argument('--channels-last', action='store_true')
    for name in ('count', 'size', 'pad', 'batch', 'workers', 'threads', 'steps', 'warmup'):
        parser.add_argument(f'--{name}', type=int, default=0)
    arguments = parser.parse_args()
    if arguments.mode == 'make':
        make(arguments.folder, arguments.count, arguments.rows)
    else:
        print(train(arguments))


if __name__ == '__main__':
    main()
