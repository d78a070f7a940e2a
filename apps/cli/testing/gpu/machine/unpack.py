"""`python3 unpack.py FOLDER`: verifies the parts beside this file and unpacks them into FOLDER. Python's own library is all it needs."""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


class Joined(io.RawIOBase):
    """The parts one after the other, as one file that is read once; each has to be what the manifest says."""

    def __init__(self, folder: Path, parts: list[dict]) -> None:
        self._folder, self._parts, self._file = folder, iter(parts), None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # noqa: ANN001 - any buffer
        while True:
            count = self._file.readinto(buffer) if self._file else 0
            if count:
                return count
            part = next(self._parts, None)
            if part is None:
                return 0
            self._file = (self._folder / part['name']).open('rb')


def faults(folder: Path, parts: list[dict]) -> list[str]:
    """What is wrong with the parts, a line each."""
    found = []
    for part in parts:
        path = folder / part['name']
        if not path.exists():
            found.append(f'{path} is missing')
            continue
        with path.open('rb') as file:
            digest = hashlib.file_digest(file, 'sha256') if sys.version_info >= (3, 11) else hashlib.sha256(file.read())
        if digest.hexdigest() != part['sha256']:
            found.append(f'{path} has {path.stat().st_size} of {part["bytes"]} bytes, or others: bring it again')
    return found


def main() -> int:
    """Unpacks unless that was done before from the same parts."""
    folder, target = Path(__file__).resolve().parent, Path(sys.argv[1])
    manifest = (folder / 'manifest.json').read_text(encoding='utf-8')
    done = target / '.unpacked'
    if done.exists() and done.read_text(encoding='utf-8') == manifest:
        return 0
    parts = json.loads(manifest)['parts']
    found = faults(folder, parts)
    if found:
        print('\n'.join(found), file=sys.stderr)
        return 1
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BufferedReader(Joined(folder, parts), 1 << 20), mode='r|xz') as archive:
        # Python 3.12 and later want the argument; 3.11 before 3.11.4, as Debian 12 has it, does not know the argument.
        archive.extractall(target, **({'filter': 'fully_trusted'} if hasattr(tarfile, 'fully_trusted_filter') else {}))
    done.write_text(manifest, encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
