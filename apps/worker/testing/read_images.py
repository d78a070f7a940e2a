"""Reads images as the trainer's loaders do, in a forked process too: a list of places as JSON in, what each is out."""

import hashlib
import json
import os
import sys
from pathlib import Path

from cairn_trainer.decoding import BadImageError
from cairn_trainer.errors import TrainerError
from cairn_trainer.image_files import FileState
from cairn_trainer.served_images import open_images


def main() -> None:
    root, places = sys.argv[1], json.loads(sys.argv[2])
    images = open_images(Path(root))

    def read(place: dict) -> str:
        try:
            registered = FileState(place['fileBytes'], place['fileChangedMs'])
            return hashlib.sha256(images.read_piece(place['tar'], place['offset'], place['size'], registered)).hexdigest()
        except BadImageError as error:
            return f'bad: {error}'
        except TrainerError as error:
            return f'{error.code}: {error}'

    print(json.dumps([read(place) for place in places]), flush=True)
    if os.fork() == 0:
        print(json.dumps([read(place) for place in reversed(places)]), flush=True)
        os._exit(0)
    os.wait()


main()
