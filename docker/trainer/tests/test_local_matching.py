import io
import tarfile

import cv2
import numpy as np
import pytest
from local_matching_oracle import inliers_by_definition
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cairn_trainer.config import ImagePlace, MatchingConfig, MatchingRequest, MatchingSettings
from cairn_trainer.errors import TrainerError
from cairn_trainer.local_matching import count_inliers, inliers_of, prepare_image
from cairn_trainer.match_images import Matching
from cairn_trainer.matchers import OnnxMatcher, SiftMatcher

SETTINGS = MatchingSettings(long_side=320)
WARP = np.array([[0.9, 0.12, 20], [-0.1, 0.85, 40], [1e-4, -5e-5, 1]])


def picture(seed, width=240, height=180):
    """Shapes with corners: uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 90, np.uint8)
    for _ in range(60):
        left, top, across, down = map(int, random.integers((0, 0, 8, 8), (width, height, 60, 60)))
        cv2.rectangle(pixels, (left, top), (left + across, top + down), random.integers(0, 256, 3).tolist(), -1)
    return pixels


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG', **options)
    return file.getvalue()


def test_a_warped_copy_has_many_inliers_as_many_as_by_definition_and_another_picture_few():
    original = picture(1)
    warped = cv2.warpPerspective(original, WARP, (300, 260))
    files = [png(original), png(warped), png(picture(2, 300, 260))]
    matcher = SiftMatcher(SETTINGS)
    first, *others = (prepare_image(data, matcher, SETTINGS.long_side) for data in files)
    counts = [inliers_of(first, other, matcher, SETTINGS) for other in others]
    assert counts == [inliers_by_definition(files[0], other, SETTINGS.long_side) for other in files[1:]]
    assert counts[0] > 40
    assert counts[1] < 8

    # By the rules for every image: upright by its EXIF.
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = prepare_image(png(np.ascontiguousarray(np.rot90(warped)), exif=exif), matcher, SETTINGS.long_side)
    assert np.array_equal(turned.prepared.points, others[0].prepared.points)


@pytest.mark.parametrize(('width', 'height'), [(1, 1), (900, 1), (1, 900), (64, 64)])
def test_a_picture_without_keypoints_has_no_inliers(width, height):
    matcher = SiftMatcher(SETTINGS)
    plain = prepare_image(png(np.zeros((height, width, 3), np.uint8)), matcher, SETTINGS.long_side)
    other = prepare_image(png(picture(1)), matcher, SETTINGS.long_side)
    assert [inliers_of(plain, other, matcher, SETTINGS), inliers_of(other, plain, matcher, SETTINGS)] == [0, 0]


def test_inliers_fit_a_homography_in_original_pixels_and_a_degenerate_one_counts_as_none():
    random = np.random.default_rng(0)
    points = random.uniform(0, 2000, (60, 2)).astype(np.float32)
    mapped = cv2.perspectiveTransform(points[None], WARP)[0]
    near, far = mapped.copy(), mapped.copy()
    near[:20, 0] += 2
    far[:20] += random.choice([-1, 1], (20, 2)) * random.uniform(100, 400, (20, 2))
    assert count_inliers(points, mapped, SETTINGS) == 60
    assert count_inliers(points, near, SETTINGS) == 60
    assert count_inliers(points, far.astype(np.float32), SETTINGS) == 40
    assert [count_inliers(points[:count], mapped[:count], SETTINGS) for count in (0, 4, 5)] == [0, 0, 5]
    on_a_line = np.stack([points[:, 0], 2 * points[:, 0]], axis=1)
    one_point = np.full_like(points, 7)
    for degenerate in (on_a_line, one_point):
        assert count_inliers(degenerate, degenerate, SETTINGS) == 0
        assert count_inliers(points, degenerate, SETTINGS) == 0
        near = (degenerate + random.normal(0, 1, (60, 2))).astype(np.float32)
        assert count_inliers(points, near, SETTINGS) == count_inliers(near, near, SETTINGS) == 0


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


GRID = np.array([[10 * (row % 6), 10 * (row // 6)] for row in range(30)], np.float32)


def onnx_matcher(path, *, channels=1, sizes=('H', 'W'), outputs=('kpts0', 'kpts1', 'matches0', 'mscores0'), rows=None, scores=None):
    """A graph in the accepted form, whose points are a grid in both images, moved by the brightness of the image's first pixel."""
    rows = np.stack([np.arange(30)] * 2, axis=1) if rows is None else rows
    scores = np.full(len(rows), 0.9) if scores is None else scores
    shape = [1, channels, *sizes]
    weights = {'grid': GRID[None], 'rows': rows.astype(np.int64), 'scores': scores.astype(np.float32)}
    weights |= {'zeros': np.zeros(4, np.int64), 'ones': np.ones(4, np.int64), 'flat': np.array([1, 1, 1], np.int64)}
    nodes = [helper.make_node('Identity', ['rows'], [outputs[2]]), helper.make_node('Identity', ['scores'], [outputs[3]])]
    for image, points in (('image0', outputs[0]), ('image1', outputs[1])):
        nodes.append(helper.make_node('Slice', [image, 'zeros', 'ones'], [f'{image}_pixel']))
        nodes.append(helper.make_node('Reshape', [f'{image}_pixel', 'flat'], [f'{image}_flat']))
        nodes.append(helper.make_node('Add', ['grid', f'{image}_flat'], [points]))
    graph = helper.make_graph(
        nodes,
        'matcher',
        [value('image0', TensorProto.FLOAT, shape), value('image1', TensorProto.FLOAT, shape)],
        [
            value(outputs[0], TensorProto.FLOAT, [1, 'N', 2]),
            value(outputs[1], TensorProto.FLOAT, [1, 'M', 2]),
            value(outputs[2], TensorProto.INT64, ['K', 2] if rows.ndim == 2 else ['K']),
            value(outputs[3], TensorProto.FLOAT, ['K']),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_an_onnx_matcher_is_given_grey_images_from_0_to_1_and_its_matches_above_the_least_score_count(tmp_path):
    scores = np.where(np.arange(30) < 12, 0.1, 0.2)
    matcher = OnnxMatcher(onnx_matcher(tmp_path / 'matcher.onnx', scores=scores), SETTINGS)
    white, black = (np.full((180, 240, 3), level, np.uint8) for level in (255, 0))
    first, second = (prepare_image(png(pixels), matcher, SETTINGS.long_side) for pixels in (white, black))
    points, others = matcher.match(first.prepared, second.prepared)
    assert len(points) == 18
    assert np.array_equal(points, GRID[12:] + 1)
    assert np.array_equal(others, GRID[12:])
    assert inliers_of(first, second, matcher, SETTINGS) == 18
    # 320 pixels of the longer side are 240 of the original.
    assert np.allclose(first.original(np.float32([[-0.5, -0.5], [319.5, 239.5]])), [[-0.5, -0.5], [239.5, 179.5]])


@pytest.mark.parametrize(
    ('form', 'found'),
    [
        ({'channels': 3}, r'image0 as tensor\(float\) \[1, 3,'),
        ({'sizes': (512, 512)}, r'image0 as tensor\(float\) \[1, 1, 512, 512\]'),
        ({'outputs': ('keypoints0', 'keypoints1', 'matches', 'mscores')}, 'the outputs keypoints0, keypoints1, matches, mscores'),
    ],
)
def test_an_onnx_file_of_another_form_is_refused(tmp_path, form, found):
    with pytest.raises(TrainerError, match=f'is not a matcher of the accepted form: it has .*{found}') as refused:
        OnnxMatcher(onnx_matcher(tmp_path / 'matcher.onnx', **form), SETTINGS)
    assert refused.value.code == 'unreadable_file'


@pytest.mark.parametrize('rows', [np.arange(30), np.full((5, 2), 30), np.full((5, 2), -1)])
def test_matches_of_another_form_are_refused(tmp_path, rows):
    matcher = OnnxMatcher(onnx_matcher(tmp_path / 'matcher.onnx', rows=rows), SETTINGS)
    image = prepare_image(png(picture(1)), matcher, SETTINGS.long_side)
    with pytest.raises(TrainerError, match='is not a matcher of the accepted form'):
        inliers_of(image, image, matcher, SETTINGS)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    with pytest.raises(TrainerError, match='does not exist'):
        OnnxMatcher(tmp_path / 'none.onnx', SETTINGS)
    (tmp_path / 'text.onnx').write_bytes(b'not a graph')
    with pytest.raises(TrainerError, match=r'text\.onnx is not an ONNX file'):
        OnnxMatcher(tmp_path / 'text.onnx', SETTINGS)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / 'images'
    root.mkdir()
    original = picture(1)
    for name, pixels in {'one': original, 'copy': cv2.warpPerspective(original, WARP, (300, 260)), 'other': picture(2)}.items():
        (root / f'{name}.png').write_bytes(png(pixels))
    (root / 'text.png').write_bytes(b'not a picture')
    with tarfile.open(root / 'images.tar', 'w') as tar:
        tar.add(root / 'copy.png', 'copy.png')
    return root


def config_of(root, **changes):
    return MatchingConfig(**{'settings': SETTINGS, 'query_root': str(root), 'index_root': str(root), 'threads': 1, **changes})


def request_of(query, *images):
    return MatchingRequest(id=7, query=ImagePlace(path=query), images=[ImagePlace(path=path) for path in images])


def test_an_image_that_cannot_be_read_has_no_inliers_and_is_named(root):
    matching = Matching(config_of(root))
    answer = matching.answer(request_of('one.png', 'text.png', 'copy.png', 'none.png'))
    assert answer['inliers'][0] == answer['inliers'][2] == 0 < answer['inliers'][1]
    named = [{'side': 'index', 'path': 'text.png', 'reason': 'not an image of a known format'}]
    assert answer['unreadable'] == [*named, {'side': 'index', 'path': 'none.png', 'reason': 'the file does not exist'}]
    assert matching.answer(request_of('text.png', 'one.png')) == {
        'type': 'matched',
        'id': 7,
        'inliers': [0],
        'cached': 0,
        'unreadable': [{**named[0], 'side': 'query'}],
    }
    with pytest.raises(TrainerError, match='leads out of the image folder'):
        matching.answer(request_of('one.png', '../images/one.png'))


def test_a_part_of_a_tar_is_the_image_that_the_list_recorded(root):
    with tarfile.open(root / 'images.tar') as tar:
        member = tar.getmember('copy.png')
    tar_path = root / 'images.tar'
    at = {'path': 'copy', 'tar': 'images.tar', 'offset': member.offset_data, 'size': member.size}
    recorded = {'is_recorded': True, 'file_bytes': tar_path.stat().st_size, 'file_changed_ms': tar_path.stat().st_mtime_ns // 1_000_000}
    request = request_of('one.png', 'copy.png')
    request.images.append(ImagePlace(**at, **recorded))
    inliers = Matching(config_of(root)).answer(request)['inliers']
    assert inliers[0] == inliers[1] > 40
    request.images[1] = ImagePlace(**at, **{**recorded, 'file_bytes': 1})
    with pytest.raises(TrainerError) as changed:
        Matching(config_of(root)).answer(request)
    assert changed.value.code == 'dataset_changed'


def test_kept_inliers_are_those_of_the_same_images_matcher_and_settings(root, tmp_path):
    def again(**changes):
        config = config_of(root, **{'cache': str(tmp_path / 'cache'), **changes})
        answer = Matching(config).answer(request_of('one.png', 'copy.png', 'other.png'))
        return answer['inliers'], answer['cached']

    first, _ = again()
    assert again() == (first, 2)
    (root / 'other.png').write_bytes((root / 'copy.png').read_bytes())
    # The same content under another name is the same image.
    assert again() == ([first[0], first[0]], 2)
    (root / 'other.png').write_bytes(png(picture(3)))
    assert again()[1] == 1
    assert again(settings=MatchingSettings(long_side=320, ratio=0.7))[1] == 0
    assert again(matcher_path=str(onnx_matcher(tmp_path / 'matcher.onnx')))[1] == 0
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'inliers.sqlite').write_bytes(b'not a database' * 100)
    with pytest.raises(TrainerError, match='Delete it, or name another folder'):
        again(cache=str(tmp_path / 'broken'))


def test_a_folder_without_images_is_an_error_before_any_work(root, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(TrainerError, match='is gone, empty or not readable'):
        Matching(config_of(root, index_root=str(tmp_path / 'empty')))
