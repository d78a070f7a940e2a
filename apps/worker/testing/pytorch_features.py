"""Features by PyTorch in fp32 of every readable image of lists, for a comparison with those of an extraction.

    python -I pytorch_features.py TRAINER MODEL WEIGHTS IMAGE_SIZE PREPROCESSING ROOT LIST...

TRAINER is the folder of the package, MODEL the network's settings as JSON, WEIGHTS the `weights.pt` of its export, ROOT the image folder.
Prints a JSON object: for each list, the vector of each image id.
"""

import json
import sys
from pathlib import Path

import torch

trainer, model, weights, image_size, preprocessing, root, *lists = sys.argv[1:]
sys.path.insert(0, trainer)

from cairn_trainer.config import ModelSettings  # noqa: E402
from cairn_trainer.decoding import BadImageError  # noqa: E402
from cairn_trainer.lists import ImageList  # noqa: E402
from cairn_trainer.model import EmbeddingNet, normalise  # noqa: E402
from cairn_trainer.transforms import decode  # noqa: E402
from cairn_trainer.typed_json import parse_json  # noqa: E402

state = torch.load(weights, weights_only=True)
net = EmbeddingNet(parse_json(ModelSettings, model, 'the model'), classes=len(state['classifier.weight']))
net.load_state_dict(state)
net.eval()


def features(path: str) -> dict[str, list[float]]:
    images = ImageList(Path(path), Path(root), is_labelled=False)
    vectors = {}
    for row in range(images.rows):
        try:
            pixels = decode(images.read(row), int(image_size), preprocessing)
        except BadImageError:
            continue
        with torch.inference_mode():
            vectors[images.image_id(row)] = net.features(normalise(torch.from_numpy(pixels[None])))[0].tolist()
    return vectors


print(json.dumps([features(path) for path in lists]))
