"""The report is made from results that are what the code says, the same bytes each time, or it is refused."""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import tiny

from m5utils import freshness, latex, manuscript, paper, paths, report, run, runtime

needs_latex = pytest.mark.skipif(
    shutil.which("latexmk") is None or shutil.which("pdflatex") is None,
    reason=f"no LaTeX here: apt-get install {latex.DEBIAN}",
)
MAIN = r"""\documentclass{article}
\usepackage{m5report}
\begin{document}
MAP is \result{02/tiny/map}, and \result{12/tiny/map}. \plot{02_line}
\end{document}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with notebooks 02 and 12, which reads it, their results on demo, and a report of a line."""
    root = tiny.work_in_a_copy(tmp_path / "house", monkeypatch)
    monkeypatch.setattr(run, "READS", {"12": ("02",)})
    monkeypatch.setattr(paper, "_own_tables", lambda *_: {})
    monkeypatch.setattr(runtime, "commit", lambda: "abc1234")
    for number in ("02", "12"):
        tiny.write_whole(paths.NOTEBOOKS, number)
        leave_results(number, {"tiny/map": 0.25})
    style = Path(__file__).parents[1] / "report" / "m5report.sty"
    for document in ("main", "slides"):
        (root / "report" / f"{document}.tex").write_text(MAIN)
    shutil.copy(style, root / "report")
    return root


def leave_results(number: str, numbers: dict[str, float], **parameters: object) -> None:
    """What a run of a notebook on demo leaves: numbers, a figure, and their provenance."""
    profile, notebook = runtime.profile("demo"), paths.NOTEBOOKS / f"{number}_tiny.ipynb"
    upstream = {other: freshness.standing(other, "demo") for other in run.READS.get(number, ())}
    values = freshness.parameters(notebook) | {"profile": "demo"} | parameters
    inputs = freshness.inputs(notebook, profile, values, upstream)
    figure, file = paths.FIGURES / "demo" / f"{number}_line.pdf", paths.GENERATED / "demo" / f"{number}.json"
    figure.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).parents[1] / "figures" / "lab" / "03_loss.pdf", figure)
    paths.publish_json(file, numbers)
    outputs = {
        path.relative_to(paths.ROOT).as_posix(): {"sha256": paths.sha256(path), "photographs": False}
        for path in (figure, file)
    }
    record = {"key": paths.key_of(inputs), "inputs": inputs, "outputs": outputs, "profile": "demo"}
    paths.publish_json(freshness.provenance_file(number, "demo"), record)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def stale() -> dict[str, str]:
    return paper.stale(runtime.profile("demo"))


# --- what is stale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            "notebooks/02_tiny.ipynb",
            "margin)",
            "margin * 1)",
            ["02", "12"],
        ),  # code, and who reads its results
        ("notebooks/12_tiny.ipynb", "margin)", "margin * 1)", ["12"]),
        ("notebooks/02_tiny.ipynb", "A tiny notebook", "The same, in other words", []),  # prose
        ("m5utils/report.py", "200", "199", ["02", "12"]),  # a module that notebooks import
        ("m5utils/cli.py", "lab or course", "lab, course", []),  # one that they do not
        ("requirements.lock", "pinned==1", "pinned==2", ["02", "12"]),
        ("report/generated/demo/02.json", "0.25", "0.26", ["02"]),  # by hand
    ],
)
def test_what_no_longer_matches_is_listed(house: Path, file: str, old: str, new: str, expected: list[str]):
    assert stale() == {}
    edit(house / file, old, new)
    assert list(stale()) == expected


@pytest.mark.usefixtures("house")
def test_recorded_parameters_are_a_choice_and_not_stale():
    leave_results("02", {"tiny/map": 0.25}, margin=0.5)
    leave_results("12", {"tiny/map": 0.25})
    assert stale() == {}


@pytest.mark.usefixtures("house")
def test_results_without_provenance_are_stale():
    freshness.provenance_file("02", "demo").unlink()
    assert "without provenance" in stale()["02"]


def test_without_the_data_everything_else_is_compared(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def no_data(*_: object) -> None:
        raise FileNotFoundError("M5_MIT_SPLIT is not set")

    monkeypatch.setattr(freshness, "data", no_data)
    assert stale() == {}
    assert "data is not here, everything but it was compared: 02, 12" in capsys.readouterr().err
    edit(house / "notebooks" / "12_tiny.ipynb", "margin)", "margin * 1)")
    assert list(stale()) == ["12"]


def test_stale_results_are_refused_or_warned_of(house: Path, capsys: pytest.CaptureFixture):
    edit(house / "notebooks" / "02_tiny.ipynb", "margin)", "margin * 1)")
    target = house / "out.zip"
    target.write_bytes(b"of before")
    with pytest.raises(ValueError, match=r"results of profile demo are stale(?s:.*)02: changed: cells"):
        paper.overleaf(target, "demo")
    assert target.read_bytes() == b"of before"
    paper.overleaf(target, "demo", allow_stale=True)
    assert "warning: results of profile demo are stale" in capsys.readouterr().err
    assert zipfile.is_zipfile(target)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("report/main.tex", "02/tiny/map", "02/tiny/mop", r"main.tex:4: \\result\{02/tiny/mop\}"),
        ("report/main.tex", "{02_line", "{02_lime", "the figure .*02_lime.pdf is missing"),
        ("report/generated/demo/02.json", "0.25", "NaN", "02.json: tiny/map is nan"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    house: Path, file: str, old: str, new: str, words: str
):
    edit(house / file, old, new)
    before = {path: path.read_bytes() for path in house.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=words):
        paper.overleaf(house / "out.zip", "demo", allow_stale=True)
    assert {path: path.read_bytes() for path in house.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("named", "there", "expected"),
    [("dev", ["train", "dev"], "dev"), ("", ["train", "val"], "val"), ("", ["dev", "train"], "dev")],
)
def test_tables_name_the_split_that_was_reported_on(
    named: str, there: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
):
    data = {f"captions/{split}": "key" for split in there}
    record = {"inputs": {"parameters": {"eval_split": named}, "data": data}}
    monkeypatch.setattr(freshness, "provenance", lambda *_: record)
    assert paper._captions_split("lab") == expected


def test_the_tables_of_all_documents_are_written_whichever_is_compiled(
    house: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(paper, "_own_tables", lambda used, *_: dict.fromkeys(used.tables, "new"))
    (house / "report" / "week4.tex").write_text(MAIN.replace("MAP", r"\tableof{slides_02} MAP"))
    paper.prepare(["main"], "demo", False, house / "sources")
    assert (paths.GENERATED / "demo" / "slides_02.tex").read_text() == "new"
    assert not (house / "sources" / "generated" / "demo" / "slides_02.tex").exists()


# --- the zip ----------------------------------------------------------------------------------------------


def test_two_zips_are_the_same_bytes_and_hold_only_what_is_used(house: Path, capsys: pytest.CaptureFixture):
    for name in ("one.zip", "two.zip"):
        paper.overleaf(house / name, "demo")
    assert (house / "one.zip").read_bytes() == (house / "two.zip").read_bytes()
    with zipfile.ZipFile(house / "one.zip") as archive:
        assert archive.namelist() == [
            "figures/demo/02_line.pdf",
            "generated/demo/numbers.tex",
            "generated/which.tex",
            "m5report.sty",
            "main.tex",
            "slides.tex",
        ]
        assert {entry.date_time for entry in archive.infolist()} == {paper.FIRST_DAY}
        assert "abc1234" in archive.read("generated/which.tex").decode()
    assert "figures that no document uses: 12_line" in capsys.readouterr().err


# --- with LaTeX -------------------------------------------------------------------------------------------


@needs_latex
@pytest.mark.slow
def test_a_failing_document_leaves_the_pdf_of_before(house: Path):
    (pdf,) = paper.build(["main"], "demo")
    before = pdf.read_bytes()
    edit(house / "report" / "main.tex", "MAP is", r"MAP \nothing is")
    with pytest.raises(ValueError, match=r"LaTeX stopped at main.tex: .*Undefined control"):
        paper.build(["main"], "demo")
    assert pdf.read_bytes() == before


def text_of(pdf: Path, *options: str) -> str:
    command = ["pdftotext", *options, str(pdf), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_latex
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext: apt-get install poppler-utils")
@pytest.mark.usefixtures("house")
def test_a_changed_number_changes_its_places_only():
    (pdf,) = paper.build(["main"], "demo")
    before = text_of(pdf)
    again = paper.build(["main"], "demo")[0].read_bytes()
    assert pdf.read_bytes() == again
    edit(paths.GENERATED / "demo" / "02.json", "0.25", "0.75")
    paper.build(["main"], "demo", allow_stale=True)
    assert "MAP is 25.0, and 25.0." in before
    assert text_of(pdf) == before.replace("MAP is 25.0, and 25.0.", "MAP is 75.0, and 25.0.")


@needs_latex
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("latexdiff") is None, reason="no latexdiff here: apt-get install latexdiff")
def test_two_versions_are_compared(house: Path):
    report.build_numbers("demo")
    for command in (["init", "-q"], ["add", "report"], ["commit", "-qm", "first"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *command], cwd=house, check=True)
    edit(paths.GENERATED / "demo" / "02.json", "0.25", "0.75")
    report.build_numbers("demo")
    made = paper.build(["main"], "demo", allow_stale=True, diff="HEAD")
    assert [pdf.name for pdf in made] == ["main.pdf", "main_diff.pdf"]
    source = (paths.BUILD / "report/demo/sources/main_diff.tex").read_text(encoding="utf-8")
    assert re.search(r"\\DIFdel\{25\.0\W", source)
    assert re.search(r"\\DIFadd\{75\.0\W", source)
    with pytest.raises(ValueError, match="DIFF=nowhere: "):
        paper.build(["main"], "demo", allow_stale=True, diff="nowhere")


@needs_latex
@pytest.mark.slow
def test_the_labs_documents_compile_without_a_flaw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    said = []
    monkeypatch.setattr(paper, "_say", said.append)
    made = paper.build(manuscript.DOCUMENTS, "lab", allow_stale=True)
    assert [pdf.stem for pdf in made] == list(manuscript.DOCUMENTS)
    about_pages = [line for line in said if re.match(rf"({'|'.join(manuscript.DOCUMENTS)}): ", line)]
    assert about_pages == []
    assert 4 <= latex.page_of(tmp_path / "report/lab/sources/main.aux", "text-ends") <= paper.PAGES


@needs_latex
@pytest.mark.slow
def test_the_labs_zip_compiles_alone(tmp_path: Path):
    for name in ("one.zip", "two.zip"):
        paper.overleaf(tmp_path / name, "lab", allow_stale=True)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(tmp_path / "one.zip").extractall(folder)
    subprocess.run(
        ["latexmk", "-pdf", "-interaction=nonstopmode"], cwd=folder, check=True, capture_output=True
    )
    assert sorted(path.name for path in folder.glob("*.pdf")) == ["main.pdf", "slides.pdf"]


@needs_latex
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext: apt-get install poppler-utils")
def test_the_drawn_world_is_marked_on_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if len(list((paths.GENERATED / "demo").glob("*.provenance.json"))) < len(run.notebooks()):
        pytest.skip("the drawn world has not been run: `m5 run`")
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    for pdf in paper.build(manuscript.DOCUMENTS, "demo", allow_stale=True):
        # as it was drawn: what lies hidden below a panel's edge would otherwise be mixed into the mark
        *pages, _ = text_of(pdf, "-raw").split("\f")
        assert len(pages) >= 6
        for page in pages:
            assert "drawn world: numbers check the machinery" in page
        assert "profile demo" in pages[0]
