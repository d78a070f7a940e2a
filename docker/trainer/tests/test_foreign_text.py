import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog
from cairn_trainer.foreign_text import plain_name, plain_text
from cairn_trainer.lists import read_parquet


def test_what_no_report_could_hold_is_written_out_and_the_rest_stays():
    assert plain_text('a\0b \ud800 \x1b[2J \u202ec\r') == 'a\\x00b \\ud800 \\x1b[2J \\u202ec\\r'
    assert plain_text('Ä 😀\n\tü') == 'Ä 😀\n\tü'
    assert plain_name('a\nb\tc') == 'a\\nb\\tc'
    assert plain_name('x' * 201) == 'x' * 200 + '…'


def test_errors_and_events_hold_no_text_that_a_reader_would_stumble_over(tmp_path):
    message = 'the column a\0\udfff'
    assert str(TrainerError('bad_row', message)) == 'the column a\\x00\\udfff'
    EventLog(tmp_path / 'events').emit('badImage', image_id='a', path=message, reason='none')
    assert json.loads((tmp_path / 'events').read_text())['path'] == 'the column a\\x00\\udfff'


def test_the_header_of_a_parquet_file_is_named_as_text_and_in_part(tmp_path):
    pq.write_table(pa.table({f'column {number}\0': [1] for number in range(30)}), tmp_path / 'a.parquet')
    with pytest.raises(TrainerError) as caught:
        read_parquet(tmp_path / 'a.parquet', ['image_id'])
    assert 'it has column 0\\x00, ' in str(caught.value)
    assert str(caught.value).endswith(' and 10 more.')
