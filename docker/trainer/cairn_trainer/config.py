"""The configuration of one stage, one export or one local matching, read from the JSON that the agent writes.

The JSON is camelCase; this module converts it to snake_case dataclasses. Unknown keys are ignored, so that a newer agent can
    run an older trainer. All errors are reported, not only the first.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from cairn_trainer import PROTOCOL
from cairn_trainer.errors import TrainerError

Preprocessing = Literal['cairn', 'reference', 'reference-filled']

T = TypeVar('T')


def _number(
    default: Any = dataclasses.MISSING, *, least: float | None = None, most: float | None = None, above: float | None = None
) -> Any:
    """A number field with its range: `least <= x <= most`, `x > above`."""
    return dataclasses.field(default=default, metadata={'least': least, 'most': most, 'above': above})


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The settings of the network, the same in every stage of a run."""

    backbone: str
    embedding_dim: int = _number(512, least=8, most=4096)
    gem_power: float = _number(3.0, least=1, most=10)
    init_seed: int = _number(0, least=0)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One training stage. `batch` is the images per rank and forward pass; `learning_rate` applies to a whole optimizer step."""

    weights: str | None = None
    weights_extent: Literal['all', 'upstream'] = 'all'
    list: str
    sampler: Literal['softmax', 'gld', 'id_uniform'] = 'softmax'
    partial_step: Literal['drop', 'fill'] = 'drop'
    images_per_id: int = _number(4, least=1, most=64)
    image_size: int = _number(least=32, most=1024)
    pad: int = _number(0, least=0, most=64)
    epochs: int = _number(least=1, most=200)
    last_epoch: int | None = _number(None, least=1, most=200)
    learning_rate: float = _number(above=0, most=10)
    bias_lr_factor: float = _number(2.0, above=0, most=10)
    momentum: float = _number(0.9, least=0, most=1)
    weight_decay: float = _number(5e-4, least=0, most=1)
    warmup_epochs: float = _number(0.0, least=0, most=50)
    batch: int = _number(least=2, most=4096)
    ranks: int = _number(least=1, most=64)
    effective_batch: int | None = _number(None, least=2, most=262_144)
    margin: float = _number(0.3, least=0, most=1)
    scale: float = _number(30.0, above=0, most=256)
    flip: float = _number(0.5, least=0, most=1)
    erasing: float = _number(1.0, least=0, most=1)
    seed: int = _number(0, least=0)
    preprocessing: Preprocessing = 'cairn'
    precision: Literal['fp32', 'fp16', 'bf16'] = 'fp32'
    max_bad_image_share: float = _number(0.05, least=0, most=1)
    evaluate: Literal['none', 'end', 'start_and_end', 'every_epoch'] = 'none'
    channels_last: bool = False
    compile: bool = False
    deterministic: bool = True
    loader_workers: int = _number(0, least=0, most=128)
    threads_per_rank: int = _number(0, least=0, most=128)
    checkpoint_every_epochs: int = _number(1, least=1, most=1_000_000)
    checkpoint_every_steps: int = _number(0, least=0, most=1_000_000)
    checkpoint_every_minutes: float = _number(10.0, least=0, most=1_000_000)
    log_every_steps: int = _number(10, least=1, most=1_000_000)

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

    image_size: int = _number(least=32, most=1024)
    preprocessing: Preprocessing = 'cairn'
    precision: Literal['fp32', 'fp16'] = 'fp32'
    scales: tuple[float, ...] | None = _number(None, least=0.5, most=2)
    check_images: int = _number(16, least=1, most=1024)
    min_cosine: float | None = _number(None, least=0, most=1)

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
    classes: int = _number(least=1)
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

    long_side: int = _number(800, least=64, most=4096)
    keypoints: int = _number(1024, least=8, most=100_000)
    ratio: float = _number(0.8, least=0, most=1)
    min_score: float = _number(0.2, least=0, most=1)
    ransac_pixels: float = _number(4.0, above=0, most=1000)
    confidence: float = _number(0.99, above=0, most=0.999999)
    iterations: int = _number(1000, least=1, most=1_000_000)


@dataclass(frozen=True, kw_only=True)
class MatchingConfig:
    """One local matching. Without a `matcher_path` the matcher is SIFT, without a `cache` nothing is kept."""

    settings: MatchingSettings
    matcher_path: str | None = None
    query_root: str
    index_root: str
    cache: str | None = None
    threads: int = _number(least=1, most=1024)


@dataclass(frozen=True, kw_only=True)
class ImagePlace:
    """An image relative to its root: a file, or a part of a tar, with its file or tar as recorded in the list."""

    path: str
    tar: str | None = None
    offset: int | None = _number(None, least=0)
    size: int | None = _number(None, least=0)
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
    config = _parse(cls, raw, '', faults)
    if faults or config is None:
        raise TrainerError('invalid_configuration', f'{path}: ' + '; '.join(faults) + '.')
    return config


def parse_json(cls: type[T], text: str | bytes, what: str) -> T:
    """A message as a dataclass of this module; `what` names it in errors.

    Raises:
        TrainerError: `invalid_configuration` with all errors.
    """
    faults: list[str] = []
    try:
        parsed = _parse(cls, json.loads(text), '', faults)
    except ValueError as error:
        raise TrainerError('invalid_configuration', f'{what} cannot be read as JSON: {error}.') from error
    if faults or parsed is None:
        raise TrainerError('invalid_configuration', f'{what}: ' + '; '.join(faults) + '.')
    return parsed


def _parse(cls: type[T], raw: Any, where: str, faults: list[str]) -> T | None:
    """Parses a JSON object into a dataclass; returns None and appends the errors to `faults` if it is invalid."""
    if not isinstance(raw, dict):
        faults.append(f'{where or "it"} must be an object')
        return None
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    before = len(faults)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        key = camel_case(field.name)
        name = f'{where}.{key}' if where else key
        if key in raw:
            values[field.name] = _value(hints[field.name], raw[key], name, field.metadata, faults)
        elif field.default is dataclasses.MISSING:
            faults.append(f'{name} is missing')
    return cls(**values) if len(faults) == before else None


def _value(hint: Any, raw: Any, name: str, limits: typing.Mapping[str, Any], faults: list[str]) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        if raw is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _parse(hint, raw, name, faults)  # type: ignore[type-var, arg-type]
    if origin is list:
        if not isinstance(raw, list):
            faults.append(f'{name} must be an array')
            return raw
        (item,) = typing.get_args(hint)
        return [_value(item, one, f'{name}[{at}]', limits, faults) for at, one in enumerate(raw)]
    if origin is tuple:
        if not isinstance(raw, list) or not raw:
            faults.append(f'{name} must be a list with at least one item')
            return ()
        return tuple(_value(typing.get_args(hint)[0], item, f'{name}.{index}', limits, faults) for index, item in enumerate(raw))
    if origin is Literal:
        allowed = typing.get_args(hint)
        if raw not in allowed:
            faults.append(f'{name} is {raw!r}; it must be one of {", ".join(allowed)}')
        return raw
    if hint is bool:
        if not isinstance(raw, bool):
            faults.append(f'{name} is {raw!r}; it must be true or false')
        return raw
    if hint is str:
        if not isinstance(raw, str) or not raw:
            faults.append(f'{name} must be a non-empty string')
        return raw
    return _in_range(hint, raw, name, limits, faults)


def _in_range(hint: Any, raw: Any, name: str, limits: typing.Mapping[str, Any], faults: list[str]) -> Any:
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if not is_number or (hint is int and raw != int(raw)):
        faults.append(f'{name} is {raw!r}; it must be {"a whole number" if hint is int else "a number"}')
        return raw
    least, most, above = limits.get('least'), limits.get('most'), limits.get('above')
    if least is not None and raw < least:
        faults.append(f'{name} is {raw}; it must be at least {least}')
    if most is not None and raw > most:
        faults.append(f'{name} is {raw}; it must be at most {most}')
    if above is not None and raw <= above:
        faults.append(f'{name} is {raw}; it must be greater than {above}')
    return hint(raw)


def camel_case(name: str) -> str:
    """`image_size` becomes `imageSize`."""
    head, *rest = name.split('_')
    return head + ''.join(part.capitalize() for part in rest)
