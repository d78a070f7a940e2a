"""Training and extraction decode alike: libs/retrieval/image/same-images.test.ts has the same test for the same files."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cairn_trainer.decoding import BadImageError, decode_rgb
from cairn_trainer.transforms import decode

_IMAGES = json.loads((Path(__file__).parent / 'images.json').read_text())


def _bytes_of(name: str) -> bytes:
    return base64.b64decode(_IMAGES[name]['base64'])


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """From the EXIF specification: the side on which row 0 and column 0 of the stored picture are shown."""
    return {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: np.rot90(np.fliplr(p)),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(np.fliplr(p), -1),
        8: np.rot90,
    }[turn](pixels)


@pytest.mark.parametrize('name', sorted(_IMAGES))
def test_an_image_is_decoded_as_in_extraction(name: str) -> None:
    expected = _IMAGES[name]
    data = _bytes_of(name)
    if expected.get('refused'):
        with pytest.raises(BadImageError):
            decode_rgb(data, fills_truncated=False)
        return
    picture = _turned(np.asarray(Image.open(io.BytesIO(_bytes_of(expected['shows'])))), expected.get('turn', 1))
    seen = decode_rgb(data, fills_truncated=False)
    assert seen.shape == picture.shape
    assert np.abs(seen.astype(int) - picture).mean() <= expected.get('distance', 0)


def test_only_reference_filled_fills_a_truncated_jpeg() -> None:
    data = _bytes_of('cut-off.jpg')
    for preprocessing in ('cairn', 'reference'):
        with pytest.raises(BadImageError):
            decode(data, 32, preprocessing)
    filled = decode(data, 32, 'reference-filled')
    whole = decode(_bytes_of('plain.jpg'), 32, 'reference')
    assert np.array_equal(filled[:10], whole[:10])
    assert np.array_equal(filled[-2:, -8:], np.full((2, 8, 3), 128)), 'grey in place of what is missing'
