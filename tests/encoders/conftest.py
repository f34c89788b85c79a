"""What every test of an encoder needs."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny pictures and models: a second thread costs more than it brings, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
