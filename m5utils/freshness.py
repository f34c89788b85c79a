"""What a notebook's results depend on, and whether the results that stand still match it.

Knows notebooks, sources, datasets and provenance files. Must not know how a notebook is run.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from m5utils import paths

if TYPE_CHECKING:
    from m5utils.runtime import Profile

PACKAGE = Path(__file__).parent
SHOWN = 5  # changes that are named to the reader


def code_cells(notebook: Path, tag: str | None = None) -> list[str]:
    """The sources of a notebook's code cells, or only of those with a tag; nothing else of them counts.

    Raises:
        ValueError: If the file is no notebook.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{notebook} is no notebook: {error!r}") from error
    return [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and (tag is None or tag in cell["metadata"].get("tags", []))
    ]


def parameters(notebook: Path) -> dict[str, object]:
    """The names and default values in a notebook's one `parameters` cell, which holds literals only.

    Read from the syntax tree, because papermill's reader knows names but not values and only warns.

    Raises:
        ValueError: If there is not exactly one such cell, or a line of it is no `name = literal`.
    """
    cells = code_cells(notebook, tag="parameters")
    if len(cells) != 1:
        raise ValueError(f"{notebook.name}: expected one cell tagged `parameters`, got {len(cells)}")
    values = {}
    for line in ast.parse(cells[0]).body:
        match line:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                try:
                    values[name] = ast.literal_eval(value)
                    continue
                except ValueError:
                    pass  # not a literal: refused below, with the line
        raise ValueError(
            f"{notebook.name}: the parameters cell holds `name = literal` only, got `{ast.unparse(line)}`"
        )
    return values


def modules(sources: Iterable[str]) -> dict[str, Path]:
    """Every module of the package that these sources import, directly or through one another, by name."""
    found: dict[str, Path] = {}
    waiting = [name for source in sources for name in _imported(source, "__main__")]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None:
            continue
        found[name] = file
        waiting.append(name.rpartition(".")[0])  # importing a.b runs a/__init__.py too
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting.extend(_imported(file.read_text(encoding="utf-8"), package))
    return dict(sorted(found.items()))


@functools.cache
def _imported(source: str, package: str) -> list[str]:
    """The names a source imports, as far as its text tells; lines of IPython's own are left out."""
    python = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    names = []
    for node in ast.walk(ast.parse(python)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def _file(module: str) -> Path | None:
    """The file of a module of this package, None for anything else."""
    first, *rest = module.split(".")
    if first != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def datasets(names: Iterable[str], function: str = "for_profile") -> dict[str, Callable]:
    """The `for_profile` of every dataset among these modules, by the dataset's name.

    A dataset is a module of `m5utils.datasets` with `for_profile(profile)`, which gives splits that
    have `files` (names), `paths()` and `annotations()`, see `datasets.listed`. Data that a notebook uses
    where it is there, and can do without, is given by a `function` of another name.
    """
    inside = [name for name in names if name.startswith(f"{PACKAGE.name}.datasets.")]
    load = {
        name.rpartition(".")[2]: getattr(importlib.import_module(name), function, None) for name in inside
    }
    return {name: found for name, found in load.items() if found}


def data(names: Iterable[str], profile: "Profile") -> dict[str, str]:
    """A key of the files, names, bytes and annotations, of each split of each dataset among these modules."""
    keys, names = {}, list(names)
    phrases = {f"captions/{name}": load for name, load in datasets(names, "with_boxes").items()}
    for name, load in (datasets(names) | phrases).items():
        for split, images in load(profile).items():
            content = zip(images.files, paths.content_hashes(images.paths()), strict=True)
            keys[f"{name}/{split}"] = paths.key_of([*content, *images.annotations()])
    return keys


def named_files(sources: Iterable[str], profile: "Profile") -> dict[str, str]:
    """A key of each file or folder of word vectors and models that a notebook reads, by its setting's name.

    A notebook names such a setting itself, or takes the profile's word vectors.
    """
    text, keys = "\n".join(sources), {}
    for name in ("M5_CLIP", "M5_FASTTEXT", "M5_GLOVE"):
        used = name in text or (name == profile.word_vectors and "word_vectors(" in text)
        if used and paths.setting(name):
            place = paths.named(name)
            files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
            keys[name] = paths.key_of(paths.content_hashes(files))
    return keys


def inputs(
    notebook: Path, profile: "Profile", values: dict[str, object], upstream: dict[str, str | None]
) -> dict[str, object]:
    """All that a notebook's results depend on, as JSON; `paths.key_of` it to get the notebook's key.

    Args:
        notebook: The notebook's file.
        profile: The resolved profile.
        values: Every parameter of the notebook with its value.
        upstream: The key of the results of each notebook that this one reads.
    """
    sources = code_cells(notebook)
    used = modules(sources)
    parts = {
        "cells": paths.key_of(sources),
        "modules": {name: paths.meaning(file.read_text(encoding="utf-8")) for name, file in used.items()},
        "profile": dataclasses.asdict(profile),
        "parameters": values,
        "data": data(used, profile),
        "files": named_files(sources, profile),
        "lock": paths.sha256(paths.ROOT / "requirements.lock"),
        "upstream": upstream,
    }
    return json.loads(json.dumps(parts, allow_nan=False))  # as it will be read back: tuples are lists


def provenance_file(number: str, profile_name: str) -> Path:
    """Where the provenance of a notebook's results stands; without it they count as none."""
    return paths.GENERATED / profile_name / f"{number}.provenance.json"


def provenance(number: str, profile_name: str) -> dict | None:
    """What is recorded of a notebook's results; None if nothing is, or it was cut off or edited by hand."""
    try:
        record = json.loads(provenance_file(number, profile_name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and {"key", "inputs", "outputs"} <= record.keys()
    return record if whole else None


def standing(number: str, profile_name: str) -> str | None:
    """The key of the results that stand, their content's if a hand-run notebook wrote them, else None."""
    record = provenance(number, profile_name)
    if record is not None:
        return record["key"]
    numbers = paths.GENERATED / profile_name / f"{number}.json"
    return paths.sha256(numbers) if numbers.is_file() else None


def why_stale(number: str, profile_name: str, now: dict[str, object]) -> str | None:
    """Why a notebook has to run: one phrase for the reader, None if its results match `inputs` now.

    Pictures that show photographs may be absent: they are not handed on with the others.
    """
    record = provenance(number, profile_name)
    if record is None:
        return "no results yet"
    if record["key"] != paths.key_of(now):
        changes = _changes(record["inputs"], now)
        more = [f"and {len(changes) - SHOWN} more"] if len(changes) > SHOWN else []
        return "changed: " + ", ".join(changes[:SHOWN] + more)
    for name, output in record["outputs"].items():
        file = paths.ROOT / name
        if not file.is_file():
            if not output["photographs"]:
                return f"missing: {name}"
        elif paths.sha256(file) != output["sha256"]:
            return f"not as it was written: {name}"
    return None


def _changes(before: dict, now: dict) -> list[str]:
    """Which inputs differ, by name; the parts of an input where it has some."""
    changes = []
    for part, value in now.items():
        old = before.get(part)
        if isinstance(value, dict) and isinstance(old, dict):
            changes += [f"{part} {name}" for name in sorted(value | old) if value.get(name) != old.get(name)]
        elif value != old:
            changes.append(part)
    return changes or ["the record itself"]
