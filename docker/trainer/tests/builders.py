import json
import multiprocessing
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from event_schema import parse_event
from PIL import Image

from cairn_trainer import export, launch
from cairn_trainer.rank import run_rank

MODEL = {'backbone': 'small', 'embeddingDim': 16, 'gemPower': 3, 'initSeed': 1}
"""The network of the tests, as a configuration names it."""


class Collection:
    """Images of some landmarks in a folder, and the lists that name them."""

    def __init__(self, folder: Path, *, landmarks: int = 8, views: int = 4, size: int = 40) -> None:
        self.folder = folder
        self.images = folder / 'images'
        self.images.mkdir(parents=True)
        self.landmarks = landmarks
        random = np.random.default_rng(7)
        self.rows = []
        for landmark in range(landmarks):
            pattern = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            for view in range(views):
                name = f'{landmark:02d}{view:02d}'
                picture = np.asarray(Image.fromarray(pattern).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
                picture = np.clip(picture * random.uniform(0.8, 1.2) + random.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
                Image.fromarray(picture).save(self.images / f'{name}.jpg', quality=90)
                row = {'image_id': name, 'path': f'{name}.jpg', 'label': landmark, 'noisy': view == 0}
                self.rows.append({**row, 'country': None, 'continent': ('Asia', 'Europe', None)[landmark % 3]})

    @property
    def ids(self) -> list[str]:
        return [row['image_id'] for row in self.rows]

    def break_image(self, image_id: str, content: bytes = b'no picture') -> None:
        (self.images / f'{image_id}.jpg').write_bytes(content)

    def write_list(self, name: str = 'train', rows: list[dict] | None = None) -> Path:
        path = self.folder / f'{name}.parquet'
        rows = self.rows if rows is None else rows
        table = pa.Table.from_pylist(rows)
        for column, kind in (('country', pa.string()), ('continent', pa.string())):
            if column in table.column_names:
                table = table.set_column(table.column_names.index(column), column, table[column].cast(kind))
        pq.write_table(table, path)
        return path

    def write_tars(self, number: int = 1) -> list[dict]:
        """Distributes the images over tars and returns the rows that refer to them."""
        rows = []
        for row_number, row in enumerate(self.rows):
            with tarfile.open(self.images / f'images_{row_number % number:03d}.tar', 'a') as tar:
                tar.add(self.images / row['path'], f'{row["image_id"][0]}/{row["path"]}')
        places = {}
        for path in sorted(self.images.glob('images_*.tar')):
            with tarfile.open(path) as tar:
                places.update({Path(member.name).stem: (path.name, member) for member in tar.getmembers()})
        for row in self.rows:
            name, member = places[row['image_id']]
            rows.append({**row, 'path': member.name, 'tar': name, 'offset': member.offset_data, 'size': member.size})
        return rows

    def write_evaluation(self) -> dict[str, str]:
        """The first view of each landmark as query, the others as index; the last query is Ignored."""
        plain = [{'image_id': row['image_id'], 'path': row['path']} for row in self.rows]
        queries = [row for row in plain if row['image_id'].endswith('00')]
        index = [row for row in plain if not row['image_id'].endswith('00')]
        truths = [
            {'query_id': query['image_id'], 'image_id': row['image_id'], 'usage': 'Public' if query['image_id'] < '0400' else 'Private'}
            for query in queries[:-1]
            for row in index
            if row['image_id'][:2] == query['image_id'][:2]
        ]
        truths.append({'query_id': queries[-1]['image_id'], 'image_id': None, 'usage': 'Ignored'})
        return {
            'query': str(self.write_list('query', queries)),
            'index': str(self.write_list('index', index)),
            'groundTruth': str(self.write_list('ground_truth', truths)),
        }


class StageRun:
    """One attempt at a stage: its folder, its configuration, its events."""

    def __init__(self, folder: Path, collection: Collection, *, ranks: int = 1, **overrides) -> None:
        """Names in `overrides` that are settings (camelCase) go there, the others into the configuration."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.stop_path = folder / 'stop'
        settings = {
            'from': 'init',
            'list': 'clean',
            'imageSize': 32,
            'pad': 2,
            'epochs': 2,
            'learningRate': 0.05,
            'batch': 2,
            'ranks': ranks,
            'threadsPerRank': 1,
            'checkpointEveryEpochs': 100,
            'logEverySteps': 1,
            'seed': 3,
        }
        config = {
            'protocol': 1,
            'stage': '384',
            'settings': settings,
            'model': MODEL,
            'classes': collection.landmarks,
            'list': {'path': str(collection.folder / 'train.parquet'), 'rows': len(collection.rows), 'labels': collection.landmarks},
            'imageRoot': str(collection.images),
            'evaluation': None,
            'start': None,
            'weights': None,
            'resume': None,
            'outputDir': str(folder),
            'eventsPath': str(folder / 'events.jsonl'),
            'stopPath': str(self.stop_path),
        }
        for name, value in overrides.items():
            (config if name in config else settings)[name] = value
        self.config = config
        self.config_path = folder / 'stage.json'
        self.write()
        self.ranks = ranks
        if not (collection.folder / 'train.parquet').exists():
            collection.write_list()

    def write(self) -> None:
        """Writes the changed configuration to its file."""
        self.config_path.write_text(json.dumps(self.config))

    def start(self) -> multiprocessing.Process:
        """The stage in a forked process: through the launcher (torchrun's agent) for several ranks, directly for one."""
        return fork(launch.main, self.launch_arguments()) if self.ranks > 1 else fork(run_rank, self.config_path)

    def launch_arguments(self) -> list[str]:
        return ['--standalone', f'--nproc-per-node={self.ranks}', '-m', 'cairn_trainer', '--config', str(self.config_path)]

    def run(self) -> int:
        """Runs the stage until it ends; returns the exit code."""
        return exit_code_of(self.start())

    def events(self, kind: str | None = None) -> list[dict]:
        """The events so far; every line must match the schema."""
        path = self.folder / 'events.jsonl'
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        events = [parse_event(line) for line in lines if line.endswith('\n')]
        return [event for event in events if kind in (None, event['event'])]

    def checkpoint(self, number: int = -1) -> dict[str, str]:
        """A checkpoint as in a configuration."""
        event = self.events('checkpoint')[number]
        return {'path': event['path'], 'sha256': event['sha256']}


def configure_export(folder, collection, checkpoint, **overrides) -> Path:
    """The configuration of an export; names in `overrides` that are settings go there."""
    folder.mkdir()
    config = {
        'protocol': 1,
        'settings': {'imageSize': 32, 'preprocessing': 'cairn', 'precision': 'fp32', 'checkImages': 12, 'minCosine': None},
        'model': MODEL,
        'checkpoint': checkpoint,
        'list': {'path': str(collection.folder / 'train.parquet'), 'rows': len(collection.rows), 'labels': None},
        'imageRoot': str(collection.images),
        'outputDir': str(folder),
        'eventsPath': str(folder / 'events.jsonl'),
    }
    for name, value in overrides.items():
        (config if name in config else config['settings'])[name] = value
    path = folder / 'export.json'
    path.write_text(json.dumps(config))
    return path


def run_export(path) -> tuple[int, list[dict]]:
    """Exports in a forked process; returns the exit code and the events."""
    code = exit_code_of(fork(export.main, ['--config', str(path)]))
    return code, [parse_event(line) for line in (path.parent / 'events.jsonl').read_text().splitlines()]


def fork(function, *arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context('fork').Process(target=lambda: sys.exit(function(*arguments)))
    process.start()
    return process


def exit_code_of(process: multiprocessing.Process, seconds: float = 60) -> int:
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f'the process did not end within {seconds} s')
    assert process.exitcode is not None
    return process.exitcode


def wait_until(condition, what: str, seconds: float = 40):
    """The condition's first true value; fails with `what` after a timeout."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f'not reached within {seconds} s: {what}')
