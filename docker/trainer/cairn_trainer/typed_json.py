"""JSON objects as dataclasses: camelCase keys become snake_case fields, with their types and the ranges of numbers checked.

Unknown keys are ignored, so that a newer agent can run an older trainer.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar

from cairn_trainer.errors import TrainerError

T = TypeVar('T')


def number(default: Any = dataclasses.MISSING, *, least: float | None = None, most: float | None = None, above: float | None = None) -> Any:
    """A number field with its range: `least <= x <= most`, `x > above`."""
    return dataclasses.field(default=default, metadata={'least': least, 'most': most, 'above': above})


def parse_json(cls: type[T], text: str | bytes, what: str) -> T:
    """A message as a dataclass; `what` names it in errors.

    Raises:
        TrainerError: `invalid_configuration` with all errors.
    """
    faults: list[str] = []
    try:
        parsed = parse_object(cls, json.loads(text), '', faults)
    except ValueError as error:
        raise TrainerError('invalid_configuration', f'{what} cannot be read as JSON: {error}.') from error
    if faults or parsed is None:
        raise TrainerError('invalid_configuration', f'{what}: ' + '; '.join(faults) + '.')
    return parsed


def parse_object(cls: type[T], raw: Any, where: str, faults: list[str]) -> T | None:
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
        return parse_object(hint, raw, name, faults)  # type: ignore[type-var, arg-type]
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
