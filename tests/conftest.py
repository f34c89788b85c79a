"""What every test runs under: its own seed and cache, the CPU, and no network.

torch is imported where it is used: the process that deals out the tests does without it, and starts sooner.
"""

import gc
import os
import random
import socket
import sys
from collections.abc import Iterator

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is imported: a test gives the same on every machine
os.environ["MPLBACKEND"] = "agg"

import numpy as np
import pytest

# jsonschema, which nbformat asks, would compile a grammar of web addresses at every start: seconds.
sys.modules.setdefault("rfc3987_syntax", None)

gc.disable()  # until all is imported, see below

LOCAL = ("127.0.0.1", "::1", "localhost")


def pytest_collection_finish() -> None:
    """What was imported stays: a collection of garbage need not look through half a million objects of it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def seed() -> None:
    """Seed per test: the order of the tests does not matter."""
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that use the global generator
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny pictures and models: a second thread costs more than it brings, most of all on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, also for the processes it starts."""
    monkeypatch.setenv("M5_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched: a test that tries to is told so, and libraries are asked not to."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: object) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in LOCAL:
            raise OSError(f"a test must not use the network; it tried {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many threads as torch may use; who changes that has to change it back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)
