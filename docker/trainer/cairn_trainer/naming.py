"""Converts Python's snake_case names to the camelCase names of the JSON."""

from __future__ import annotations


def camel_case(name: str) -> str:
    """`image_size` becomes `imageSize`."""
    head, *rest = name.split('_')
    return head + ''.join(part.capitalize() for part in rest)
