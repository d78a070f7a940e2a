"""Text that a file from elsewhere holds, as it may stand in a message, an event or a report."""

from __future__ import annotations

import re

_LONGEST_NAME = 200
# PostgreSQL takes no NUL and JSON's readers no half surrogate; the others would move a terminal's cursor or hide what follows.
_UNFIT = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]')


def plain_text(text: str) -> str:
    """The text with its controls (but for line ends and tabs) and half surrogates written out, as `\\x00`."""
    return _UNFIT.sub(lambda found: found[0].encode('unicode_escape').decode('ascii'), text)


def plain_name(name: str) -> str:
    """A name on one line, and not without end.

    What is written out has a backslash or ends in an ellipsis then, so that it is the name of nothing that we know.
    """
    shown = plain_text(name[:_LONGEST_NAME]).replace('\n', '\\n').replace('\t', '\\t')
    return shown if len(name) <= _LONGEST_NAME else f'{shown}…'
