"""The run: profiles without unknown keys, pinned threads and seeds, short logs."""

import os
import platform
import random
import resource
import subprocess
import sys
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


def test_every_library_gets_the_threads(monkeypatch):
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(variable, "7")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits(2):  # what is left when the test is over
        runtime.use_machine(1)
        assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
    assert os.environ["MKL_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["NUMBA_NUM_THREADS"] == "3"  # as many as there may ever be
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again():
    """In a process of its own: what is asked for, touched and freed 50 times costs the pages of one."""
    code = (
        "import resource, torch\n"
        "from m5utils import runtime\n"
        "runtime.use_machine(1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for n in range(50): torch.ones(25_000_000 - 1000 * n)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    pages = int(subprocess.check_output([sys.executable, "-c", code]))
    assert pages < 10 * 25_000_000 * 4 / resource.getpagesize()


def test_the_start_is_told_in_one_line(capsys):
    runtime.start("03", "demo", seed=1)
    drawn = torch.rand(1)
    runtime.seed_everything(1)
    assert torch.rand(1) == drawn  # the start has seeded
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for said in ("notebook 03", "profile demo", "seed 1", "commit ", torch.__version__, "cpu"):
        assert said in line


def test_seeding_makes_every_generator_repeat():
    runtime.seed_everything(3)
    first = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    runtime.seed_everything(3)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first  # noqa: NPY002
    assert torch.backends.cudnn.deterministic


def test_the_commit_is_marked_if_tracked_files_differ(tmp_path, monkeypatch):
    def git(*words):
        user = ("-c", "user.name=A Test", "-c", "user.email=a@test")
        return subprocess.run(
            ["git", *user, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )

    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "runtime.py"))
    assert runtime.commit() == "none"
    (tmp_path / "tracked").write_text("one")
    git("init")
    git("add", "tracked")
    git("commit", "-m", "one")
    head = git("rev-parse", "--short", "HEAD").stdout.strip()
    (tmp_path / "untracked").write_text("one")
    assert runtime.commit() == head
    (tmp_path / "tracked").write_text("two")
    assert runtime.commit() == f"{head}+"


def test_versions_are_the_installed_ones():
    assert runtime.versions("numpy") == {"python": platform.python_version(), "numpy": np.__version__}


def test_progress_without_a_terminal_is_a_line_per_half_minute(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert list(runtime.progress("abcdef", 6, "counting")) == list("abcdef")
    assert capsys.readouterr().out == "counting: 2 of 6 it\ncounting: 5 of 6 it\n"
