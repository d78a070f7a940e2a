import pytest

from cairn_trainer.limited_file import open_limited


def test_a_file_is_read_as_any_other_until_the_process_has_grown_too_much(tmp_path):
    content = bytes(range(256)) * 2**14
    (tmp_path / 'a').write_bytes(content)
    with open_limited(tmp_path / 'a', 2**40) as file:
        assert file.read() == content
    with open_limited(tmp_path / 'a', 2**26) as file:
        assert file.read(5) == content[:5]
        kept = bytearray(2**28)
        with pytest.raises(MemoryError):
            file.read(2**21)
        assert len(kept) == 2**28


def test_what_a_reader_asks_for_beyond_the_end_of_the_file_is_not_read(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc')
    with open_limited(tmp_path / 'a', 2**40) as file:
        assert file.read(2**30) == b'abc'
