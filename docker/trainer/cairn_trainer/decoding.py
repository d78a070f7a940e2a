"""Which files are images, and their pixels: the same rules as in extraction (libs/retrieval/image), tested with tests/images.json.

An image is a JPEG, PNG, WebP, GIF (its first frame) or TIFF (its first page) by its first bytes, whatever its name. The pixels are those
of `cv2.imread`: 8 bits of RGB, the upper 8 of 16; colour profiles are not applied, alpha is dropped without blending. The orientation
    comes from EXIF; XMP is ignored.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""uint8 [height, width, 3], RGB."""

Format = Literal['JPEG', 'PNG', 'WEBP', 'GIF', 'TIFF']

_ORIENTATION = 0x0112
_UNKNOWN = 'not an image of a known format'
_JPEG_IN_TIFF = 7
# None, LZW, JPEG, Deflate, PackBits, the earlier number of Deflate. Builds of libtiff differ in the others.
_TIFF_COMPRESSIONS = {1, 5, _JPEG_IN_TIFF, 8, 32773, 32946}
_PNG_CHUNKS = (b'IHDR', b'PLTE', b'IDAT', b'IEND')
_PNG_TEXTS = (b'tEXt', b'zTXt', b'iTXt')
_END_OF_IMAGE = b'\xff\xd9'


class BadImageError(Exception):
    """An image that cannot be read; the message is the reason, without paths or addresses."""


def decode_rgb(data: bytes, *, fills_truncated: bool) -> Pixels:
    """The upright pixels of an image file's bytes.

    With `fills_truncated` a truncated JPEG is read as OpenCV reads it, with the missing part in grey.

    Raises:
        BadImageError: the bytes are not a complete image.
    """
    kind = sniff(data)
    if kind is None:
        raise BadImageError(_UNKNOWN)
    turn = orientation(data, kind)
    if kind == 'WEBP' and data[12:16] == b'VP8X' and data[20:21] and data[20] & 2:
        raise BadImageError('an animated WebP')
    if kind == 'PNG':
        data = _plain_png(data)
    if kind == 'TIFF':
        directory = read_directory(data)
        _require_plain_tiff(directory)
        data = _without_orientation(data, directory)  # Pillow would rotate it by its own rules
    if kind == 'JPEG' and fills_truncated:
        data += _END_OF_IMAGE
    try:
        # Pillow reads the resolution from EXIF and warns if it is invalid.
        with warnings.catch_warnings(action='ignore'), Image.open(io.BytesIO(data), formats=[kind]) as image:
            pixels = _rgb(image, kind)
    except MemoryError:
        raise
    except Exception as error:
        raise BadImageError(_reason(error)) from error
    return _turned(pixels, turn)


def sniff(data: bytes) -> Format | None:
    """The format by the first bytes, or None."""
    if data.startswith(b'\xff\xd8\xff'):
        return 'JPEG'
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        return 'PNG'
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'WEBP'
    if data[:6] in (b'GIF87a', b'GIF89a'):
        return 'GIF'
    if data[:4] in (b'II*\0', b'MM\0*'):
        return 'TIFF'
    return None


def _rgb(image: Image.Image, kind: Format) -> Pixels:
    if kind == 'GIF':
        return _first_frame(image)
    if image.mode.startswith('I'):  # 16-bit grey: convert() would keep the lower 8 bits
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == 'CMYK':
        ink = np.asarray(image).astype(np.int32)
        light = 255 - ink[:, :, 3:]
        return (light - (ink[:, :, :3] * light >> 8)).astype(np.uint8)
    return np.asarray(image.convert('RGB'))


def _first_frame(image: Image.Image) -> Pixels:
    """On a black canvas of the size in the file's header: a frame may cover part of it and have transparent pixels."""
    left, top, right, bottom = image.tile[0][1]
    frame = np.asarray(image.convert('RGBA'))[top:bottom, left:right]
    canvas = np.zeros((image.height, image.width, 3), np.uint8)
    canvas[top:bottom, left:right] = frame[:, :, :3] * (frame[:, :, 3:] > 0)
    return canvas


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return _UNKNOWN
    return str(error) or type(error).__name__


class Directory(NamedTuple):
    """The first directory of a TIFF or EXIF block: the offset of each tag's 12-byte entry."""

    data: bytes
    order: Literal['<', '>']
    entries: dict[int, int]

    def values(self, tag: int, default: int) -> list[int]:
        """The values of an entry of type BYTE, SHORT or LONG."""
        at = self.entries.get(tag)
        if at is None:
            return [default]
        kind, count = struct.unpack_from(f'{self.order}HI', self.data, at + 2)
        code, size = {1: ('B', 1), 3: ('H', 2), 4: ('I', 4)}.get(kind, ('', 0))
        if size == 0 or count > 16:
            return []
        place = at + 8 if count * size <= 4 else struct.unpack_from(f'{self.order}I', self.data, at + 8)[0]
        if place + count * size > len(self.data):
            return []
        return list(struct.unpack_from(f'{self.order}{count}{code}', self.data, place))


def read_directory(data: bytes) -> Directory:
    """Empty if the block is not a TIFF; a truncated block gives the entries before its end."""
    entries: dict[int, int] = {}
    order: Literal['<', '>'] = '<' if data[:2] == b'II' else '>'
    if data[:4] in (b'II*\0', b'MM\0*') and len(data) >= 8:
        (start,) = struct.unpack_from(f'{order}I', data, 4)
        if start + 2 <= len(data):
            (count,) = struct.unpack_from(f'{order}H', data, start)
            for at in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12):
                entries.setdefault(struct.unpack_from(f'{order}H', data, at)[0], at)
    return Directory(data, order, entries)


def orientation(data: bytes, kind: Format) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none.

    As OpenCV reads it (modules/imgcodecs/src/exif.cpp): 16 bits at the position of the value, whatever its type; in a JPEG only from
    the first APP1 segment.
    """
    block = {'JPEG': _exif_of_jpeg, 'PNG': _exif_of_png, 'WEBP': _exif_of_webp, 'TIFF': bytes, 'GIF': lambda _: b''}[kind](data)
    directory = read_directory(block)
    at = directory.entries.get(_ORIENTATION)
    value = 1 if at is None else struct.unpack_from(f'{directory.order}H', block, at + 8)[0]
    return value if 1 <= value <= 8 else 1


def _exif_of_jpeg(data: bytes) -> bytes:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            at += 2
        elif marker == 0xDA:  # the scan begins
            break
        else:
            (length,) = struct.unpack_from('>H', data, at + 2)
            if marker == 0xE1:
                return data[at + 10 : at + 2 + length]  # after "Exif", 0, 0
            at += 2 + length
    return b''


def _exif_of_png(data: bytes) -> bytes:
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from('>I', data, at)
        if data[at + 4 : at + 8] == b'eXIf':
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    return b''


def _plain_png(data: bytes) -> bytes:
    """The file without its texts, of which Pillow accepts only short ones.

    Raises:
        BadImageError: a chunk that the pixels need is damaged or unknown. Pillow does not check those of the pixels, libpng does.
    """
    kept, at = [data[:8]], 8
    while at + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if kind[:1].isupper():
            if kind not in _PNG_CHUNKS:
                raise BadImageError('a PNG with a chunk of an unknown kind')
            if zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from('>I', data, end - 4)[0]:
                raise BadImageError('a PNG with a damaged chunk')
        if kind not in _PNG_TEXTS:
            kept.append(data[at:end])
        at = end
    return b''.join([*kept, data[at:]])


def _exif_of_webp(data: bytes) -> bytes:
    for name, at, length in _chunks_of_webp(data):
        if name == b'EXIF':
            return data[at : at + length].removeprefix(b'Exif\0\0')
    return b''


def _chunks_of_webp(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from('<I', data, at + 4)
        yield data[at : at + 4], at + 8, length
        at += 8 + length + length % 2


def _require_plain_tiff(directory: Directory) -> None:
    """Accepts the kinds of TIFF that all readers agree on: 8-bit grey, palette, RGB, RGBA or CMYK, or 16-bit grey or RGB."""
    bits, (colour, *_), (samples, *_) = directory.values(258, 1), _some(directory, 262, -1), _some(directory, 277, 1)
    kinds = {(6, 3, 8)} if directory.values(259, 1) == [_JPEG_IN_TIFF] else set()
    kinds |= {(1, 1, 8), (1, 1, 16), (2, 3, 8), (2, 3, 16), (2, 4, 8), (3, 1, 8), (5, 4, 8)}
    is_plain = len(bits) in (1, samples) and len(set(bits)) == 1 and (colour, samples, bits[0]) in kinds
    is_plain &= set(directory.values(259, 1)) <= _TIFF_COMPRESSIONS
    is_plain &= directory.values(284, 1) == [1] and set(directory.values(339, 1)) == {1}
    # The last of four RGB samples is alpha, not premultiplied.
    is_plain &= (colour, samples) != (2, 4) or directory.values(338, 0) == [2]
    if not is_plain:
        raise BadImageError('a TIFF other than 8-bit grey, palette, RGB, RGBA, CMYK, or 16-bit grey, RGB')


def _some(directory: Directory, tag: int, default: int) -> list[int]:
    return directory.values(tag, default) or [default]


def _without_orientation(data: bytes, directory: Directory) -> bytes:
    at = directory.entries.get(_ORIENTATION)
    return data if at is None else data[: at + 2] + struct.pack(f'{directory.order}HIHH', 3, 1, 1, 0) + data[at + 12 :]


def _turned(pixels: Pixels, turn: int) -> Pixels:
    if turn in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
