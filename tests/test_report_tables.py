"""The report's tables show the right rows in the right order, and a notebook's method card survives LaTeX."""

import json
import re
from pathlib import Path

import pytest
import tiny

from m5utils import manuscript, paper, paths, report_tables, runtime

SPLITS = {"scenes": "test", "captions": "dev"}


@pytest.fixture
def lab() -> dict[str, float]:
    return manuscript.numbers("lab")


def rows(table: str) -> list[list[str]]:
    body = table.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [line.rstrip(" \\").split(" & ") for line in body.strip().splitlines()]


def test_rows_stand_in_the_order_of_validation_and_the_first_is_bold(lab: dict[str, float]):
    made = report_tables.table("report_scenes", lab, SPLITS, seeds=3)
    *methods, chance = rows(made)
    validation = [float(re.sub(r"\\textbf\{(.*)\}", r"\1", row[-1])) for row in methods]
    assert validation == sorted(validation, reverse=True)
    assert all(cell.startswith(r"\textbf{") for cell in methods[0])
    assert not any("textbf" in cell for row in methods[1:] for cell in row)
    assert len(methods) == len(report_tables.SCENES)
    assert chance[:2] == ["chance", f"{100 * lab['02/chance/map']:.1f}"]
    assert "404 queries (test), gallery of 1,881" in made


def test_a_changed_validation_score_changes_the_choice_and_no_evaluation_score_does(lab: dict[str, float]):
    first = rows(report_tables.table("report_scenes", lab, SPLITS, 3))[0][0]
    better = lab | {"02/frozen/map": 1.0}
    assert rows(report_tables.table("report_scenes", better, SPLITS, 3))[0][0] == first
    chosen = lab | {"02/frozen/validation/map": 1.0}
    assert rows(report_tables.table("report_scenes", chosen, SPLITS, 3))[0][0] == r"\textbf{frozen}"


def test_the_best_of_each_column_is_bold_where_columns_are_rules(lab: dict[str, float]):
    *methods, _ = rows(report_tables.table("report_objects", lab, SPLITS, 3))
    for column in range(1, 4):
        bold = [row for row in methods if "textbf" in row[column]]
        assert len(bold) == 1
        values = [float(re.search(r"[\d.]+", row[column])[0]) for row in methods]
        assert float(re.search(r"[\d.]+", bold[0][column])[0]) == max(values)


def test_a_missing_number_is_named(lab: dict[str, float]):
    del lab["04/both/map/std"]
    with pytest.raises(ValueError, match="04/both/map/std, and no notebook produced it: run 04"):
        report_tables.table("report_scenes", lab, SPLITS, 3)


def test_a_card_is_the_notebooks_table_as_latex(tmp_path: Path):
    notebook = tiny.write_notebook(tmp_path / "02_a.ipynb")
    content = json.loads(notebook.read_text())
    text = (
        "| method card | |\n|---|---|\n| a_b | `x_y` costs 5 % & *more*, see [03](03.ipynb) |\n"
        "| **loss** | $m = 2_i$, # 1 |\n\nafter | it |"
    )
    content["cells"].append(tiny.cell("markdown", text))
    notebook.write_text(json.dumps(content))
    assert report_tables.card(notebook).splitlines() == [
        r"\begin{tabular}{@{}lp{0.76\linewidth}@{}}",
        r"\textbf{a\_b} & \texttt{x\_y} costs 5 \% \& \emph{more}, see 03 \\",
        r"\textbf{\textbf{loss}} & $m = 2_i$, \# 1 \\",
        r"\end{tabular}",
    ]
    with pytest.raises(ValueError, match="02_b.ipynb has no method card"):
        report_tables.card(tiny.write_notebook(tmp_path / "02_b.ipynb"))


def test_the_committed_tables_are_those_of_the_committed_numbers(lab: dict[str, float]):
    used = manuscript.uses(manuscript.DOCUMENTS, paths.GENERATED.parent)
    made = paper._own_tables(used, lab, runtime.profile("lab"))
    assert len(made) == len(report_tables.NAMES) + 8  # and the method cards of 02 to 09
    for name, text in made.items():
        file = paths.GENERATED / "lab" / f"{name}.tex"
        assert file.is_file(), f"{name}: run `m5 report --profile lab`"
        assert file.read_text(encoding="utf-8") == text, f"{name}: run `m5 report --profile lab`"
