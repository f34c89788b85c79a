"""What the comparisons share: times that survive a noisy machine, memory, a cache of their own."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

# Left times right transposed into an output that is there. The faster one (it depends on the machine) is the
# bare matrix product that ours is compared with, and whose rate makes a floor of multiply-adds.
PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "product_torch": lambda left, right, out: torch.mm(left, right.T, out=out),
    "product_numpy": lambda left, right, out: np.matmul(left.numpy(), right.numpy().T, out=out.numpy()),
}

PAUSE = 0.2  # seconds


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each call: the least of several, taken in turns so that a busy spell hits all alike.

    A pause before each: OpenBLAS's threads spin for a while after a product, on the cores of who comes next.
    """
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def bare_products(left: Tensor, right: Tensor) -> dict[str, Callable[[], object]]:
    """The products of these, (n, dim) and (m, dim), as calls for `interleaved`, each into the same output."""
    out = torch.empty(len(left), len(right))
    return {name: partial(multiply, left, right, out) for name, multiply in PRODUCTS.items()}


def fastest_product(seconds: dict[str, float]) -> float:
    """The seconds of the faster one."""
    return min(seconds[name] for name in PRODUCTS)


def repeat(call: Callable[[], object], times: int) -> None:
    """As many times: long enough to be as disturbed as what it is compared with."""
    for _ in range(times):
        call()


@contextmanager
def temporary_cache() -> Iterator[Path]:
    """A folder that is `M5_CACHE` meanwhile, and is gone afterwards."""
    before = os.environ.get("M5_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["M5_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("M5_CACHE")
            if before is not None:
                os.environ["M5_CACHE"] = before


def peak_mb(call: Callable[[], object]) -> float:
    """The most memory of its own (not mapped from files) that this process held during a call, in MB."""
    done, peak = threading.Event(), [own_mb()]

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], own_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        kept = call()
        peak[0] = max(peak[0], own_mb())
        del kept
    finally:
        done.set()
        watcher.join()
    return peak[0]


def own_mb() -> float:
    """The anonymous memory of this process, as Linux counts it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(kilobytes) / 1024
