"""A checkpoint as ONNX, compared with PyTorch on real images.

The graph takes `images`, uint8 [N, H, W, 3] in RGB with any N, and returns `features`, fp32 [N, D] of length 1: normalisation, L2 and the
mean over several scales and the mirrored image, if asked, are included. With precision fp16 the backbone stores its weights and computes
in fp16; pooling (a third power), neck and L2 stay in fp32. The exporter is PyTorch's older one, based on tracing: it takes 0.3 s instead
of 8 s with the newer one (torch.export) for the same graph, since it needs neither torch._dynamo nor decompositions; these networks have
no branches that tracing would miss.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnx
import onnxruntime
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812 - the name that PyTorch's own documentation uses
from numpy.typing import NDArray
from torch import Tensor, nn

from cairn_trainer.checkpoint import write_torch_file
from cairn_trainer.config import ExporterConfig
from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError, from_os_error
from cairn_trainer.events import EventLog
from cairn_trainer.foreign_file import heads_of, read_stored_tensors
from cairn_trainer.half_backbone import HalfBackbone
from cairn_trainer.lifetime import usable_cores
from cairn_trainer.lists import ImageList
from cairn_trainer.model import EmbeddingNet, load_weights, mean_over_scales, normalise, with_mirrored
from cairn_trainer.transforms import BadImageError, Pixels, decode

_OPSET = 18
_BATCH = 8


class Agreement(NamedTuple):
    """The minimum cosine between the two programs' features, its image, and the number of images compared."""

    cosine: float
    worst_image: str
    images: int


class ExportedGraph(nn.Module):
    """The network with pre- and postprocessing: pixels uint8 [N, H, W, 3] to features fp32 [N, D] of length 1."""

    def __init__(
        self, net: EmbeddingNet, precision: Literal['fp32', 'fp16'], scales: Sequence[float] | None = None, *, flip: bool = False
    ) -> None:
        super().__init__()
        self.net = net
        self.scales = scales
        self.flip = flip
        self.base = HalfBackbone(net.base) if precision == 'fp16' else net.base

    def forward(self, images: Tensor) -> Tensor:
        embed = with_mirrored(self._embed) if self.flip else self._embed
        return F.normalize(mean_over_scales(embed, normalise(images), self.scales))

    def _embed(self, images: Tensor) -> Tensor:
        return self.net.head(self.base(images))


def export(config: ExporterConfig, events: EventLog) -> None:
    """Writes model.onnx, weights.pt and weights.safetensors into the output folder and reports `exported`.

    Raises:
        TrainerError: `model_mismatch` if the checkpoint does not fit the settings or ONNX Runtime differs from PyTorch;
            `missing_file`, `corrupt_artifact`, `too_many_bad_images`, `storage_full`.
    """
    torch.set_num_threads(usable_cores())
    net = _load_net(config)
    folder = Path(config.output_dir)
    written = write_torch_file(folder / 'weights.pt', net.state_dict())
    safe_path = write_safetensors(folder / 'weights.safetensors', net.state_dict())
    onnx_path = write_onnx(net, config, folder / 'model.onnx')
    images, ids = _first_images(config, events)
    agreement = compare(net, onnx_path, images, ids, config.settings.scales, flip=bool(config.settings.flip))
    print(f'ONNX Runtime matches PyTorch: minimum cosine {agreement.cosine:.7f} over {agreement.images} images', flush=True)
    settings = config.settings
    if not agreement.cosine >= settings.min_cosine_or_default:  # NaN fails too
        advice = ' Export with precision fp32, which has a wider range.' if settings.precision == 'fp16' else ''
        raise TrainerError(
            'model_mismatch',
            f'{onnx_path} ({settings.precision}) differs from PyTorch: for image {agreement.worst_image} the cosine is '
            f'{agreement.cosine:.6f}; minCosine is {settings.min_cosine_or_default}.{advice}',
        )
    files = [
        {'name': 'model.onnx', 'path': str(onnx_path), 'sha256': sha256_of(onnx_path), 'bytes': onnx_path.stat().st_size},
        {'name': 'weights.pt', 'path': str(written.path), 'sha256': written.sha256, 'bytes': written.bytes},
        {'name': 'weights.safetensors', 'path': str(safe_path), 'sha256': sha256_of(safe_path), 'bytes': safe_path.stat().st_size},
    ]
    events.emit('exported', files=files, cosine=agreement.cosine, images=agreement.images)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Writes the tensors in the format that no reader has to unpickle, to a temporary file that is renamed; returns the path.

    Raises:
        TrainerError: `storage_full`; `missing_file` if the folder does not exist.
    """
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            # As bytes: the library's own writer reports a full disk by a text alone.
            file.write(safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in tensors.items()}))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise from_os_error(error, f'writing {path}') from error
    return path


def _load_net(config: ExporterConfig) -> EmbeddingNet:
    weights = read_stored_tensors(config.checkpoint)
    source = f'The checkpoint {config.checkpoint.path}'
    classifier = heads_of(Path(config.checkpoint.path), weights).get('classifier.weight')
    if classifier is None:
        raise TrainerError('model_mismatch', f'{source} has no classifier.weight.')
    net = EmbeddingNet(config.model, classes=len(classifier))
    load_weights(net, weights, source, may_grow=False)
    return net.eval()


def write_onnx(net: EmbeddingNet, config: ExporterConfig, path: Path) -> Path:
    """Writes the graph to a temporary file and renames it; returns the path.

    Raises:
        TrainerError: `storage_full`; `missing_file` if the folder does not exist.
    """
    size = config.settings.image_size
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter('ignore')  # the older exporter warns about its age
            torch.onnx.export(
                ExportedGraph(net, config.settings.precision, config.settings.scales, flip=bool(config.settings.flip)).eval(),
                (torch.zeros(2, size, size, 3, dtype=torch.uint8),),
                str(part),
                dynamo=False,
                opset_version=_OPSET,
                input_names=['images'],
                output_names=['features'],
                dynamic_axes={'images': {0: 'batch'}, 'features': {0: 'batch'}},
            )
        model = onnx.load(part)
        settings = config.settings
        facts = {
            'imageSize': str(size),
            'preprocessing': settings.preprocessing,
            'precision': settings.precision,
            'backbone': config.model.backbone,
            **({} if settings.scales is None else {'scales': ' '.join(map(str, settings.scales))}),
            **({'flip': 'true'} if settings.flip else {}),
        }
        onnx.helper.set_model_props(model, {f'cairn.{name}': value for name, value in facts.items()})
        onnx.save(model, part)
        part.replace(path)
    except OSError as error:
        raise from_os_error(error, f'writing {path}') from error
    finally:
        part.unlink(missing_ok=True)
    return path


def compare(
    net: EmbeddingNet, onnx_path: Path, images: Pixels, ids: list[str], scales: Sequence[float] | None = None, *, flip: bool = False
) -> Agreement:
    """Runs images, uint8 [N, S, S, 3], through PyTorch and through ONNX Runtime in batches of several sizes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(onnx_path, options, providers=['CPUExecutionProvider'])
    cosines: list[float] = []
    # A single image first: a graph with a fixed batch size would fail here.
    for start, end in [(0, 1), *((start, start + _BATCH) for start in range(1, len(ids), _BATCH))]:
        batch = images[start:end]
        with torch.inference_mode():
            expected = net.features(normalise(torch.from_numpy(batch)), scales, flip=flip).double().numpy()
        (found,) = session.run(None, {'images': batch})
        cosines += (_unit(expected) * _unit(found.astype(np.float64))).sum(1).tolist()
    worst = int(np.argmin(cosines))
    return Agreement(cosines[worst], ids[worst], len(ids))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _first_images(config: ExporterConfig, events: EventLog) -> tuple[Pixels, list[str]]:
    """The list's first readable images, uint8 [N, S, S, 3], and their ids."""
    settings = config.settings
    images = ImageList(Path(config.list.path), Path(config.image_root), is_labelled=False)
    pixels: list[Pixels] = []
    ids: list[str] = []
    for row in range(images.rows):
        try:
            pixels.append(decode(images.read(row), settings.image_size, settings.preprocessing))
        except BadImageError as error:
            events.emit('badImage', image_id=images.image_id(row), path=images.image_path(row), reason=str(error))
            continue
        ids.append(images.image_id(row))
        if len(ids) == settings.check_images:
            break
    if not ids:
        raise TrainerError('too_many_bad_images', f'No image of {config.list.path} can be read, so the export cannot be checked.')
    return np.stack(pixels), ids
