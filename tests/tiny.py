"""Tiny notebooks, projects and models for the tests of what runs, checks and publishes notebooks."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from m5utils import freshness, paths

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PARAMETERS = 'profile = "demo"\nseed = 0\nmargin = 0.2\nminer = "hard"\nretrain = False'
START = """from types import SimpleNamespace
from m5utils import report
out = report.Outputs(SimpleNamespace(notebook=NUMBER, profile=SimpleNamespace(name=profile), started=0.0))"""
DRAW = """from matplotlib.figure import Figure
fig = Figure(figsize=(1, 1))
_ = fig.subplots().plot([0, margin])
out.figure(fig, "line")"""


def cell(kind: str, source: str, *tags: str) -> dict:
    """A notebook cell as it is stored, named by its content."""
    name = hashlib.sha256(source.encode()).hexdigest()[:8]
    stored = {
        "cell_type": kind,
        "id": name,
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
    }
    return stored | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def write_notebook(path: Path, *sources: str, parameters: str = PARAMETERS) -> Path:
    """A notebook of a title, a parameters cell and a code cell per source."""
    cells = [cell("markdown", "# A tiny notebook"), cell("code", parameters, "parameters")]
    cells += [cell("code", source) for source in sources]
    notebook = {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def write_whole(folder: Path, number: str, *sources: str) -> Path:
    """A notebook that draws a figure, keeps `tiny/map` (its margin) and publishes, after `sources`."""
    start = START.replace("NUMBER", repr(number))
    end = 'out.number("tiny/map", margin)\nout.publish()'
    return write_notebook(folder / f"{number}_tiny.ipynb", start, DRAW, *sources, end)


def copy_project(root: Path) -> Path:
    """This package with no notebooks: paths start at the package, so all it writes stays in `root`."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(paths.__file__).parent, root / "m5utils", ignore=ignored)
    (root / "notebooks").mkdir()
    shutil.copy(paths.NOTEBOOKS / "Snakefile", root / "notebooks")
    (root / "requirements.lock").write_text("pinned==1\n")
    return root


def work_in_a_copy(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the project, and let this process take the copy for it."""
    copy_project(root)
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "NOTEBOOKS", root / "notebooks")
    monkeypatch.setattr(paths, "FIGURES", root / "figures")
    monkeypatch.setattr(paths, "GENERATED", root / "report" / "generated")
    monkeypatch.setattr(paths, "BUILD", root / "build")
    monkeypatch.setattr(freshness, "PACKAGE", root / "m5utils")
    return root


def write_bert(folder: Path, words: list[str]) -> None:
    """A BERT of four layers and random weights that knows these word pieces, in Hugging Face's layout."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=9,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def m5(project: Path, *arguments: str, **settings: str) -> subprocess.Popen:
    """Start `m5` of a project, in a process group of its own so that it can be killed.

    The user has a kernel `python3` that belongs to something else and does not start.
    """
    jupyter = project / "build" / "jupyter of the user"
    kernel = jupyter / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    kernel.write_text('{"argv": ["false"], "display_name": "broken", "language": "python"}')
    inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment = {
        "PYTHONPATH": str(project),
        "JUPYTER_DATA_DIR": str(jupyter),
        "JUPYTER_PREFER_ENV_PATH": "0",
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    return subprocess.Popen(
        [sys.executable, "-m", "m5utils.cli", *arguments],
        cwd=project,
        env=inherited | environment | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
