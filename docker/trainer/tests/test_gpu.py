import ctypes
import multiprocessing
import resource

import pytest
import torch
from builders import exit_code_of

from cairn_trainer.config import ModelSettings
from cairn_trainer.gpu import keep_freed_memory, why_unsupported
from cairn_trainer.model import EmbeddingNet

BUILT = ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120', 'compute_120']


@pytest.mark.parametrize('capability', [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (12, 1), (13, 0)])
def test_a_gpu_is_taken_when_torch_is_built_for_it_or_an_earlier_chip_of_its_generation(capability):
    assert why_unsupported('a GPU', capability, BUILT, 'fp32') is None


@pytest.mark.parametrize('capability', [(7, 0), (6, 1), (11, 0)])
def test_another_gpu_is_rejected_by_its_name_with_what_torch_is_built_for(capability):
    why = why_unsupported('Tesla V100-SXM2-16GB', capability, BUILT, 'fp32')
    assert why.startswith(f'The GPU Tesla V100-SXM2-16GB has compute capability {capability[0]}.{capability[1]}; torch ')
    assert 'is built for 7.5, 8.0, 8.6, 9.0, 10.0, 12.0.' in why


def test_bf16_is_rejected_on_a_gpu_that_has_none():
    assert 'precision bf16 needs 8.0. Use fp16.' in why_unsupported('Tesla T4', (7, 5), BUILT, 'bf16')
    assert why_unsupported('Tesla T4', (7, 5), BUILT, 'fp16') is None
    assert why_unsupported('A100', (8, 0), BUILT, 'bf16') is None


def _check_kept():
    torch.set_num_threads(1)
    net = EmbeddingNet(ModelSettings(backbone='resnet18', embedding_dim=16), classes=4)

    def pages_of_a_step():
        """The page faults of the last of several steps."""
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            net.zero_grad()
            net(torch.randn(4, 3, 32, 32), torch.arange(4)).loss.backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # By default glibc returns memory to the kernel only at the end of the heap; here it returns every large block.
    assert ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
    without = pages_of_a_step()
    assert without > 0
    assert keep_freed_memory()
    kept = pages_of_a_step()
    assert kept < without / 4, (kept, without)


def test_a_step_reuses_the_memory_that_the_previous_step_freed():
    # Not forked: free memory of earlier tests would be reused by the first steps.
    process = multiprocessing.get_context('spawn').Process(target=_check_kept)
    process.start()
    assert exit_code_of(process) == 0
