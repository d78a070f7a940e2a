import os
import socket

import pytest
import torch
from builders import exit_code_of, fork
from torch import distributed as dist
from torch import nn

from cairn_trainer.gradients import GradientMean


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 3))


def _loss(network, rank):
    return network(torch.randn(5, 6, generator=torch.Generator().manual_seed(rank))).square().mean()


def _mean_over(world):
    gradients = []
    for rank in range(world):
        network = _network()
        _loss(network, rank).backward()
        gradients.append([p.grad for p in network.parameters()])
    return [torch.stack(parts).mean(0) for parts in zip(*gradients, strict=True)]


def _batches_mean_over(world):
    """As _mean_over, of three batches a rank, each a third."""
    networks = [_network() for _ in range(world)]
    for rank, network in enumerate(networks):
        for number in range(3):
            (_loss(network, rank + 10 * number) / 3).backward()
    return [torch.stack(parts).mean(0) for parts in zip(*([p.grad for p in n.parameters()] for n in networks), strict=True)]


def _check_rank(rank, world, port, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), GLOO_SOCKET_IFNAME='lo')
    dist.init_process_group('gloo')
    network = _network()
    # 100 bytes: several buckets, one of them a single parameter larger than a bucket.
    mean = GradientMean(list(network.parameters()), world, bucket_bytes=100)
    for _ in range(2):
        mean.zero()
        mean.begin()
        _loss(network, rank).backward()
        assert mean.finish()
    torch.save([p.grad.clone() for p in network.parameters()], folder / f'{rank}.pt')
    mean.zero()
    for number in range(3):
        mean.begin(is_last=number == 2)
        (_loss(network, rank + 10 * number) * (8 / 3)).backward()
    assert mean.finish(8)
    torch.save([p.grad.clone() for p in network.parameters()], folder / f'{rank}-batches.pt')
    mean.zero()
    mean.begin()
    (_loss(network, rank) * (float('inf') if rank == 1 else 1.0)).backward()
    assert not mean.finish()
    dist.destroy_process_group()
    return 0


@pytest.mark.parametrize('world', [2, 3])
def test_every_rank_gets_the_mean_and_hears_of_one_ranks_infinity(tmp_path, world):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = [fork(_check_rank, rank, world, port, tmp_path) for rank in range(world)]
    assert [exit_code_of(process) for process in processes] == [0] * world
    for name, expected in (('', _mean_over(world)), ('-batches', _batches_mean_over(world))):
        for rank in range(world):
            for found, wanted in zip(torch.load(tmp_path / f'{rank}{name}.pt'), expected, strict=True):
                torch.testing.assert_close(found, wanted)


def test_a_lone_rank_keeps_its_own_gradient_and_frozen_parameters_have_none():
    network, plain = _network(), _network()
    network[0].bias.requires_grad = False
    mean = GradientMean(list(network.parameters()), 1)
    for _ in range(2):
        mean.zero()
        mean.begin()
        _loss(network, 0).backward()
        assert mean.finish()
    _loss(plain, 0).backward()
    assert network[0].bias.grad is None
    assert torch.equal(network[2].weight.grad, plain[2].weight.grad)


def test_a_parameter_without_a_gradient_is_a_fault_not_a_silent_zero():
    network = _network()
    mean = GradientMean(list(network.parameters()), 1)
    mean.zero()
    mean.begin()
    network[0](torch.randn(2, 6)).sum().backward()
    with pytest.raises(RuntimeError, match='3 parameters got no gradient'):
        mean.finish()


def test_the_gradients_of_several_batches_add_up_to_that_of_one_large_batch():
    network, plain = _network(), _network()
    batches = [torch.randn(4, 6, generator=torch.Generator().manual_seed(number)) for number in range(3)]
    mean = GradientMean(list(network.parameters()), 1)
    for scale in (1.0, 1024.0):
        mean.zero()
        for number, batch in enumerate(batches):
            mean.begin(is_last=number == 2)
            (network(batch).square().mean() * (scale / 3)).backward()
        assert mean.finish(scale)
        plain.zero_grad()
        plain(torch.cat(batches)).square().mean().backward()
        for found, wanted in zip(network.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad)


def test_a_gradient_lies_in_memory_as_its_parameter_does():
    # The optimizer goes through weights and gradients in the order of memory.
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    mean = GradientMean(list(network.parameters()), 1)
    for images in (torch.randn(2, 3, 9, 9), torch.randn(2, 3, 9, 9).to(memory_format=torch.channels_last)):
        mean.zero()
        mean.begin()
        network(images).sum().backward()
        assert mean.finish()
        for parameter in network.parameters():
            assert parameter.grad.stride() == parameter.stride()
