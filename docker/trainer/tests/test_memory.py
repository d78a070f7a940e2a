import ctypes
import multiprocessing
import resource

import torch
from builders import exit_code_of

from cairn_trainer.config import ModelSettings
from cairn_trainer.memory import keep_freed_memory
from cairn_trainer.model import EmbeddingNet


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
