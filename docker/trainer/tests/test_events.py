import json
from pathlib import Path

import pytest
from builders import exit_code_of, fork

from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog


def test_names_become_camel_case_and_each_event_is_one_line(tmp_path):
    path = tmp_path / 'events.jsonl'
    EventLog(path).emit('badImage', image_id='a\nb', path='é.jpg', reason='no')
    (line,) = path.read_text().splitlines()
    event = json.loads(line)
    assert event['imageId'] == 'a\nb'
    assert event['path'] == 'é.jpg'


def test_lines_of_several_processes_never_mix(tmp_path):
    path = tmp_path / 'events.jsonl'

    def write(who):
        log = EventLog(path)
        for _ in range(200):
            log.emit('failed', code='internal', message=str(who) * 3000)
        return 0

    processes = [fork(write, who) for who in range(3)]
    assert [exit_code_of(process) for process in processes] == [0, 0, 0]
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(events) == 600
    assert all(len(set(event['message'])) == 1 for event in events)


def test_a_number_that_json_cannot_represent_is_rejected(tmp_path):
    with pytest.raises(ValueError):
        EventLog(tmp_path / 'events.jsonl').emit('step', loss=float('nan'))


def test_only_failures_since_the_opening_count(tmp_path):
    path = tmp_path / 'events.jsonl'
    EventLog(path).emit('failed', code='internal', message='an earlier attempt')
    log = EventLog(path)
    assert not log.has_failed()
    EventLog(path).emit('failed', code='internal', message='another rank')
    assert log.has_failed()


def test_a_missing_folder_and_a_full_disk_have_their_codes(tmp_path):
    with pytest.raises(TrainerError) as caught:
        EventLog(tmp_path / 'none' / 'events.jsonl')
    assert caught.value.code == 'missing_file'
    full = EventLog(Path('/dev/full'))
    with pytest.raises(TrainerError) as caught:
        full.emit('preempted', step=1)
    assert caught.value.code == 'storage_full'
