"""Where each image lies in the tars of a folder, by Python's tarfile: image id, tar, offset and size as CSV. The benchmark's rival.

python index_tars.py --root DIR --out FILE [--md5]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tarfile
from pathlib import Path


def check_md5(root: Path, path: Path) -> None:
    digest = hashlib.md5()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    listed = root / 'md5sum' / path.parent.name / f'md5.{path.stem}.txt'
    if listed.read_text(encoding='utf-8').split()[0] != digest.hexdigest():
        raise SystemExit(f'{path} has another md5')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--md5', action='store_true')
    options = parser.parse_args()
    with options.out.open('w', encoding='utf-8', newline='') as out:
        writer = csv.writer(out, lineterminator='\n')
        for path in sorted(options.root.glob('*/images_*.tar')):
            if options.md5:
                check_md5(options.root, path)
            tar = path.relative_to(options.root).as_posix()
            with tarfile.open(path) as archive:
                for member in archive:
                    if member.isfile():
                        writer.writerow((Path(member.name).stem, tar, member.offset_data, member.size))


if __name__ == '__main__':
    main()
