"""The six lists of the 2nd place solution to Google Landmark Retrieval 2021, in plain Python: dicts, sets and the csv module.

It was written from the definitions alone and shares nothing with libs/dataset, whose lists the tests compare with these, row for row, and
whose speed the benchmark compares with this program's. Each list becomes OUT/NAME.csv with the columns of COLUMNS; no country or
continent is an empty cell. OUT/manifest.json has rows, labels and images of each list and the SHA-256 of each file read and written.

    python reference_lists.py --metadata DIR [--countries DIR] --out DIR [--seed N]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

COLUMNS = ('image_id', 'path', 'label', 'noisy', 'country', 'continent', 'image_number')
CATEGORY_PREFIX = 'http://commons.wikimedia.org/wiki/Category:'
IMAGES_A_LABEL_IN_TEST = 2
SAMPLE_OF_TEST = 20_000

Row = tuple[str, str, int, int]
"""Image id, path, label, noisy."""
Place = tuple[str, str]
"""Country and continent."""


def open_metadata(folder: Path, part: str, name: str) -> TextIO:
    flat = folder / name
    return (flat if flat.exists() else folder / part / name).open(encoding='utf-8-sig', newline='')


def rows_of(folder: Path, part: str, name: str, *columns: str) -> Iterator[tuple[str, ...]]:
    """The named columns of a metadata file, row after row."""
    with open_metadata(folder, part, name) as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(column) for column in columns]
        for row in reader:
            if row:
                yield tuple(row[place] for place in places)


def image_path(split: str, image_id: str) -> str:
    return f'{split}/{image_id[0]}/{image_id[1]}/{image_id[2]}/{image_id}.jpg'


def read_categories(folder: Path, part: str, name: str) -> dict[str, str]:
    """Category by landmark. A quoted cell loses its closing quote only."""
    category_of: dict[str, str] = {}
    with open_metadata(folder, part, name) as file:
        next(file)
        for line in file:
            landmark, _, cell = line.strip().partition(',')
            if not landmark:
                continue
            if cell.startswith('"'):
                cell = cell[1:-1]
            category_of[landmark] = cell.removeprefix(CATEGORY_PREFIX)
    return category_of


def read_places(folder: Path) -> dict[str, Place]:
    """Country and continent by category."""
    continent_of: dict[str, str] = {}
    with (folder / 'continent_codes.csv').open(encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            continent_of[row['Two_Letter_Country_Code']] = row['Continent_Name']
    continent_of['OTHER'] = 'OTHER'
    continent_of['XK'] = 'Europe'
    place_of: dict[str, Place] = {}
    for country in json.loads((folder / 'country_codes.json').read_text(encoding='utf-8')):
        for item in json.loads((folder / f'{country}.json').read_text(encoding='utf-8')):
            place_of[item['name']] = (country, continent_of.get(country, ''))
    return place_of


def make_lists(metadata: Path, countries: Path | None, seed: int) -> tuple[dict[str, list[Row]], dict[int, Place]]:
    """All six lists, and the place of each label that has one."""
    clean: list[Row] = []
    gid_of: dict[str, int] = {}
    clean_images: list[set[str]] = []
    for gid, (landmark, images) in enumerate(rows_of(metadata, 'train', 'train_clean.csv', 'landmark_id', 'images')):
        gid_of[landmark] = gid
        image_ids = images.split(' ')
        clean_images.append(set(image_ids))
        clean.extend((image_id, image_path('train', image_id), gid, 0) for image_id in image_ids)
    clean_landmarks = len(gid_of)

    full: list[Row] = []
    c2x: list[Row] = []
    for image_id, landmark in rows_of(metadata, 'train', 'train.csv', 'id', 'landmark_id'):
        gid = gid_of.setdefault(landmark, len(gid_of))
        is_clean_landmark = gid < clean_landmarks
        noisy = 0 if is_clean_landmark and image_id in clean_images[gid] else 1
        row = (image_id, image_path('train', image_id), gid, noisy)
        full.append(row)
        if is_clean_landmark:
            c2x.append(row)

    train_category_of = read_categories(metadata, 'train', 'train_label_to_category.csv')
    gid_of_category = {category: gid_of[landmark] for landmark, category in train_category_of.items() if landmark in gid_of}

    index_category_of = read_categories(metadata, 'index', 'index_label_to_category.csv')
    category_of_image: dict[str, str | None] = {}
    for image_id, landmark in rows_of(metadata, 'index', 'index_image_to_landmark.csv', 'id', 'landmark_id'):
        category_of_image[image_id] = index_category_of.get(landmark)
    index_train = list(full)
    candidates: list[Row] = []
    seen_of: dict[int, int] = {}
    for image_id, category in category_of_image.items():
        gid = gid_of_category.get(category)
        if gid is None:
            continue
        row = (image_id, image_path('index', image_id), gid, 0)
        index_train.append(row)
        seen_of[gid] = seen_of.get(gid, 0) + 1
        if seen_of[gid] <= IMAGES_A_LABEL_IN_TEST:
            candidates.append(row)
    candidates.sort(key=lambda row: (hashlib.md5(f'{seed}:{row[0]}'.encode()).hexdigest(), row[0]))

    all_rows = list(index_train)
    for query_id, images, usage in rows_of(metadata, 'test', 'retrieval_solution_v2.1.csv', 'id', 'images', 'Usage'):
        path = image_path('test', query_id)
        if usage == 'Ignored':
            all_rows.append((query_id, path, -1, 0))
            continue
        gids = [gid_of_category.get(category_of_image.get(image_id)) for image_id in images.split(' ')]
        # The order of a set of small numbers is the reference's order.
        all_rows.extend((query_id, path, gid, 0) for gid in list({gid for gid in gids if gid is not None}))

    place_of_category = read_places(countries) if countries else {}
    place_of: dict[int, Place] = {}
    for landmark, category in train_category_of.items():
        if landmark in gid_of and category in place_of_category:
            place_of[gid_of[landmark]] = place_of_category[category]
    lists = {
        'clean': clean,
        'c2x': c2x,
        'full': full,
        'index_train': index_train,
        'test': candidates[:SAMPLE_OF_TEST],
        'all': all_rows,
    }
    return lists, place_of


def write_list(path: Path, rows: list[Row], place_of: dict[int, Place]) -> dict[str, int | str]:
    nowhere = ('', '')
    number_of: dict[str, int] = {}
    labels: set[int] = set()
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        for row in rows:
            labels.add(row[2])
            number = number_of.setdefault(row[0], len(number_of))
            writer.writerow((*row, *place_of.get(row[2], nowhere), number))
    labels.discard(-1)
    return {'rows': len(rows), 'labels': len(labels), 'images': len(number_of), 'sha256': sha256_of(path)}


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def main() -> None:
    csv.field_size_limit(sys.maxsize)  # a landmark of train_clean.csv has thousands of images in one cell
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--metadata', type=Path, required=True)
    parser.add_argument('--countries', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    lists, place_of = make_lists(options.metadata, options.countries, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    inputs = sorted(path for folder in (options.metadata, options.countries) if folder for path in folder.iterdir())
    manifest = {
        'lists': {name: write_list(options.out / f'{name}.csv', rows, place_of) for name, rows in lists.items()},
        'inputs': {path.name: sha256_of(path) for path in inputs if path.is_file()},
    }
    (options.out / 'manifest.json').write_text(json.dumps(manifest, indent=2), encoding='utf-8')


if __name__ == '__main__':
    main()
