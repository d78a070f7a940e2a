"""Matchers: the points of two grey images that show the same. SIFT, or an ONNX graph that finds and matches points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import Message
from numpy.typing import NDArray

from cairn_trainer.config import MatchingSettings
from cairn_trainer.digest import sha256_of
from cairn_trainer.errors import TrainerError

Grey = NDArray[np.uint8]
"""uint8 [height, width]."""

Points = NDArray[np.float32]
"""float32 [N, 2]: x and y in pixels; (0, 0) is the centre of the first pixel."""


class Prepared(NamedTuple):
    """What a matcher keeps of an image."""

    points: Points
    data: NDArray[Any]

    @property
    def bytes(self) -> int:
        return self.points.nbytes + self.data.nbytes


class Matcher(Protocol):
    """Is called from several threads at once."""

    description: dict[str, str | None]
    """Everything that its results depend on besides the settings: kind, version and the digest of a file."""

    def prepare(self, grey: Grey) -> Prepared: ...

    def match(self, first: Prepared, second: Prepared) -> tuple[Points, Points]:
        """Points of the two images that belong together, in the pixels of the given images. A point occurs once."""
        ...


def open_matcher(path: str | None, settings: MatchingSettings) -> Matcher:
    """The ONNX matcher in a file, or SIFT.

    Raises:
        TrainerError: `missing_file`, or `unreadable_file` if the file is not a matcher of the accepted form.
    """
    return SiftMatcher(settings) if path is None else OnnxMatcher(Path(path), settings)


class SiftMatcher:
    """SIFT (Lowe 2004): a pair of keypoints that are each other's nearest, where the nearest is much nearer than the second."""

    def __init__(self, settings: MatchingSettings) -> None:
        self._settings = settings
        self.description = {'kind': 'sift', 'version': f'OpenCV {cv2.__version__}', 'sha256': None}

    def prepare(self, grey: Grey) -> Prepared:
        # Its own for each call: a detector is not made for several threads.
        found, descriptors = cv2.SIFT.create(nfeatures=self._settings.keypoints).detectAndCompute(grey, None)
        points = np.array([point.pt for point in found], np.float32).reshape(-1, 2)
        # OpenCV's values are whole numbers from 0 to 255.
        return Prepared(points, np.empty((0, 128), np.uint8) if descriptors is None else descriptors.astype(np.uint8))

    def match(self, first: Prepared, second: Prepared) -> tuple[Points, Points]:
        if len(first.points) == 0 or len(second.points) < 2:
            return first.points[:0], second.points[:0]
        # Sums of squares of whole numbers: exact, in any order.
        distances, nearest = cv2.batchDistance(first.data, second.data, cv2.CV_32S, normType=cv2.NORM_L2SQR, K=2)
        back = cv2.batchDistance(second.data, first.data, cv2.CV_32S, normType=cv2.NORM_L2SQR, K=1)[1][:, 0]
        is_distinct = distances[:, 0] < self._settings.ratio**2 * distances[:, 1]
        is_mutual = back[nearest[:, 0]] == np.arange(len(nearest))
        rows = np.flatnonzero(is_distinct & is_mutual)
        return first.points[rows], second.points[nearest[rows, 0]]


def _require_one_file(path: Path) -> None:
    """A graph may name any file as the place of a tensor, also in the body of a loop: whoever made it could read files of this machine.

    Raises:
        TrainerError: `unreadable_file`.
    """
    try:
        model = onnx.load(path, format='protobuf', load_external_data=False)
    except Exception as error:
        raise TrainerError('unreadable_file', f'{path} is not an ONNX file: {type(error).__name__}.') from error
    if any(isinstance(part, onnx.TensorProto) and (part.external_data or part.data_location) for part in _parts_of(model)):
        raise TrainerError('unreadable_file', f'{path} keeps tensors in other files. Save it as one file, and import that.')


def _parts_of(message: Message) -> Iterator[Message]:
    """All messages within one of protobuf, at every depth."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                yield part
                yield from _parts_of(part)


_INPUTS = ('image0', 'image1')
_OUTPUTS = ('kpts0', 'kpts1', 'matches0', 'mscores0')


class OnnxMatcher:
    """A graph in the form of LightGlue-ONNX's end-to-end exports of SuperPoint and LightGlue.

    Inputs `image0`, `image1`: float32 [1, 1, height, width] from 0 to 1, of any size. Outputs `kpts0` [1, N, 2] and `kpts1` [1, M, 2]: x
    and y in pixels; `matches0` [K, 2]: rows of both; `mscores0` [K].
    """

    def __init__(self, path: Path, settings: MatchingSettings) -> None:
        self._path = path
        self._settings = settings
        if not path.is_file():
            raise TrainerError('missing_file', f'The matcher {path} does not exist.')
        _require_one_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # pairs are matched in parallel
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        except Exception as error:
            raise TrainerError('unreadable_file', f'ONNX Runtime cannot open the matcher {path}: {error}.') from error
        self._require_form()
        version = f'ONNX Runtime {onnxruntime.__version__}, OpenCV {cv2.__version__}'
        self.description = {'kind': 'onnx', 'version': version, 'sha256': sha256_of(path)}

    def prepare(self, grey: Grey) -> Prepared:
        return Prepared(np.empty((0, 2), np.float32), grey)

    def match(self, first: Prepared, second: Prepared) -> tuple[Points, Points]:
        images = (one.data[None, None].astype(np.float32) / 255 for one in (first, second))
        try:
            found = self._session.run(_OUTPUTS, dict(zip(_INPUTS, images, strict=True)))
        except Exception as error:
            sizes = ' and '.join('x'.join(map(str, one.data.shape[::-1])) for one in (first, second))
            raise TrainerError('program_failed', f'The matcher {self._path} fails for images of {sizes} pixels: {error}.') from error
        first_points, second_points, rows, scores = found
        is_known = first_points.ndim == second_points.ndim == 3 and first_points.shape[2] == second_points.shape[2] == 2
        is_known &= rows.ndim == 2 and rows.shape[1] == 2 and scores.shape == rows.shape[:1]
        if not is_known:
            raise self._refused(', '.join(f'{name} {list(one.shape)}' for name, one in zip(_OUTPUTS, found, strict=True)))
        kept = rows[scores >= self._settings.min_score]
        ends = (first_points.shape[1], second_points.shape[1])
        if len(kept) > 0 and (kept.min() < 0 or (kept.max(axis=0) >= ends).any()):
            raise self._refused(f'matches of rows that kpts0 and kpts1 do not have, {ends[0]} and {ends[1]} of them')
        return first_points[0, kept[:, 0]].astype(np.float32), second_points[0, kept[:, 1]].astype(np.float32)

    def _require_form(self) -> None:
        inputs = {one.name: one for one in self._session.get_inputs()}
        outputs = {one.name for one in self._session.get_outputs()}
        if set(inputs) != set(_INPUTS) or not outputs.issuperset(_OUTPUTS):
            raise self._refused(f'the inputs {", ".join(inputs)} and the outputs {", ".join(sorted(outputs))}')
        for name, one in inputs.items():
            shape = one.shape
            fits = one.type == 'tensor(float)' and len(shape) == 4 and all(not isinstance(size, int) or size == 1 for size in shape[:2])
            if not fits or any(isinstance(size, int) for size in shape[2:]):
                raise self._refused(f'{name} as {one.type} {shape}')

    def _refused(self, found: str) -> TrainerError:
        return TrainerError(
            'unreadable_file',
            f'{self._path} is not a matcher of the accepted form: it has {found}. Accepted are the inputs image0 and image1, float32 '
            '[1, 1, height, width] of any size, and the outputs kpts0 [1, N, 2], kpts1 [1, M, 2], matches0 [K, 2] and mscores0 [K], as '
            'LightGlue-ONNX exports SuperPoint and LightGlue with --end2end --dynamic.',
        )
