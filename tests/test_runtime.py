"""The run: profiles without unknown keys, pinned threads and seeds, short logs."""

import os
import time

import numpy as np
import pytest
import threadpoolctl
import torch

from m5utils import runtime


def test_unknown_profiles_and_values_are_refused():
    with pytest.raises(ValueError, match="out of demo, lab, course; got 'big'"):
        runtime.profile("big")
    with pytest.raises(ValueError, match="profile demo has no 'epoch'; it has .*epochs"):
        runtime.profile("demo", epoch=3)
    assert runtime.profile("demo", epochs=3).epochs == 3


def test_threads_are_the_profiles_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    try:
        run = runtime.start("01", "demo", seed=5)
        assert torch.get_num_threads() == run.profile.threads == 2
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert all(pool["num_threads"] <= 2 for pool in threadpoolctl.threadpool_info())
        assert list(run.seeds) == [5, 6, 7]
    finally:
        torch.set_num_threads(before)


def test_the_start_is_told_in_one_line(capsys):
    runtime.start("03", "demo", seed=1)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for said in ("notebook 03", "profile demo", "seed 1", "commit ", torch.__version__, "cpu"):
        assert said in line


def test_seeding_makes_every_generator_repeat():
    runtime.seed_everything(3)
    first = np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    runtime.seed_everything(3)
    assert (np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002


def test_progress_without_a_terminal_is_a_line_per_half_minute(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(runtime.progress(range(5), 5, "counting")) == [0, 1, 2, 3, 4]
    assert 1 <= len(capsys.readouterr().out.splitlines()) <= 3
