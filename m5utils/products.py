"""Products of embeddings, block by block, on all threads without one of them waiting for another.

Knows float32 matrices. Must not know what their rows stand for.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

Share = TypeVar("Share")
Done = TypeVar("Done")

# Matrix products treat the last few rows of odd-sized operands with another kernel, whose rounding
# differs: equal embeddings would get unequal scores. Operands are padded with zeros to this multiple.
PADDING = 16


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Left times right transposed, equal rows giving equal products wherever they stand.

    By torch's MKL. NumPy's OpenBLAS is up to a tenth faster on some of AMD's processors, but where it takes
    its Haswell kernel (on the newest of them, too) a product depends on the row's place in the block.
    """
    torch.mm(left, right.T, out=out)


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple that is not below n."""
    return -(-n // multiple) * multiple


def workers(most: int, device: torch.device) -> int:
    """How many threads can have work of their own: torch's number on a CPU, at most `most`, else one."""
    return max(1, min(torch.get_num_threads(), most)) if device.type == "cpu" else 1


def in_threads(work: Callable[[Share], Done], shares: Sequence[Share]) -> list[Done]:
    """`work(share)` of every share, each in a thread of its own whose products use that thread only.

    Instead of a share of every operation each thread has blocks of its own: nobody waits for anybody, which
    halves the time on a busy machine.
    """
    if len(shares) == 1:
        return [work(shares[0])]

    @torch.no_grad()  # each thread has its own switch
    def alone(share: Share) -> Done:
        return work(share)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(shares)) as pool:
            return list(pool.map(alone, shares))
    finally:
        torch.set_num_threads(threads)
