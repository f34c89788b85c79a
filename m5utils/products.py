"""Products of embeddings, block by block, on all threads without one of them waiting for another.

Knows float32 matrices. Must not know what their rows stand for.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from llvmlite.binding import get_host_cpu_name
from threadpoolctl import threadpool_limits
from torch import Tensor

Share = TypeVar("Share")
Done = TypeVar("Done")

# Matrix products treat the last few rows of odd-sized operands with another kernel, whose rounding
# differs: equal embeddings would get unequal scores. Operands are padded with zeros to this multiple.
PADDING = 16
_ONEDNN = torch.backends.mkldnn.is_available()


def left_idle_by_mkl(instructions: str, processor: str) -> bool:
    """Whether MKL leaves AVX-512 idle: on AMD's processors ("znver4", …) that have it."""
    return instructions.startswith("AVX512") and processor.startswith("znver")


_WIDE = _ONEDNN and left_idle_by_mkl(torch.backends.cpu.get_cpu_capability(), get_host_cpu_name())


def multiply(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Left times right transposed, equal rows giving equal products wherever they stand.

    By MKL (torch's `mm`), faster than oneDNN by a sixth where both have AVX2 and by a tenth where both have
    AVX-512; by oneDNN on AMD's processors with AVX-512, which MKL leaves idle there. NumPy's OpenBLAS lets a
    product depend on the row's place.

    Args:
        left: (n, dim).
        right: (m, dim).
        out: (n, m) to write to; memory that was used before costs less than new memory.

    Returns:
        (n, m): `out`, or what is new.
    """
    if _WIDE and _known_to_onednn(left):
        made = _by_onednn(left, right)
        return made if out is None else out.copy_(made)
    return torch.mm(left, right.T, out=out)


def _known_to_onednn(rows: Tensor) -> bool:
    return rows.device.type == "cpu" and rows.dtype == torch.float32


def _by_onednn(left: Tensor, right: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


class Multiplied(torch.autograd.Function):
    """`multiply` for what is learned: `Multiplied.apply(rows, weight)`.

    Gradients by oneDNN wherever it is: between the steps of a training MKL takes half as long again for them.
    """

    @staticmethod
    def forward(ctx, left: Tensor, right: Tensor) -> Tensor:  # noqa: ANN001
        """(n, dim) and (m, dim) to (n, m)."""
        ctx.save_for_backward(left, right)
        return multiply(left, right)

    @staticmethod
    def backward(ctx, above: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN001
        """(n, m) to the shapes of what was multiplied."""
        left, right = ctx.saved_tensors
        product = _by_onednn if _ONEDNN and _known_to_onednn(above) else multiply
        return (
            product(above, right.T) if ctx.needs_input_grad[0] else None,
            product(above.T, left.T) if ctx.needs_input_grad[1] else None,
        )


def check_finite(rows: Tensor, what: str) -> None:
    """Raise ValueError if a row of (n, dim) holds NaN or Inf, with its number."""
    if rows.numel() and not torch.stack(rows.aminmax()).isfinite().all():  # one pass; NaN goes through
        bad = (~rows.isfinite().all(dim=1)).nonzero()
        raise ValueError(
            f"{what} must be finite; row {int(bad[0])} is not ({len(bad)} such rows). Encode that item again "
            "or leave it out."
        )


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

    @torch.no_grad()  # each thread has its own switch, and its own number of threads
    def alone(share: Share) -> Done:
        torch.set_num_threads(1)
        return work(share)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(len(shares)) as pool:
            return list(pool.map(alone, shares))
    finally:
        torch.set_num_threads(threads)
