import json
import socket
import threading

import numpy as np
import pytest
from builders import Collection

from cairn_trainer import lists
from cairn_trainer.lists import ImageList
from cairn_trainer.read_ahead import ReadAhead
from cairn_trainer.samplers import BatchPositions, ShuffleBuffer, SoftmaxSampler
from cairn_trainer.served_images import Announcements

BATCH = 4


@pytest.fixture
def images(tmp_path, monkeypatch):
    """96 images in 3 tars, whose runs have a few images each."""
    collection = Collection(tmp_path / 'data', landmarks=16, views=6)
    collection.write_list(rows=collection.write_tars(3))
    monkeypatch.setattr(lists, 'RUN_BYTES', 8192)
    return ImageList(collection.folder / 'train.parquet', collection.images, is_labelled=True)


class Agent:
    """Reads what is announced at a socket, as an agent does."""

    def __init__(self, path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._lines: list[dict] = []
        self._is_over = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with self._server:
            connection, _ = self._server.accept()
        with connection, connection.makefile('rb') as stream:
            self._lines.extend(json.loads(line) for line in stream)
        self._is_over.set()

    def lines(self) -> list[dict]:
        """Everything, once the connection was closed."""
        assert self._is_over.wait(20)
        return self._lines


def _run_of(images, row):
    return int(images.runs[row])


def test_a_run_has_the_images_that_begin_in_the_same_part_of_a_tar(images):
    table = images._table.to_pylist()
    for row, entry in enumerate(table):
        same = [
            other
            for other, found in enumerate(table)
            if found['tar'] == entry['tar'] and found['offset'] // 8192 == entry['offset'] // 8192
        ]
        assert np.flatnonzero(images.runs == _run_of(images, row)).tolist() == same
    described = images.describe_run(_run_of(images, 5))
    assert described['tar'] == table[5]['tar']
    assert [table[5]['offset'], table[5]['size'], table[5]['path']] in described['images']
    assert described['images'] == sorted(described['images'])


@pytest.mark.parametrize('workers', [0, 3])
@pytest.mark.parametrize(('world', 'first_step'), [(1, 0), (2, 0), (2, 7)])
def test_a_run_is_announced_before_its_rows_are_read_until_they_are(tmp_path, images, world, first_step, workers):
    buffer, epochs = 24, 3
    shuffled = ShuffleBuffer(images.runs, size=buffer, seed=5)
    sampler = SoftmaxSampler(np.arange(images.rows), batch=BATCH, seed=5, rank=1 % world, world=world, buffer=shuffled)
    steps = sampler.steps_per_epoch
    positions = BatchPositions(batch=BATCH, steps_per_epoch=steps, first_step=first_step, last_step=epochs * steps)
    agent = Agent(tmp_path / 'socket')
    ahead = ReadAhead(images, Announcements(tmp_path / 'socket'), sampler.order, rows_per_epoch=steps * BATCH, epochs=epochs, ahead=8)
    held = dict[int, int]()
    told, most = 0, 0
    unread = []
    real = ahead._announcements._tell

    def tell(message):
        change, run = (1, message['announce']) if 'announce' in message else (-1, message['withdraw'])
        held[run] = held.get(run, 0) + change
        assert held[run] >= 0
        real(message)

    ahead._announcements._tell = tell
    for number, keys in enumerate(ahead.through(positions, first=positions.first_row, batch=BATCH, workers=workers)):
        unread = [*unread, *keys][-max(1, 2 * workers) * BATCH :]
        for epoch, index in unread:
            assert held.get(_run_of(images, int(sampler.order(epoch)[index])), 0) > 0, (number, epoch, index)
        most = max(most, sum(count > 0 for count in held.values()))
    ahead.close()
    lines = agent.lines()
    told = sum('announce' in line for line in lines)
    whole = len(np.unique(images.runs))
    assert told <= whole * (epochs + 1)
    if first_step == 0:
        assert {line['announce'] for line in lines if 'announce' in line} == set(images.runs.tolist())
    # What is held is bounded by the buffer, not by the list.
    assert most < whole * 0.9


def test_an_interrupted_epoch_announces_only_what_is_left_of_it(tmp_path, images):
    sampler = SoftmaxSampler(
        np.arange(images.rows), batch=BATCH, seed=5, rank=0, world=1, buffer=ShuffleBuffer(images.runs, size=8, seed=5)
    )
    steps = sampler.steps_per_epoch
    agent = Agent(tmp_path / 'socket')
    ahead = ReadAhead(images, Announcements(tmp_path / 'socket'), sampler.order, rows_per_epoch=steps * BATCH, epochs=1, ahead=8)
    first = (steps - 3) * BATCH
    for _ in ahead.through([[0], [1], [2]], first=first, batch=BATCH, workers=0):
        pass
    ahead.close()
    left = images.runs[sampler.order(0)[first : steps * BATCH]]
    assert [line['announce'] for line in agent.lines() if 'announce' in line] == list(dict.fromkeys(left.tolist()))
