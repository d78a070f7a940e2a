"""The event lines as the reader expects them: every key and its type."""

import json
import re

_NUMBER = (int, float)
_SHA256 = re.compile(r'[0-9a-f]{64}')

_FIELDS = {
    'started': {
        'worldSize': int,
        'device': str,
        'parameters': int,
        'images': int,
        'stepsPerEpoch': int,
        'totalSteps': int,
        'startStep': int,
    },
    'step': {
        'step': int,
        'epoch': _NUMBER,
        'loss': _NUMBER,
        'accuracy': _NUMBER,
        'learningRate': _NUMBER,
        'imagesPerSecond': _NUMBER,
        'dataWaitShare': _NUMBER,
        'gpuMemoryBytes': _NUMBER,
        'etaSeconds': _NUMBER,
    },
    'evaluation': {'when': str, 'step': int, 'mapAt100': _NUMBER, 'queries': int, 'index': int, 'galleryDigest': str},
    'checkpoint': {'path': str, 'sha256': str, 'bytes': int, 'step': int, 'epoch': _NUMBER, 'final': bool, 'optimizer': bool},
    'badImage': {'imageId': str, 'path': str, 'reason': str},
    'exported': {'files': list, 'cosine': _NUMBER, 'images': int},
    'preempted': {'step': int},
    'finished': {'step': int, 'badImages': int},
    'failed': {'code': str, 'message': str},
}


def parse_event(line: str) -> dict:
    event = json.loads(line)
    fields = {'event': str, 'time': _NUMBER, **_FIELDS[event['event']]}
    assert event.keys() == fields.keys(), event
    for name, kind in fields.items():
        assert isinstance(event[name], kind), (name, event)
        assert kind in (bool, list, str) or not isinstance(event[name], bool), (name, event)
    for digest in ('sha256', 'galleryDigest'):
        assert digest not in event or _SHA256.fullmatch(event[digest])
    for share in ('accuracy', 'dataWaitShare', 'mapAt100'):
        assert 0 <= event.get(share, 0) <= 1, event
    return event
