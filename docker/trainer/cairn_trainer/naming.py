"""Names on the wire are camelCase, in Python snake_case; this is the one place that turns one into the other."""

from __future__ import annotations


def camel_case(name: str) -> str:
    """`image_size` becomes `imageSize`."""
    head, *rest = name.split('_')
    return head + ''.join(part.capitalize() for part in rest)
