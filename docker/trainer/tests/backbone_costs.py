"""The cost of a backbone for one image, counted on tensors without data: the table that plans are computed from."""

import torch
from torch import nn

from cairn_trainer.backbones import BACKBONES

SIDE = 256
_IMAGES = 2  # batch norms reject a single one


def costs_of(name: str) -> dict[str, int]:
    """Parameters; multiply-adds of one forward pass; elements that an optimizer step keeps for its backward pass; the largest map."""
    with torch.device('meta'):
        net = BACKBONES[name].build()
        image = torch.empty(_IMAGES, 3, SIDE, SIDE)
    counts = {'parameters': sum(parameter.numel() for parameter in net.parameters()), 'multiplyAdds': 0, 'kept': 0, 'largestMap': 0}

    def count(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
        counts['largestMap'] = max(counts['largestMap'], output[0].numel())
        if isinstance(module, nn.Conv2d | nn.Linear):
            counts['multiplyAdds'] += module.weight.numel() * (output[0, 0].numel() if output.ndim == 4 else 1)

    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    parameters = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    held = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            held[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = net(image)
    assert result.requires_grad  # freed with the graph
    counts['kept'] = sum(storage.nbytes() // 4 for storage in held.values()) // _IMAGES
    return counts
