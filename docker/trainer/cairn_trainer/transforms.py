"""From an image file's bytes to the network's square of pixels.

Everything here works on uint8; the network's input is normalised in one batch, on its device.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cairn_trainer.config import Preprocessing
from cairn_trainer.decoding import BadImageError as BadImageError
from cairn_trainer.decoding import Pixels as Pixels
from cairn_trainer.decoding import decode_rgb

_ERASE_AREA = (0.02, 0.2)
_ERASE_ASPECT = (0.3, 3.33)
_ERASE_ATTEMPTS = 100


class Rectangle(NamedTuple):
    """A part of an image in pixels; empty when its height is 0."""

    top: int
    left: int
    height: int
    width: int


def decode(data: bytes, size: int, preprocessing: Preprocessing) -> Pixels:
    """An image file's bytes as a square of `size` pixels: upright by its EXIF orientation, RGB, aspect ignored.

    `cairn` resizes bilinearly with antialiasing (a triangle filter as wide as the step between pixels), `reference` without, like OpenCV.
    A truncated JPEG is an error except with `reference-filled`, which fills it like OpenCV.

    Raises:
        BadImageError: the bytes are not a complete image.
    """
    upright = decode_rgb(data, fills_truncated=preprocessing == 'reference-filled')
    if preprocessing != 'cairn':
        return resize_bilinear(upright, size)
    return np.asarray(Image.fromarray(upright).resize((size, size), Image.Resampling.BILINEAR))


def resize_bilinear(image: Pixels, size: int) -> Pixels:
    """A square of `size` pixels by bilinear interpolation of the four nearest pixels: half-pixel centres, no antialiasing.

    Arithmetic as in OpenCV for 8-bit images (INTER_LINEAR): weights of 11 bits, the vertical sum truncated to 4 + 16 bits before rounding.
    """
    height, width, _ = image.shape
    left, right, weight_right = _neighbours(width, size, is_vertical=False)
    top, bottom, weight_bottom = _neighbours(height, size, is_vertical=True)
    weight_left, weight_top = 2048 - weight_right, 2048 - weight_bottom

    def rows(index: NDArray[np.intp]) -> NDArray[np.int32]:
        chosen = image[index].astype(np.int32)
        return chosen[:, left] * weight_left[None, :, None] + chosen[:, right] * weight_right[None, :, None]

    above = (weight_top[:, None, None] * (rows(top) >> 4)) >> 16
    below = (weight_bottom[:, None, None] * (rows(bottom) >> 4)) >> 16
    return ((above + below + 2) >> 2).astype(np.uint8)


@functools.lru_cache(maxsize=4096)
def _neighbours(length: int, size: int, *, is_vertical: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32]]:
    """For each of `size` output pixels: the two input pixels around its centre and the second one's weight of 2048."""
    centre = ((np.arange(size) + 0.5) * (length / size) - 0.5).astype(np.float32)
    first = np.floor(centre).astype(np.intp)
    fraction = centre - first
    if not is_vertical:
        # At the borders both neighbours are the same pixel; OpenCV drops the fraction horizontally but not vertically, which affects
        # rounding.
        fraction[(first < 0) | (first >= length - 1)] = 0
    last = length - 1
    return np.clip(first, 0, last), np.clip(first + 1, 0, last), np.rint(fraction * 2048).astype(np.int32)


class Augmentation(NamedTuple):
    """The augmentation of one training image, in this order: flip, black border and crop, erasing (after normalisation, to the mean)."""

    is_flipped: bool
    crop_top: int
    crop_left: int
    erased: Rectangle


class Augmenter:
    """Draws and applies augmentations. A draw depends only on (seed, epoch, position in the epoch), not on the worker or rank."""

    def __init__(self, size: int, pad: int, flip: float, erasing: float, seed: int) -> None:
        """`pad` in pixels on each side; `flip` and `erasing` are probabilities."""
        self._size = size
        self._pad = pad
        self._flip = flip
        self._erasing = erasing
        self._seed = seed

    def draw(self, epoch: int, position: int) -> Augmentation:
        """`position` counts over all ranks within the epoch."""
        random = np.random.Generator(np.random.PCG64([self._seed, epoch, position]))
        return Augmentation(
            is_flipped=bool(random.random() < self._flip),
            crop_top=int(random.integers(2 * self._pad + 1)),
            crop_left=int(random.integers(2 * self._pad + 1)),
            erased=self._draw_rectangle(random) if random.random() < self._erasing else Rectangle(0, 0, 0, 0),
        )

    def _draw_rectangle(self, random: np.random.Generator) -> Rectangle:
        """Area uniform in 2 to 20 %, aspect uniform in 0.3 to 3.33 (arXiv 1708.04896 draws both so); retried until it fits."""
        for _ in range(_ERASE_ATTEMPTS):
            area = random.uniform(*_ERASE_AREA) * self._size * self._size
            aspect = random.uniform(*_ERASE_ASPECT)
            height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if 0 < height < self._size and 0 < width < self._size:
                top, left = random.integers(self._size - height + 1), random.integers(self._size - width + 1)
                return Rectangle(int(top), int(left), height, width)
        return Rectangle(0, 0, 0, 0)

    def apply(self, image: Pixels, augmentation: Augmentation) -> Pixels:
        """Flips, pads and crops; the caller does the erasing after normalisation."""
        if augmentation.is_flipped:
            image = image[:, ::-1]
        if self._pad == 0:
            return image
        down, right = self._pad - augmentation.crop_top, self._pad - augmentation.crop_left
        moved = np.zeros_like(image)
        moved[_target(down), _target(right)] = image[_target(-down), _target(-right)]
        return moved


def _target(shift: int) -> slice:
    """The target range of an axis that is moved by `shift`; for `-shift`, the source range."""
    return slice(shift, None) if shift >= 0 else slice(None, shift)
