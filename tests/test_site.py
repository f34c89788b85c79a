import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from m5utils import explorer, paths, run, site
from m5utils.explorer import Shown

pytestmark = pytest.mark.slow  # sites are built


@pytest.fixture
def built(tmp_path, monkeypatch) -> Path:
    """The site of a tiny run of two notebooks."""
    for name in ("BUILD", "NOTEBOOKS", "FIGURES"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    (paths.BUILD / "demo").mkdir()
    (paths.FIGURES / "demo").mkdir()
    Image.new("RGB", (2000, 500)).save(paths.FIGURES / "demo" / "01_a.png")
    for stem, text in {
        "01_first": "# 01 · First <b>\n\n**Question.** Is $a_1 < b_2$ or `$HOME`? [next](02_second.ipynb)",
        "02_second": "# 02 · Second",
        "03_third": "# 03 · Third",
    }.items():
        cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1 + 1")]
        cells[1].outputs = [nbformat.v4.new_output("stream", text="<script>alert(1)</script>")]
        notebook = nbformat.v4.new_notebook(cells=cells)
        nbformat.write(notebook, paths.NOTEBOOKS / f"{stem}.ipynb")
        if stem != "03_third":
            nbformat.write(notebook, paths.BUILD / "demo" / f"{stem[:2]}.ipynb")
    shown = Shown("s", ("a",), captions=("b",), image_of=np.zeros(1, int))
    explorer.write(explorer.folder_of("demo"), "02", "t", shown, {}, {})
    return site.build("demo")


def test_every_executed_notebook_is_a_page_and_others_are_named(built: Path):
    assert {page.name for page in built.glob("*.html")} == {"index.html", "01_first.html", "02_second.html"}
    index = (built / "index.html").read_text()
    assert 'href="01_first.html"' in index
    assert "Not executed here: 03_third." in index
    with Image.open(built / "thumbnails" / "01.png") as small:
        assert small.size == (640, 160)
    assert (built / "explorer" / "space_02" / "space.js").is_file()


def test_links_between_notebooks_lead_to_pages(built: Path):
    assert 'href="02_second.html"' in (built / "01_first.html").read_text()


def test_formulas_are_mathml_and_code_stays(built: Path):
    page = (built / "01_first.html").read_text()
    assert "<math" in page
    assert "<msub><mi>a</mi><mn>1</mn></msub>" in page
    assert "$HOME" in page


def test_nothing_comes_from_elsewhere_and_no_text_becomes_a_script(built: Path):
    for page in built.glob("*.html"):
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"([^\"]*)", text)
        assert [address for address in loaded if "//" in address] == []
        assert "<script" not in text.lower()


def test_titles_are_text(built: Path):
    assert "01 · First &lt;b&gt;" in (built / "index.html").read_text()


def test_without_executed_notebooks_the_error_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    with pytest.raises(FileNotFoundError, match="m5 run --profile lab"):
        site.build("lab")
    assert not (tmp_path / "site").exists()


def test_every_formula_of_the_notebooks_can_be_converted():
    for path in run.notebooks().values():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                assert "\\frac" not in site._with_formulas("".join(cell["source"]))
