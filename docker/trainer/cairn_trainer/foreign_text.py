"""Text of third-party files, made safe for messages, events and reports."""

from __future__ import annotations

import re

_LONGEST_NAME = 200
# PostgreSQL rejects NUL and JSON readers reject lone surrogates; the others would move a terminal's cursor or hide text.
_UNFIT = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]')


def plain_text(text: str) -> str:
    """The text with control characters (except line ends and tabs) and lone surrogates escaped, as `\\x00`."""
    return _UNFIT.sub(lambda found: found[0].encode('unicode_escape').decode('ascii'), text)


def plain_name(name: str) -> str:
    """A name on one line, with a maximum length.

    An escaped or shortened name has a backslash or ends in an ellipsis, so that it does not match a known name.
    """
    shown = plain_text(name[:_LONGEST_NAME]).replace('\n', '\\n').replace('\t', '\\t')
    return shown if len(name) <= _LONGEST_NAME else f'{shown}…'
