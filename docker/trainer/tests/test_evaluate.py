import hashlib

import pytest
import torch
from builders import Collection
from PIL import Image

from cairn_trainer.config import EvaluationFiles, ModelSettings
from cairn_trainer.evaluate import EvaluationSet, Evaluator, StoppedError, average_precision
from cairn_trainer.model import EmbeddingNet
from cairn_trainer.ranks import Ranks


def test_average_precision_is_kaggles():
    # Hits at ranks 1, 3 and 6 of 4 ground truths: (1/1 + 2/3 + 3/6) / 4.
    assert average_precision(['a', 'x', 'b', 'y', 'z', 'c'], {'a', 'b', 'c', 'd'}) == pytest.approx((1 + 2 / 3 + 1 / 2) / 4)
    # A repeated neighbour scores once and still occupies its rank: (1/1 + 2/3) / 2.
    assert average_precision(['a', 'a', 'b'], {'a', 'b'}) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([], {'a'}) == 0
    # More ground truths than ranks: the denominator and the ranks end at 100.
    many = [str(i) for i in range(150)]
    assert average_precision(many, set(many)) == pytest.approx(1)
    assert average_precision(['x'] * 100 + ['a'], {'a'}) == 0


@pytest.fixture
def scored(tmp_path):
    collection = Collection(tmp_path / 'data', landmarks=6, views=4)
    for landmark in range(6):
        # The last view of each landmark shows the next landmark, so that no ranking is perfect.
        with Image.open(collection.images / f'{(landmark + 1) % 6:02d}02.jpg') as other:
            other.save(collection.images / f'{landmark:02d}03.jpg', quality=30)
    files = collection.write_evaluation()

    def score(is_asked_to_stop=lambda: False, **options):
        data = EvaluationSet.read(
            EvaluationFiles(query=files['query'], index=files['index'], ground_truth=files['groundTruth']), collection.images
        )
        net = EmbeddingNet(ModelSettings(backbone='small', embedding_dim=16), 6)
        return net, Evaluator(data, Ranks(), size=32, preprocessing='cairn', batch=4, workers=0).score(net, is_asked_to_stop)

    return collection, score


def _by_hand(collection, net):
    """mAP@100 of the list, one image and one query at a time."""
    from cairn_trainer.lists import ImageList
    from cairn_trainer.model import normalise
    from cairn_trainer.transforms import decode

    images = ImageList(collection.write_list(), collection.images, is_labelled=True)
    net.eval()
    with torch.inference_mode():
        features = {
            images.image_id(row): net.features(normalise(torch.tensor(decode(images.read(row), 32, 'cairn'))[None]))[0]
            for row in range(images.rows)
        }
    index = [name for name in features if not name.endswith('00')]
    total = 0.0
    for query in ('0000', '0100', '0200', '0300', '0400'):
        ranked = sorted(index, key=lambda name: -float(features[query] @ features[name]))
        hits = [place for place, name in enumerate(ranked, 1) if name[:2] == query[:2]]
        total += sum((number / place) for number, place in enumerate(hits, 1)) / len(hits)
    return total / 5


def _digest_of(image_ids):
    return hashlib.sha256(''.join(f'{image_id}\n' for image_id in image_ids).encode()).hexdigest()


def test_the_score_is_the_one_computed_by_hand_and_ignored_queries_do_not_count(scored):
    collection, score = scored
    net, found = score()
    assert found.queries == 5
    assert found.index == 18
    assert found.map_at_100 == pytest.approx(_by_hand(collection, net), abs=1e-5)
    assert found.gallery_digest == _digest_of(f'{landmark:02d}{view:02d}' for landmark in range(6) for view in (1, 2, 3))
    assert 0 < found.map_at_100 < 1


def test_an_unreadable_query_scores_nothing_and_an_unreadable_index_image_is_left_out(scored):
    collection, score = scored
    whole = score()[1].map_at_100
    collection.break_image('0000')
    collection.break_image('0501')
    found = score()[1]
    assert found.queries == 5
    assert found.index == 17
    assert found.gallery_digest == _digest_of(f'{n:02d}{v:02d}' for n in range(6) for v in (1, 2, 3) if (n, v) != (5, 1))
    assert found.map_at_100 < whole


def test_scoring_leaves_the_network_as_it_was_also_where_rank_0_has_other_running_means(scored, monkeypatch):
    monkeypatch.setattr(Ranks, 'from_first', lambda _self, tensors: [tensor.fill_(3) for tensor in tensors])
    net, _ = scored[1]()
    assert net.training
    assert net.fcneck_bn.num_batches_tracked == 0
    assert torch.equal(net.fcneck_bn.running_mean, torch.zeros(16))


def test_a_stop_ends_the_evaluation(scored):
    with pytest.raises(StoppedError):
        scored[1](is_asked_to_stop=lambda: True)
