import errno
import os

import pytest

from cairn_trainer.errors import TrainerError
from cairn_trainer.image_files import FileState, ImageFiles, image_fault
from cairn_trainer.transforms import BadImageError


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'images'
    (root / 'train' / 'a').mkdir(parents=True)
    (root / 'train' / 'a' / 'one.jpg').write_bytes(b'one')
    (root / 'flat.jpg').write_bytes(b'flat')
    return root


@pytest.mark.parametrize('number', [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT])
def test_machine_faults_are_not_image_faults(number):
    assert image_fault(OSError(number, os.strerror(number))) is None


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        ('train/a/none.jpg', 'the file does not exist'),
        ('none.jpg', 'the file does not exist'),
        ('train/a/one.jpg/two.jpg', 'the file does not exist'),
        ('train/a', 'it is not a file'),
        ('train/a/loop', 'it is not a file'),
        (f'train/{"n" * 300}.jpg', 'it is not a file'),
    ],
)
def test_a_file_that_cannot_be_read_in_a_live_folder_is_a_bad_image(root, path, reason):
    (root / 'train' / 'a' / 'loop').symlink_to('loop')
    files = ImageFiles(root)
    assert files.read('train/a/one.jpg') == b'one'
    with pytest.raises(BadImageError, match=reason):
        files.read(path)


def _empty(root):
    root.rename(root.with_name('away'))
    root.mkdir()


def _replace(root):
    _empty(root)
    (root / 'train').mkdir()
    (root / 'train' / 'other').touch()


@pytest.mark.parametrize(
    'lose', [lambda root: root.rename(root.with_name('away')), _empty, _replace, lambda root: (root / 'train').rename(root / 'x')]
)
def test_in_a_folder_that_was_lost_no_image_is_bad(root, lose):
    files = ImageFiles(root)
    lose(root)
    with pytest.raises(TrainerError, match=r'The image folder .*images is gone, empty or not readable') as caught:
        files.read('train/a/one.jpg')
    assert caught.value.code == 'storage_failed'


def test_a_missing_or_empty_folder_is_rejected(tmp_path):
    (tmp_path / 'empty').mkdir()
    for name in ('none', 'empty'):
        with pytest.raises(TrainerError) as caught:
            ImageFiles(tmp_path / name)
        assert caught.value.code == 'storage_failed'


def _state_of(path):
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns // 1_000_000)


@pytest.mark.parametrize('change', ['another size', 'another time', 'not there before'])
def test_a_file_that_is_not_the_one_of_the_list_ends_the_stage(root, change):
    path = root / 'train' / 'a' / 'one.jpg'
    os.utime(path, ns=(10**18, 10**18 + 5_000_000))
    files, registered = ImageFiles(root), _state_of(path)
    assert files.read('train/a/one.jpg', registered) == b'one'
    assert files.read_piece('train/a/one.jpg', 1, 2, registered) == b'ne'
    if change == 'another size':
        path.write_bytes(b'three')
        os.utime(path, ns=(10**18, 10**18 + 5_000_000))
    if change == 'another time':
        os.utime(path, ns=(10**18, 10**18 + 6_000_000))
    if change == 'not there before':
        registered = FileState(None, None)
    for read in (lambda: files.read('train/a/one.jpg', registered), lambda: files.read_piece('train/a/one.jpg', 1, 2, registered)):
        with pytest.raises(TrainerError, match=r'one\.jpg has \d bytes, changed at .*; when the lists were made it ') as caught:
            read()
        assert caught.value.code == 'dataset_changed'


def test_a_time_just_before_a_millisecond_is_rounded_as_in_node(root):
    path = root / 'flat.jpg'
    os.utime(path, ns=(0, 1_764_500_000_123_999_950))
    # Math.floor of 1764500000 * 1000 + 123999950 / 1e6
    assert ImageFiles(root).read('flat.jpg', FileState(4, 1_764_500_000_124)) == b'flat'


def test_a_pipe_does_not_block(root):
    os.mkfifo(root / 'train' / 'a' / 'pipe.jpg')
    with pytest.raises(BadImageError, match='it is not a file'):
        ImageFiles(root).read('train/a/pipe.jpg')
    with pytest.raises(TrainerError, match=r'The tar .* cannot be read') as caught:
        ImageFiles(root).read_piece('train/a/pipe.jpg', 0, 1)
    assert caught.value.code == 'storage_failed'


def test_the_error_for_a_changed_link_reveals_nothing_about_its_target(root, tmp_path):
    path = root / 'train' / 'a' / 'one.jpg'
    files, registered = ImageFiles(root), _state_of(path)
    (tmp_path / 'elsewhere').write_bytes(b'a secret of 27 bytes in all')
    path.unlink()
    path.symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(TrainerError, match=r'one\.jpg leads to another file; when the lists were made it had 3 bytes') as caught:
        files.read('train/a/one.jpg', registered)
    assert caught.value.code == 'dataset_changed'
    assert '27 bytes' not in str(caught.value)
