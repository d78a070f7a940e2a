import io

import numpy as np
import pytest
from PIL import Image

from cairn_trainer import transforms
from cairn_trainer.transforms import Augmenter, BadImageError, Rectangle, decode, resize_bilinear


def _bytes(image: Image.Image, kind='PNG', **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _picture(height=30, width=50):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_cairn_preprocessing_is_the_antialiased_triangle_filter():
    picture = Image.fromarray(_picture(300, 200))
    expected = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    found = decode(_bytes(picture), 32, 'cairn')
    assert found.shape == (32, 32, 3)
    assert np.array_equal(found, expected)
    # An average over many pixels has little noise; without antialiasing the noise stays.
    assert found.std() < decode(_bytes(picture), 32, 'reference').std() / 2


# From OpenCV 5.0.0: cv2.resize(a, (4, 4), interpolation=cv2.INTER_LINEAR) of the arrays below.
SMALLER = [[34, 137, 119, 199], [122, 151, 153, 72], [188, 107, 108, 137], [61, 141, 123, 89]]
LARGER = [[37, 106, 95, 8], [58, 127, 116, 29], [99, 168, 157, 70], [119, 188, 177, 90]]


@pytest.mark.parametrize(('height', 'width', 'channel', 'expected'), [(7, 5, 0, SMALLER), (2, 3, 1, LARGER)])
def test_reference_preprocessing_is_opencvs_bilinear_to_the_bit(height, width, channel, expected):
    picture = (np.arange(height * width * 3).reshape(height, width, 3) * 37 % 251).astype(np.uint8)
    assert resize_bilinear(picture, 4)[..., channel].tolist() == expected


def test_an_image_is_turned_upright_by_its_exif_orientation():
    picture = Image.fromarray(_picture(40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    turned = decode(_bytes(picture, 'PNG', exif=exif), 32, 'cairn')
    assert np.array_equal(turned, decode(_bytes(picture.rotate(-90, expand=True)), 32, 'cairn'))


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1'])
def test_every_colour_mode_becomes_rgb(mode):
    image = Image.fromarray(_picture()).convert(mode)
    assert decode(_bytes(image, 'TIFF' if mode == 'CMYK' else 'PNG'), 32, 'cairn').shape == (32, 32, 3)


def test_broken_bytes_are_a_bad_image_with_a_reason_that_can_be_read():
    whole = _bytes(Image.fromarray(_picture(200, 200)), 'JPEG')
    with pytest.raises(BadImageError, match='truncated'):
        decode(whole[: len(whole) // 2], 32, 'cairn')
    for junk in (b'', b'GIF89a', b'<html></html>'):
        with pytest.raises(BadImageError, match='not an image of a known format'):
            decode(junk, 32, 'cairn')


def test_the_same_seed_epoch_and_position_give_the_same_augmentation_and_another_gives_another():
    def draw(seed=1, epoch=2, position=3):
        return Augmenter(64, 5, 0.5, 1.0, seed).draw(epoch, position)

    assert draw() == draw()
    assert len({draw(), draw(seed=2), draw(epoch=3), draw(position=4)}) == 4


def test_draws_stay_in_their_ranges():
    augmenter = Augmenter(64, 5, 0.5, 0.8, seed=0)
    draws = [augmenter.draw(0, position) for position in range(2000)]
    assert 0.45 < np.mean([draw.is_flipped for draw in draws]) < 0.55
    assert {draw.crop_top for draw in draws} == {draw.crop_left for draw in draws} == set(range(11))
    erased = [draw.erased for draw in draws if draw.erased.height]
    assert 0.75 < len(erased) / len(draws) < 0.85
    areas = np.array([r.height * r.width for r in erased]) / 64**2
    assert 0.015 < areas.min() < 0.05
    assert 0.17 < areas.max() < 0.21
    assert 0.1 < areas.mean() < 0.12
    # Height to width, for large rectangles, which have small rounding errors.
    aspects = np.array([r.height / r.width for r in erased if r.height * r.width > 300])
    assert 0.27 < aspects.min() < 0.4
    assert 3.1 < aspects.max() < 3.6
    assert 1.7 < aspects.mean() < 1.93
    for r in erased:
        assert 0 <= r.top <= 64 - r.height
        assert 0 <= r.left <= 64 - r.width


def test_a_rectangle_that_does_not_fit_is_drawn_again(monkeypatch):
    # Up to 81 % of the area with any shape: many are wider or higher than the image.
    monkeypatch.setattr(transforms, '_ERASE_AREA', (0.8, 0.81))
    augmenter = Augmenter(64, 0, 0.0, 1.0, seed=0)
    erased = [augmenter.draw(0, position).erased for position in range(200)]
    assert all(0 < r.height < 64 and 0 < r.width < 64 for r in erased)


def test_nothing_changes_when_nothing_is_asked_for():
    augmenter = Augmenter(16, 0, 0.0, 0.0, seed=0)
    picture = _picture(16, 16)
    drawn = augmenter.draw(0, 0)
    assert drawn.erased == Rectangle(0, 0, 0, 0)
    assert np.array_equal(augmenter.apply(picture, drawn), picture)


def test_flip_comes_first_then_the_crop_of_the_padded_image():
    augmenter = Augmenter(16, 3, 0.5, 1.0, seed=0)
    picture = _picture(16, 16)
    for position in range(60):
        drawn = augmenter.draw(0, position)
        padded = np.pad(picture[:, ::-1] if drawn.is_flipped else picture, ((3, 3), (3, 3), (0, 0)))
        expected = padded[drawn.crop_top : drawn.crop_top + 16, drawn.crop_left : drawn.crop_left + 16]
        assert np.array_equal(augmenter.apply(picture, drawn), expected)
