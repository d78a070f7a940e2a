"""Writes images.json: small files of every kind that training and extraction must decode identically, and the expected results.

Run by hand (`python docker/trainer/tests/make_images.py`) when a kind is added; the result is in the repository. Each entry has the bytes
of a file in base64, and says either that it is rejected, or which picture it shows (the pixels of a PNG among them), its orientation, and
how far the pixels of a lossy format may differ on average. Pictures are computed, never decoded by the decoders under test.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = Path(__file__).parent / 'images.json'
WIDTH, HEIGHT = 48, 32

Expected = dict[str, object]


def main() -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1), (x + y) * 2], -1).astype(np.uint8)
    rgb[:10, :14] = [230, 30, 30]
    grey = (rgb.astype(np.uint16).sum(2) // 3).astype(np.uint8)
    pictures = {
        'colour.png': rgb,
        'grey.png': np.repeat(grey[:, :, None], 3, 2),
        'palette.png': _quantised(rgb),
        'frame.png': _frame(_quantised(rgb)),
        'inks.png': _from_inks(_inks(rgb)),
    }
    files, expected = _files(rgb, grey)
    files |= {name: _png(pixels) for name, pixels in pictures.items()}
    expected |= {name: {'shows': name} for name in pictures}
    entries = {name: {**expected[name], 'base64': base64.b64encode(data).decode()} for name, data in files.items()}
    IMAGES.write_text(json.dumps(entries, indent=2, sort_keys=True) + '\n')


def _files(rgb: np.ndarray, grey: np.ndarray) -> tuple[dict[str, bytes], dict[str, Expected]]:
    files: dict[str, bytes] = {}
    expected: dict[str, Expected] = {}

    def add(name: str, data: bytes, shows: str | None = 'colour.png', *, turn: int = 1, distance: float = 0.0) -> None:
        files[name] = data
        expected[name] = {'refused': True} if shows is None else {'shows': shows, 'turn': turn, 'distance': distance}

    image = Image.fromarray(rgb)
    jpeg = _encoded(image, 'JPEG', quality=95, subsampling=0)
    lossy = 3.0
    add('plain.jpg', jpeg, distance=lossy)
    add('progressive.jpg', _encoded(image, 'JPEG', quality=95, subsampling=0, progressive=True), distance=lossy)
    add('grey.jpg', _encoded(Image.fromarray(grey), 'JPEG', quality=95), 'grey.png', distance=lossy)
    for turn in range(1, 9):
        add(f'orientation-{turn}.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([_short(0x112, turn)])), turn=turn, distance=lossy)
    six = _short(0x112, 6)
    exif = b'Exif\0\0' + _tiff([six])
    add('orientation-big-endian.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([_short(0x112, 6, '>')], '>')), turn=6, distance=lossy)
    add('orientation-as-byte.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([(0x112, 1, 1, b'\x06')])), turn=6, distance=lossy)
    add('orientation-as-long.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([(0x112, 4, 1, struct.pack('<I', 6))])), turn=6, distance=lossy)
    add('orientation-as-text.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([(0x112, 2, 2, b'6\0')])), distance=lossy)
    add('orientation-9.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([_short(0x112, 9)])), distance=lossy)
    add('orientation-0.jpg', _app1(jpeg, b'Exif\0\0' + _tiff([_short(0x112, 0)])), distance=lossy)
    add('orientation-header-twice.jpg', _app1(jpeg, b'Exif\0\0' + exif), distance=lossy)
    add('orientation-second-app1.jpg', _app1(_app1(jpeg, exif), _XMP), distance=lossy)
    add('orientation-first-app1.jpg', _app1(_app1(jpeg, _XMP), exif), turn=6, distance=lossy)
    add(
        'orientation-bad-rational.jpg',
        _app1(jpeg, b'Exif\0\0' + _tiff([six, (0x11A, 10, 1, struct.pack('<ii', -1, 0))])),
        turn=6,
        distance=lossy,
    )
    add(
        'orientation-nan.jpg',
        _app1(jpeg, b'Exif\0\0' + _tiff([six, (0x11A, 11, 1, struct.pack('<f', float('nan')))])),
        turn=6,
        distance=lossy,
    )
    add('orientation-cut-off.jpg', _app1(jpeg, exif[:24]), distance=lossy)
    add('orientation-xmp.jpg', _app1(jpeg, _XMP), distance=lossy)
    for name, data in _cmyk_jpegs(rgb).items():
        add(name, data, 'inks.png', distance=lossy)

    add('rgb.png', _png(rgb))
    add('rgb-16-bit.png', _png(rgb.astype(np.uint16) * 257 - 1 * (rgb % 2).astype(np.uint16)))
    add('rgba.png', _png(np.dstack([rgb, np.full((HEIGHT, WIDTH, 1), 7, np.uint8)])))
    add('grey-8-bit.png', _png(grey), 'grey.png')
    add('grey-16-bit.png', _png(grey.astype(np.uint16) * 256 + 77), 'grey.png')
    add('grey-alpha.png', _png(np.dstack([grey, 255 - grey])), 'grey.png')
    add('palette-8-bit.png', _encoded(_paletted(rgb), 'PNG'), 'palette.png')
    add('palette-transparent.png', _encoded(_paletted(rgb), 'PNG', transparency=3), 'palette.png')
    add('orientation.png', _png(rgb, exif=_tiff([six])), turn=6)

    tiff = {'compression': 'tiff_lzw'}
    add('rgb.tif', _encoded(image, 'TIFF', **tiff))
    add('rgba.tif', _encoded(Image.fromarray(np.dstack([rgb, np.full((HEIGHT, WIDTH, 1), 7, np.uint8)])), 'TIFF', **tiff))
    add('grey-8-bit.tif', _encoded(Image.fromarray(grey), 'TIFF', **tiff), 'grey.png')
    add('grey-16-bit.tif', _encoded(Image.fromarray(grey.astype(np.uint16) * 256 + 77), 'TIFF'), 'grey.png')
    add('palette.tif', _encoded(_paletted(rgb), 'TIFF', **tiff), 'palette.png')
    add('orientation.tif', _encoded(image, 'TIFF', tiffinfo={0x112: 6}), turn=6)
    add('cmyk.tif', _encoded(Image.frombytes('CMYK', (WIDTH, HEIGHT), _inks(rgb).tobytes()), 'TIFF'), 'inks.png')
    add('jpeg.tif', _encoded(image, 'TIFF', compression='jpeg', quality=95), distance=4.0)
    add('float.tif', _encoded(Image.fromarray(grey.astype(np.float32)), 'TIFF'), None)
    add('1-bit.tif', _encoded(Image.fromarray(grey > 99), 'TIFF'), None)
    add('ycbcr.tif', _encoded(image.convert('YCbCr'), 'TIFF'), None)

    add('lossless.webp', _encoded(image, 'WEBP', lossless=True))
    add('lossy.webp', _encoded(image, 'WEBP', quality=95), distance=4.0)
    add('orientation.webp', _encoded(image, 'WEBP', lossless=True, exif=exif), turn=6)
    other = Image.fromarray(255 - rgb)
    add('animated.webp', _encoded(image, 'WEBP', lossless=True, save_all=True, append_images=[other]), None)

    whole = _encoded(_paletted(rgb), 'GIF')
    add('whole.gif', whole, 'palette.png')
    add('animated.gif', _encoded(_paletted(rgb), 'GIF', save_all=True, append_images=[_paletted(255 - rgb)]), 'palette.png')
    add('offset.gif', _with_offset(whole), 'frame.png')

    add('cut-off.jpg', jpeg[: len(jpeg) * 9 // 10], None)
    add('cut-off.png', files['rgb.png'][:-200], None)
    png = files['rgb.png']
    at = png.index(b'IDAT') - 4
    add('long-text.png', png[:at] + _chunk(b'zTXt', b'k\0\0' + zlib.compress(b' ' * 2**21)) + png[at:])
    add('damaged-chunk.png', png[:-13] + bytes([png[-13] ^ 1]) + png[-12:], None)  # the checksum of its pixels
    add('unknown-chunk.png', png[:at] + _chunk(b'ABCD', b'') + png[at:], None)
    for name in ('lzw', 'adobe_deflate', 'packbits'):
        add(f'{name}.tif', _encoded(image, 'TIFF', compression=name if name == 'packbits' else f'tiff_{name}'))
    for name in ('lzma', 'zstd'):
        add(f'{name}.tif', _encoded(image, 'TIFF', compression=name), None)
    add('head-alone.jpg', jpeg[:20], None)
    add('empty.jpg', b'', None)
    add('text.jpg', b'not an image at all', None)
    for kind in ('BMP', 'PPM', 'JPEG2000', 'AVIF', 'TGA', 'ICO', 'PCX', 'DDS', 'SGI'):
        add(f'{kind.lower()}.jpg', _encoded(image, kind), None)
    add('svg.jpg', b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>', None)
    return files, expected


_XMP = (
    b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description tiff:Orientation="6" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/></rdf:RDF></x:xmpmeta>'
)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _png(pixels: np.ndarray, exif: bytes | None = None) -> bytes:
    """A PNG written with zlib only: [H, W] or [H, W, 1 to 4] of 8 or 16 bits."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width, channels = pixels.shape
    bits = pixels.dtype.itemsize * 8
    rows = b''.join(b'\0' + row.astype('>u2' if bits == 16 else np.uint8).tobytes() for row in pixels)

    head = struct.pack('>IIBBBBB', width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b'IHDR', head), *([] if exif is None else [(b'eXIf', exif)]), (b'IDAT', zlib.compress(rows, 9)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def _levels(rgb: np.ndarray) -> np.ndarray:
    """Palette indices: 2 bits per channel."""
    top = (rgb >> 6).astype(np.uint8)
    return top[:, :, 0] * 16 + top[:, :, 1] * 4 + top[:, :, 2]


def _quantised(rgb: np.ndarray) -> np.ndarray:
    return ((rgb >> 6) * 85).astype(np.uint8)


def _paletted(rgb: np.ndarray) -> Image.Image:
    image = Image.frombytes('P', (rgb.shape[1], rgb.shape[0]), _levels(rgb).tobytes())
    image.putpalette(b''.join(bytes([(n >> 4) * 85, (n >> 2 & 3) * 85, (n & 3) * 85]) for n in range(64)))
    return image


_OFFSET = (5, 3)


def _frame(rgb: np.ndarray) -> np.ndarray:
    canvas = np.zeros((HEIGHT + 10, WIDTH + 9, 3), np.uint8)
    canvas[_OFFSET[1] : _OFFSET[1] + HEIGHT, _OFFSET[0] : _OFFSET[0] + WIDTH] = rgb
    return canvas


def _with_offset(gif: bytes) -> bytes:
    """The same frame on a larger canvas."""
    at = gif.index(b'\x2c' + struct.pack('<HHHH', 0, 0, WIDTH, HEIGHT))
    data = bytearray(gif)
    struct.pack_into('<HH', data, 6, WIDTH + 9, HEIGHT + 10)
    struct.pack_into('<HH', data, at + 1, *_OFFSET)
    return bytes(data)


def _inks(rgb: np.ndarray) -> np.ndarray:
    """Inks with a non-trivial conversion: some black everywhere."""
    black = np.full((HEIGHT, WIDTH, 1), 40, np.uint8)
    return np.dstack([255 - rgb, black])


def _from_inks(inks: np.ndarray) -> np.ndarray:
    """OpenCV's conversion."""
    ink = inks.astype(np.int32)
    light = 255 - ink[:, :, 3:]
    return (light - (ink[:, :, :3] * light >> 8)).astype(np.uint8)


def _cmyk_jpegs(rgb: np.ndarray) -> dict[str, bytes]:
    """Pillow writes inks inverted, with Adobe's marker. Without the marker they still count as inverted."""
    adobe = _encoded(Image.frombytes('CMYK', (WIDTH, HEIGHT), _inks(rgb).tobytes()), 'JPEG', quality=95, subsampling=0)
    at = adobe.index(b'\xff\xee')
    (length,) = struct.unpack_from('>H', adobe, at + 2)
    return {'cmyk-adobe.jpg': adobe, 'cmyk-plain.jpg': adobe[:at] + adobe[at + 2 + length :]}


def _app1(jpeg: bytes, content: bytes) -> bytes:
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(content) + 2) + content + jpeg[2:]


Entry = tuple[int, int, int, bytes]


def _short(tag: int, value: int, order: str = '<') -> Entry:
    return (tag, 3, 1, struct.pack(f'{order}H', value))


def _tiff(entries: list[Entry], order: str = '<') -> bytes:
    head, data = b'', b''
    at = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        head += struct.pack(f'{order}HHI', tag, kind, count)
        if len(value) <= 4:
            head += value.ljust(4, b'\0')
        else:
            head += struct.pack(f'{order}I', at + len(data))
            data += value
    start = b'II*\0' if order == '<' else b'MM\0*'
    return start + struct.pack(f'{order}IH', 8, len(entries)) + head + b'\0' * 4 + data


if __name__ == '__main__':
    main()
