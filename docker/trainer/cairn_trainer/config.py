"""The configuration of one stage, one export or one local matching, read from the JSON that the agent writes.

The JSON is camelCase; it is read into the snake_case dataclasses of this module (`typed_json.py`). All errors are reported, not only
the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from cairn_trainer import PROTOCOL
from cairn_trainer.errors import TrainerError
from cairn_trainer.typed_json import camel_case, number, parse_object

Preprocessing = Literal['cairn', 'reference', 'reference-filled']

T = TypeVar('T')


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The settings of the network, the same in every stage of a run."""

    backbone: str
    embedding_dim: int = number(512, least=8, most=4096)
    gem_power: float = number(3.0, least=1, most=10)
    init_seed: int = number(0, least=0)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training stage. `batch` is the images per rank and forward pass; `learning_rate` applies to a whole optimizer step."""

    weights: str | None = None
    weights_extent: Literal['all', 'upstream'] = 'all'
    list: str
    sampler: Literal['softmax', 'gld', 'id_uniform'] = 'softmax'
    partial_step: Literal['drop', 'fill'] = 'drop'
    shuffle_buffer: int | None = number(None, least=1, most=1_000_000)
    images_per_id: int = number(4, least=1, most=64)
    image_size: int = number(least=32, most=1024)
    pad: int = number(0, least=0, most=64)
    epochs: int = number(least=1, most=200)
    last_epoch: int | None = number(None, least=1, most=200)
    learning_rate: float = number(above=0, most=10)
    bias_lr_factor: float = number(2.0, above=0, most=10)
    momentum: float = number(0.9, least=0, most=1)
    weight_decay: float = number(5e-4, least=0, most=1)
    warmup_epochs: float = number(0.0, least=0, most=50)
    batch: int = number(least=2, most=4096)
    ranks: int = number(least=1, most=64)
    effective_batch: int | None = number(None, least=2, most=262_144)
    margin: float = number(0.3, least=0, most=1)
    scale: float = number(30.0, above=0, most=256)
    flip: float = number(0.5, least=0, most=1)
    erasing: float = number(1.0, least=0, most=1)
    seed: int = number(0, least=0)
    preprocessing: Preprocessing = 'cairn'
    precision: Literal['fp32', 'fp16', 'bf16'] = 'fp32'
    max_bad_image_share: float = number(0.05, least=0, most=1)
    evaluate: Literal['none', 'end', 'start_and_end', 'every_epoch'] = 'none'
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = True
    loader_workers: int = number(0, least=0, most=128)
    threads_per_rank: int = number(0, least=0, most=128)
    checkpoint_every_epochs: int = number(1, least=1, most=1_000_000)
    checkpoint_every_steps: int = number(0, least=0, most=1_000_000)
    checkpoint_every_minutes: float = number(10.0, least=0, most=1_000_000)
    log_every_steps: int = number(10, least=1, most=1_000_000)

    @property
    def images_per_step(self) -> int:
        """Images of one optimizer step, over all ranks: the effective batch."""
        return self.effective_batch or self.batch * self.ranks

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients a rank accumulates for one optimizer step."""
        return self.images_per_step // (self.batch * self.ranks)


_OPERATIONAL = frozenset(
    {
        'evaluate',
        'channels_last',
        'compile',
        'deterministic',
        'loader_workers',
        'threads_per_rank',
        'checkpoint_every_epochs',
        'checkpoint_every_steps',
        'checkpoint_every_minutes',
        'log_every_steps',
    }
)


# How an optimizer step is split over ranks. Only `images_per_step` matters: a stage may be resumed with another split of the same size.
_SPLIT = frozenset({'batch', 'ranks', 'effective_batch'})


def settings_of_result(settings: TrainSettings, model: ModelSettings) -> dict[str, Any]:
    """The settings that change the result of a stage, by their JSON names: a resumed stage must have the same values."""
    names = (field.name for field in dataclasses.fields(settings) if field.name not in _OPERATIONAL | _SPLIT)
    stage = {'images_per_step': settings.images_per_step, **{name: getattr(settings, name) for name in names}}
    return {camel_case(name): value for name, value in {**stage, **dataclasses.asdict(model)}.items()}


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """How the network is exported, and how closely ONNX Runtime must match PyTorch."""

    image_size: int = number(least=32, most=1024)
    preprocessing: Preprocessing = 'cairn'
    precision: Literal['fp32', 'fp16'] = 'fp32'
    scales: tuple[float, ...] | None = number(None, least=0.5, most=2)
    flip: bool | None = None
    check_images: int = number(16, least=1, most=1024)
    min_cosine: float | None = number(None, least=0, most=1)

    @property
    def min_cosine_or_default(self) -> float:
        """The minimum cosine between ONNX Runtime and PyTorch: `min_cosine`, or the default of the precision."""
        return {'fp32': 0.9999, 'fp16': 0.999}[self.precision] if self.min_cosine is None else self.min_cosine


@dataclass(frozen=True, kw_only=True)
class ListFile:
    """A list of images as a Parquet file, with its number of rows."""

    path: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A local file and the sha256 (lower-case hex) that it must have."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EvaluationFiles:
    """Parquet files: the query list, the index list and the ground truth."""

    query: str
    index: str
    ground_truth: str


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """One attempt at a training stage. Paths are local."""

    protocol: int
    stage: str
    settings: TrainSettings
    model: ModelSettings
    classes: int = number(least=1)
    list: ListFile
    image_root: str
    evaluation: EvaluationFiles | None = None
    start: StoredFile | None = None
    weights: StoredFile | None = None
    resume: StoredFile | None = None
    output_dir: str
    events_path: str
    stop_path: str


@dataclass(frozen=True, kw_only=True)
class ExporterConfig:
    """One attempt at an export. Paths are local."""

    protocol: int
    settings: ExportSettings
    model: ModelSettings
    checkpoint: StoredFile
    list: ListFile
    image_root: str
    output_dir: str
    events_path: str


@dataclass(frozen=True, kw_only=True)
class MatchingSettings:
    """How the same points of two images are found and counted."""

    long_side: int = number(800, least=64, most=4096)
    keypoints: int = number(1024, least=8, most=100_000)
    ratio: float = number(0.8, least=0, most=1)
    min_score: float = number(0.2, least=0, most=1)
    ransac_pixels: float = number(4.0, above=0, most=1000)
    confidence: float = number(0.99, above=0, most=0.999999)
    iterations: int = number(1000, least=1, most=1_000_000)


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """One local matching. Without a `matcher_path` the matcher is SIFT, without a `cache` nothing is kept."""

    settings: MatchingSettings
    matcher_path: str | None = None
    query_root: str
    index_root: str
    cache: str | None = None
    threads: int = number(least=1, most=1024)


@dataclass(frozen=True, kw_only=True)
class ImagePlace:
    """An image relative to its root: a file, or a part of a tar, with its file or tar as recorded in the list."""

    path: str
    tar: str | None = None
    offset: int | None = number(None, least=0)
    size: int | None = number(None, least=0)
    file_bytes: int | None = None
    file_changed_ms: int | None = None
    is_recorded: bool = False


@dataclass(frozen=True, kw_only=True)
class MatchingRequest:
    """An image of the queries to be matched with some of the index."""

    id: int
    query: ImagePlace
    images: list[ImagePlace]


def read_trainer_config(path: Path) -> TrainerConfig:
    """The stage's configuration.

    Raises:
        TrainerError: `invalid_configuration` with all errors, or `protocol_mismatch`.
    """
    config = _read(TrainerConfig, path)
    faults = list(_contradictions(config))
    if faults:
        raise TrainerError('invalid_configuration', f'{path}: ' + '; '.join(faults) + '.')
    return config


def _contradictions(config: TrainerConfig) -> Iterator[str]:
    settings = config.settings
    at_once = settings.batch * settings.ranks
    if settings.images_per_step % at_once != 0:
        product = f'batch x ranks, {settings.batch} x {settings.ranks} = {at_once}'
        yield f'settings.effectiveBatch is {settings.effective_batch}; it must be a multiple of {product}'
    if settings.last_epoch is not None and settings.last_epoch > settings.epochs:
        yield f'settings.lastEpoch is {settings.last_epoch}, but settings.epochs is {settings.epochs}'
    if settings.sampler == 'id_uniform' and settings.batch % settings.images_per_id != 0:
        yield f'settings.batch is {settings.batch}; the sampler id_uniform needs a multiple of imagesPerId, {settings.images_per_id}'
    if settings.sampler == 'id_uniform' and settings.shuffle_buffer is not None:
        yield 'settings.shuffleBuffer is set; the sampler id_uniform needs the images of a landmark together, so it cannot have one'
    if settings.evaluate != 'none' and config.evaluation is None:
        yield f'settings.evaluate is {settings.evaluate}, but evaluation is null'
    if settings.weights is not None and config.weights is None and config.start is None and config.resume is None:
        yield f'settings.weights is {settings.weights}, but weights is null'


def read_exporter_config(path: Path) -> ExporterConfig:
    """The export's configuration.

    Raises:
        TrainerError: `invalid_configuration` with all errors, or `protocol_mismatch`.
    """
    return _read(ExporterConfig, path)


def events_path_of(path: Path) -> str | None:
    """The `eventsPath` of a configuration that may otherwise be invalid; None if there is none."""
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    found = raw.get('eventsPath') if isinstance(raw, dict) else None
    return found if isinstance(found, str) else None


def _read(cls: type[T], path: Path) -> T:
    try:
        raw = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise TrainerError('invalid_configuration', f'The configuration {path} does not exist.') from error
    except (OSError, ValueError) as error:
        raise TrainerError('invalid_configuration', f'The configuration {path} cannot be read as JSON: {error}.') from error
    if not isinstance(raw, dict):
        raise TrainerError('invalid_configuration', f'The configuration {path} is not a JSON object.')
    if raw.get('protocol') != PROTOCOL:
        raise TrainerError(
            'protocol_mismatch',
            f'{path} uses protocol {raw.get("protocol")!r}; this trainer uses {PROTOCOL}. Use an image of this release.',
        )
    faults: list[str] = []
    config = parse_object(cls, raw, '', faults)
    if faults or config is None:
        raise TrainerError('invalid_configuration', f'{path}: ' + '; '.join(faults) + '.')
    return config
