import hashlib
import random
import time

import pytest
import torch

from cairn_trainer.checkpoint import (
    CheckpointSchedule,
    check_same_stage,
    read_verified,
    sha256_of,
    stage_checkpoint,
    write_torch_file,
)
from cairn_trainer.config import StoredFile
from cairn_trainer.errors import TrainerError
from cairn_trainer.foreign_file import read_stored_tensors


def _write(path, **parts):
    written = write_torch_file(path, stage_checkpoint(stage={'stage': 'a', 'world': 2}, model={'w': torch.arange(4.0)}, **parts))
    return written, StoredFile(path=str(path), sha256=written.sha256)


def test_a_written_checkpoint_is_read_back_with_the_reported_hash(tmp_path):
    written, stored = _write(tmp_path / 'a.pt', step=7)
    assert written.sha256 == hashlib.sha256((tmp_path / 'a.pt').read_bytes()).hexdigest()
    assert written.bytes == (tmp_path / 'a.pt').stat().st_size
    content = read_verified(stored)
    assert content['step'] == 7
    assert torch.equal(read_stored_tensors(stored)['w'], torch.arange(4.0))
    assert [path.name for path in tmp_path.iterdir()] == ['a.pt']


@pytest.mark.parametrize('size', [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 3 * 2**18 + 7])
def test_a_file_of_any_size_hashes_to_the_sha256_of_its_bytes(tmp_path, size):
    content = random.Random(size).randbytes(size)
    (tmp_path / 'a').write_bytes(content)
    assert sha256_of(tmp_path / 'a') == hashlib.sha256(content).hexdigest()


def test_the_same_content_gives_the_same_bytes(tmp_path):
    assert _write(tmp_path / 'a.pt', step=7)[0].sha256 == _write(tmp_path / 'b.pt', step=7)[0].sha256


def test_changed_missing_and_unreadable_files_have_different_errors(tmp_path):
    _, stored = _write(tmp_path / 'a.pt')
    (tmp_path / 'a.pt').write_bytes((tmp_path / 'a.pt').read_bytes()[:-10])
    with pytest.raises(TrainerError, match='has the sha256') as caught:
        read_verified(stored)
    assert caught.value.code == 'corrupt_artifact'
    with pytest.raises(TrainerError) as caught:
        read_verified(StoredFile(path=str(tmp_path / 'none.pt'), sha256='0' * 64))
    assert caught.value.code == 'missing_file'
    (tmp_path / 'b.pt').write_bytes(b'text')
    with pytest.raises(TrainerError, match='cannot be read') as caught:
        read_verified(StoredFile(path=str(tmp_path / 'b.pt'), sha256=hashlib.sha256(b'text').hexdigest()))
    assert caught.value.code == 'corrupt_artifact'


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / 'sprung'), 'w'))

    torch.save({'model': Trap()}, tmp_path / 'a.pt')
    digest = hashlib.sha256((tmp_path / 'a.pt').read_bytes()).hexdigest()
    with pytest.raises(TrainerError):
        read_verified(StoredFile(path=str(tmp_path / 'a.pt'), sha256=digest))
    assert not (tmp_path / 'sprung').exists()


def test_a_full_disk_leaves_no_half_file_and_no_lost_earlier_one(tmp_path, monkeypatch):
    _, stored = _write(tmp_path / 'a.pt', step=1)

    def full(_file):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(TrainerError, match=r'No space is left while writing .*a\.pt') as caught:
        _write(tmp_path / 'a.pt', step=2)
    assert caught.value.code == 'storage_full'
    assert [path.name for path in tmp_path.iterdir()] == ['a.pt']
    assert read_verified(stored)['step'] == 1


def test_a_write_that_fails_inside_torchs_writer_is_a_full_disk_too(tmp_path, monkeypatch):
    def full(_self, _data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('cairn_trainer.checkpoint._HashingFile.write', full)
    with pytest.raises(TrainerError) as caught:
        _write(tmp_path / 'a.pt')
    assert caught.value.code == 'storage_full'
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_stage_is_rejected_with_each_difference(tmp_path):
    _, stored = _write(tmp_path / 'a.pt')
    content = read_verified(stored)
    check_same_stage(content, {'stage': 'a', 'world': 2}, 'A')
    with pytest.raises(TrainerError, match=r"stage is 'a' in the checkpoint and 'b' in this stage; world is 2 in the") as caught:
        check_same_stage(content, {'stage': 'b', 'world': 4}, 'A')
    assert caught.value.code == 'model_mismatch'
    with pytest.raises(TrainerError, match='only weights'):
        check_same_stage({'w': torch.zeros(1)}, {}, 'A')


def test_a_checkpoint_from_before_a_setting_existed_counts_as_its_default():
    content = stage_checkpoint(stage={'stage': 'a'})
    check_same_stage(content, {'stage': 'a', 'partialStep': 'drop'}, 'A')
    with pytest.raises(TrainerError, match=r"partialStep is 'drop' in the checkpoint and 'fill' in this stage"):
        check_same_stage(content, {'stage': 'a', 'partialStep': 'fill'}, 'A')


def test_checkpoints_are_due_by_epochs_steps_and_minutes(monkeypatch):
    schedule = CheckpointSchedule(every_epochs=2, every_steps=7, every_minutes=10, steps_per_epoch=5)
    assert [step for step in range(1, 25) if schedule.is_due_after(step)] == [7, 10, 14, 20, 21]
    assert not schedule.is_time_over()
    now = time.monotonic()
    monkeypatch.setattr('time.monotonic', lambda: now + 601)
    assert schedule.is_time_over()
    schedule.record_written()
    assert not schedule.is_time_over()
    never = CheckpointSchedule(every_epochs=1, every_steps=0, every_minutes=0, steps_per_epoch=5)
    monkeypatch.setattr('time.monotonic', lambda: now + 10**6)
    assert not never.is_time_over()
    assert [step for step in range(1, 12) if never.is_due_after(step)] == [5, 10]
