import pytest
import torch
from builders import Collection
from event_schema import parse_event

from cairn_trainer.bad_images import BadImageLedger
from cairn_trainer.data import BadImage
from cairn_trainer.errors import TrainerError
from cairn_trainer.events import EventLog
from cairn_trainer.lists import ImageList
from cairn_trainer.ranks import Ranks


@pytest.fixture
def ledger(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=5, views=4)
    images = ImageList(collection.write_list(rows=[*collection.rows, collection.rows[0]]), collection.images, is_labelled=True)
    path = tmp_path / 'events.jsonl'

    def make(share=0.1):
        return BadImageLedger(images, share, Ranks(), EventLog(path))

    return make, lambda: [parse_event(line)['imageId'] for line in path.read_text().splitlines()]


def _try(ledger, rows, bad=()):
    bad = [BadImage(row, 'made') for row in bad]
    ledger.record_tried(torch.tensor(rows, dtype=torch.int64), bad)
    ledger.share(bad)


def test_an_image_counts_once_however_often_and_in_whatever_row_it_is_met(ledger):
    make, told = ledger
    book = make()
    _try(book, [1, 2], bad=[0, 3])
    _try(book, [2], bad=[20, 0])  # row 20 repeats the image of row 0
    assert book.count == 2
    assert told() == ['0000', '0003']


def test_a_small_list_is_judged_against_all_its_images_not_against_the_first_few(ledger):
    make, _ = ledger
    book = make(share=0.1)
    _try(book, [2], bad=[0, 1])
    book.judge()  # 2 of 20
    _try(book, [4], bad=[3])
    with pytest.raises(TrainerError, match=r'3 of 5 images tried cannot be read; maxBadImageShare allows 10\.0%') as caught:
        book.judge()
    assert caught.value.code == 'too_many_bad_images'
    assert caught.value.is_agreed


def test_a_resumed_stage_knows_what_was_met_before(ledger):
    make, told = ledger
    before = make()
    _try(before, [1, 2, 19], bad=[0, 7])
    after = make()
    after.load_state_dict(before.state_dict())
    assert after.count == 2
    _try(after, [5], bad=[7])
    assert told() == ['0000', '0103']
    assert torch.equal(after.state_dict()['tried'], _packed([0, 1, 2, 5, 7, 19]))


def _packed(images):
    bits = torch.zeros(24, dtype=torch.int64)
    bits[images] = 1
    return (bits.view(3, 8) * 2 ** torch.arange(7, -1, -1)).sum(1).to(torch.uint8)
