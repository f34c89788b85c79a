"""The notebooks as they are stored: short steps in prose and code, nothing left of a run.

Each rule is shown a notebook that breaks it.
"""

import ast
import copy
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from m5utils import freshness, paths

EXPECTED = [
    "01_data",
    "02_p4a_pretrained",
    "03_p4b_siamese",
    "04_p4c_triplet",
    "05_p4d_embedding_space",
    "06_p4e_coco",
    "07_p5a_image_to_text",
    "08_p5b_text_to_image",
    "09_p5c_bert",
    "10_structure_preserving",
    "11_semantic_retrieval",
    "12_results",
]
# a folder of one machine; keys such as "/std" begin with / too
ABSOLUTE = re.compile(r"~|[A-Z]:\\|/(home|root|Users|mnt|media|data|scratch|tmp|opt|usr|var|work|srv)\b")
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))


def test_these_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == EXPECTED


@pytest.mark.parametrize("stem", EXPECTED)
def test_a_notebook_follows_the_rules(stem: str):
    assert complaints(paths.NOTEBOOKS / f"{stem}.ipynb") == []


def test_a_notebook_needs_the_data_of_its_own_task_alone():
    used = {}
    for path in NOTEBOOKS:
        names = freshness.datasets(freshness.modules(freshness.code_cells(path)))
        used.setdefault(tuple(names), []).append(path.name[:2])
    assert used == {
        ("mit_split",): ["01", "02", "03", "04", "05"],
        ("coco_retrieval",): ["06"],
        ("captions",): ["07", "08", "09", "10", "11"],
        (): ["12"],
    }


def complaints(path: Path) -> list[str]:
    """Every rule that a notebook breaks, with the cell (counted from 0)."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]]
    found = [] if notebook["metadata"] == tiny.METADATA else [f"metadata: expected {tiny.METADATA}"]
    try:
        freshness.parameters(path)
    except ValueError as error:
        found.append(str(error))
    for number, cell in enumerate(cells):
        rules = of_a_code_cell(cell) if cell["cell_type"] == "code" else of_any_cell(cell)
        found += [f"cell {number}: {rule}" for rule in rules]
    return found + of_the_order(path, cells)


def of_any_cell(cell: dict) -> list[str]:
    found = [] if set(cell["metadata"]) <= {"tags"} else ["metadata beside tags"]
    return found if cell["source"].strip() else [*found, "empty"]


def of_a_code_cell(cell: dict) -> list[str]:
    found = of_any_cell(cell)
    lines = cell["source"].splitlines()
    if cell["outputs"] or cell["execution_count"] is not None:
        found.append("outputs or an execution count")
    if len(lines) > 15:
        found.append(f"{len(lines)} lines, at most 15")
    if any(line.lstrip().startswith(("!", "%")) for line in lines):
        return [*found, "a shell or IPython command"]
    for node in ast.walk(ast.parse(cell["source"])):
        if isinstance(node, ast.ClassDef):
            found.append(f"class {node.name} belongs in the package")
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 8:
            found.append(f"function {node.name} over 8 lines belongs in the package")
        if isinstance(node, ast.Constant) and ABSOLUTE.match(str(node.value)):
            found.append(f"absolute path {node.value!r}")
    if calls(cell, "figure") > 1:
        found.append("more than one figure")
    return found


def of_the_order(path: Path, cells: list[dict]) -> list[str]:
    found = []
    if not cells[0]["source"].startswith(f"# {path.name[:2]} · "):
        found.append(f"the first line: expected `# {path.name[:2]} · title`")
    kinds = "".join("c" if cell["cell_type"] == "code" else "p" for cell in cells)
    if not kinds.startswith("p"):
        found.append("prose comes before code")
    if "cccc" in kinds:
        found.append(f"cell {kinds.index('cccc')}: four code cells without prose between them")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    if "parameters" not in code[0]["metadata"].get("tags", []):
        found.append("the first code cell is the parameters cell")
    middle = statistics.median(len(cell["source"].splitlines()) for cell in code)
    if not 3 <= middle <= 9:
        found.append(f"half of the code cells have {middle} lines or more, expected 3 to 9")
    if [calls(cell, "publish") for cell in code] != [0] * (len(code) - 1) + [1]:
        found.append("out.publish() is called once, in the last code cell")
    if len({cell.get("id") for cell in cells}) != len(cells):
        found.append("cell ids are missing or not unique")
    return found


def calls(cell: dict, method: str) -> int:
    """How often a cell calls `out.<method>(...)`."""
    lines = (line for line in cell["source"].splitlines() if not line.lstrip().startswith(("!", "%")))
    nodes = ast.walk(ast.parse("\n".join(lines)))
    return sum(isinstance(node, ast.Call) and ast.unparse(node.func) == f"out.{method}" for node in nodes)


# --- each rule is seen to fail -----------------------------------------------------------------------------

GOOD = {
    "cells": [
        tiny.cell("markdown", "# 03 · Tiny\nWhat is small?"),
        tiny.cell("code", 'profile = "demo"\nseed = 0\nmargin = 0.2', "parameters"),
        tiny.cell("markdown", "Draw it."),
        tiny.cell("code", "import m5utils\nfig = draw()\nout.figure(fig, 'line')"),
        tiny.cell("markdown", "Hand it on."),
        tiny.cell("code", "out.number('map', 0.5)\nout.number('n', 3)\nout.publish()"),
    ],
    "metadata": tiny.METADATA,
    "nbformat": 4,
    "nbformat_minor": 5,
}


def write(folder: Path, notebook: dict) -> Path:
    path = folder / "03_tiny.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def set_source(number: int, source: str) -> Callable[[dict], None]:
    return lambda notebook: notebook["cells"][number].update(source=source)


def drop(number: int) -> Callable[[dict], None]:
    return lambda notebook: notebook["cells"].pop(number)


def test_a_good_notebook_passes(tmp_path: Path):
    assert complaints(write(tmp_path, GOOD)) == []


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (set_source(1, "margin = 2 * 0.1\na = 1\nb = 2"), "holds `name = literal` only"),
        (lambda n: n["cells"][1]["metadata"].clear(), "one cell tagged `parameters`, got 0"),
        (
            lambda n: n["cells"][3]["metadata"].update(tags=["parameters"]),
            "one cell tagged `parameters`, got 2",
        ),
        (lambda n: n["cells"].insert(1, n["cells"].pop(3)), "the first code cell is the parameters cell"),
        (lambda n: n["cells"][3].update(outputs=[{}]), "cell 3: outputs or an execution count"),
        (lambda n: n["cells"][3].update(execution_count=1), "cell 3: outputs or an execution count"),
        (
            lambda n: n["metadata"].update(language_info={"name": "python", "version": "3.11"}),
            "metadata: expected",
        ),
        (lambda n: n["metadata"]["kernelspec"].update(name="m5"), "metadata: expected"),
        (lambda n: n["cells"][2]["metadata"].update(collapsed=True), "cell 2: metadata beside tags"),
        (set_source(2, " \n"), "cell 2: empty"),
        (set_source(3, "class Head:\n    a = 1\n    b = 2"), "class Head belongs in the package"),
        (set_source(3, "def f():\n" + "    x = 1\n" * 8), "function f over 8 lines"),
        (set_source(3, "x = 1\n" * 16), "16 lines, at most 15"),
        (set_source(3, "!pip install x\na = 1\nb = 2"), "a shell or IPython command"),
        (set_source(3, "%cd ..\na = 1\nb = 2"), "a shell or IPython command"),
        (set_source(3, "a = 1\nb = 2\nroot = '/home/me'"), "absolute path '/home/me'"),
        (set_source(3, "a = 1\nout.figure(a, 'x')\nout.figure(a, 'y')"), "more than one figure"),
        (set_source(0, "# Tiny"), "expected `# 03 · title`"),
        (drop(0), "prose comes before code"),
        (lambda n: n["cells"].extend([n["cells"][3] | {"id": f"x{i}"} for i in range(3)]), "four code cells"),
        (lambda n: n["cells"].extend([n["cells"][3] | {"id": "x"}]), "called once, in the last code cell"),
        (set_source(5, "a = 1\nb = 2\nc = 3"), "called once, in the last code cell"),
        (set_source(3, "out.publish()\na = 1\nb = 2"), "called once, in the last code cell"),
        (lambda n: [c.update(source="margin = 1") for c in n["cells"][1:5:2]], "expected 3 to 9"),
        (lambda n: n["cells"][2].update(id=n["cells"][0]["id"]), "cell ids"),
    ],
)
def test_a_notebook_that_breaks_a_rule_is_seen(tmp_path: Path, break_it: Callable, words: str):
    notebook = copy.deepcopy(GOOD)
    break_it(notebook)
    found = complaints(write(tmp_path, notebook))
    assert any(words in complaint for complaint in found), found
