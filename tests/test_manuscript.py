"""What the documents use is there, sound and of one profile, or is named; the text types no result."""

import json
import re
from pathlib import Path

import pytest

from m5utils import manuscript, paths, plots, report

REPORT = paths.GENERATED.parent


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of one section on profile demo: a number, a figure, a panel, a table and a card."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(paths, "GENERATED", tmp_path / "report" / "generated")
    generated, figures = paths.GENERATED / "demo", paths.FIGURES / "demo"
    generated.mkdir(parents=True)
    figures.mkdir(parents=True)
    (generated / "02.json").write_text('{"frozen/map": 0.5, "n_query": 7}')
    outputs = {
        "figures/demo/02_curve.pdf": {"sha256": "", "photographs": False},
        "figures/demo/02_orphan.pdf": {"sha256": "", "photographs": False},
        "figures/demo/02_panel.pdf": {"sha256": "", "photographs": True},
    }
    record = {"key": "k", "inputs": {}, "outputs": outputs, "profile": "demo"}
    (generated / "02.provenance.json").write_text(json.dumps(record))
    (figures / "02_curve.pdf").write_bytes(b"a curve")
    for name in ("02_methods", "card_02"):
        (generated / f"{name}.tex").write_text("caf\u00e9 \U0001f408\n", encoding="utf-8")
    report.build_numbers("demo")
    folder = tmp_path / "report"
    (folder / "sections").mkdir()
    (folder / "main.tex").write_text(
        "\\usepackage{house,graphicx}\n\\input{sections/a}\n% \\result{99/commented}\n\\bibliography{refs}\n"
    )
    (folder / "house.sty").write_text("\\newcommand{\\plot}[1]{\\includegraphics{#1}}\n")
    (folder / "refs.bib").write_text("@book{a, title = {100\\% \\result{99/never}}}\n")
    (folder / "sections" / "a.tex").write_text(
        "5\\,\\% of \\result{02/frozen/map} \\result{02/n_query}\n"
        "\\plot{02_curve}\\photo[0.2]{02_panel}\\widetableof{02_methods}\\cardof{02}\n"
    )
    (folder / "unrelated.tex").write_text("\\result{99/unrelated}\n")
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_what_a_document_uses_is_found_through_what_it_inputs(house: Path):
    used = manuscript.uses(["main"], house)
    assert list(used.sources) == ["house.sty", "main.tex", "refs.bib", "sections/a.tex"]
    assert used.results == {"02/frozen/map": "sections/a.tex:1", "02/n_query": "sections/a.tex:1"}
    assert used.plots == {"02_curve": "sections/a.tex:2"}
    assert used.photos == {"02_panel": "sections/a.tex:2"}
    assert list(used.tables) == ["02_methods", "card_02"]
    with pytest.raises(FileNotFoundError, match=r"week9.tex is not there: documents are main, slides"):
        manuscript.uses(["week9"], house)


def check(house: Path) -> None:
    manuscript.check(manuscript.uses(["main"], house), "demo", manuscript.numbers("demo"))


def test_a_sound_report_passes_without_its_photographs(house: Path):
    check(house)
    assert manuscript.unused("demo", house) == ["02_orphan"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("02/n_query", "02/n_qu", r"sections/a.tex:1: \\result\{02/n_qu\}: no notebook produced this key"),
        ("{02_curve", "{02_curv", r"sections/a.tex:2: the figure .*02_curv.pdf is missing"),
        ("{02_methods", "{02_method", r"sections/a.tex:2: the table .*02_method.tex is missing"),
        ("{02_panel", "{02_pane", r"sections/a.tex:2: \\photo\{02_pane\}: no notebook produced such a panel"),
        (r"\photo[0.2]", r"\plot", r"02_panel shows photographs and may be absent: use \\photo"),
    ],
)
def test_what_is_used_and_missing_is_named(house: Path, old: str, new: str, words: str):
    edit(house / "sections" / "a.tex", old, new)
    with pytest.raises(ValueError, match=words):
        check(house)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"frozen/map": NaN}', "02.json: frozen/map is nan: expected a finite number"),
        ('{"frozen/map": "0.5"}', "02.json: frozen/map is 0.5: expected a finite number"),
        ('{"frozen/map": 0.5, "frozen/map": 0.6}', "frozen/map was produced twice, 0.5 and 0.6"),
        ('{"frozen/map": 0.5', "02.json: no JSON"),
    ],
)
@pytest.mark.usefixtures("house")
def test_unsound_numbers_are_named(content: str, words: str):
    (paths.GENERATED / "demo" / "02.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        manuscript.numbers("demo")


@pytest.mark.usefixtures("house")
def test_results_of_another_profile_are_named():
    edit(paths.GENERATED / "demo" / "02.provenance.json", '"profile": "demo"', '"profile": "lab"')
    with pytest.raises(ValueError, match="02.json: its results are of profile lab, in the folder of demo"):
        manuscript.numbers("demo")


@pytest.mark.usefixtures("house")
def test_no_results_say_what_to_run():
    with pytest.raises(FileNotFoundError, match="no results of profile course .*run `m5 run"):
        manuscript.numbers("course")


def test_a_folder_holds_only_what_is_used(house: Path, tmp_path: Path):
    used = manuscript.uses(["main"], house)
    absent = manuscript.assemble(used, "demo", "abc1234", tmp_path / "one")
    assert absent == ["02_panel"]
    files = {path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*.*")}
    assert files == {
        "main.tex",
        "house.sty",
        "refs.bib",
        "sections/a.tex",
        "generated/which.tex",
        "generated/demo/numbers.tex",
        "generated/demo/02_methods.tex",
        "generated/demo/card_02.tex",
        "figures/demo/02_curve.pdf",
    }
    assert (tmp_path / "one/generated/which.tex").read_text() == (
        "\\newcommand{\\resultsprofile}{demo}\n\\newcommand{\\resultscommit}{abc1234}\n"
    )
    assert "U+1F408" in (tmp_path / "one/generated/demo/card_02.tex").read_text(encoding="utf-8")
    (paths.FIGURES / "demo" / "02_panel.pdf").write_bytes(b"a panel")
    assert manuscript.assemble(used, "demo", "abc1234", tmp_path / "two") == []
    assert (tmp_path / "two/figures/demo/02_panel.pdf").is_file()


def test_a_flat_document_has_its_sections_and_numbers(house: Path):
    printed = manuscript.printed_numbers(paths.GENERATED / "demo" / "numbers.tex")
    assert printed == {"02/frozen/map": "50.0", "02/n_query": "7"}
    assert "5\\,\\% of 50.0 7\n" in manuscript.flat("main", house, printed)
    assert manuscript.printed_numbers(house / "nowhere.tex") == {}


# --- the report's own text --------------------------------------------------------------------------------

PROSE = sorted([*REPORT.glob("*.tex"), *REPORT.glob("sections/*.tex")])
NOT_TYPED = (  # what may hold numbers: settings of ours, numbers of others, drawings, keys, sizes
    r"\\begin\{tikzpicture\}.*?\\end\{tikzpicture\}",
    r"\\(?:setting|published)\{[^{}]*\}",
    r"\\(?:result|plot|photo|tableof|widetableof|cardof|cite[tp]?|label|ref|input)(?:\[[^\]]*\])?\{[^{}]*\}",
    r"\[[^\]]*\]",
    r"[\d.]+\s*(?:cm|mm|pt|in|em|ex)\b|[\d.]+\\(?:line|text|column)\w+",
    r"\\cdot10\^\{[^}]*\}",
)


def typed_numbers(text: str, values: set[str]) -> list[str]:
    """The numbers in a source that stand among `values` and were typed, and not put there by their key."""
    text = "\n".join(manuscript.COMMENT.sub("", line) for line in text.splitlines())
    text = text.partition(r"\begin{document}")[2] or text
    for pattern in NOT_TYPED:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    found = re.findall(r"(?<![\w.@])\d+(?:[.,]\d+)*", text)
    return [number for number in found if number.replace(",", "") in values]


def test_no_number_is_typed_where_a_key_exists():
    printed = manuscript.printed_numbers(paths.GENERATED / "lab" / "numbers.tex").values()
    values = {value for value in printed if len(value) > 1}  # one digit is "two" and "three" to a reader
    assert len(values) > 500
    assert len(PROSE) >= 10
    typed = {file.name: typed_numbers(file.read_text(encoding="utf-8"), values) for file in PROSE}
    assert {name: found for name, found in typed.items() if found} == {}


def test_a_typed_number_is_seen():
    values = {"98.9", "1881", "404"}
    assert typed_numbers(r"MAP@404 is 98.9\,\% of 1,881 and \result{12/a} % 404", values) == ["98.9", "1,881"]
    assert typed_numbers(r"\setting{98.9} \published{404}{wang2016} \photo[98.9]{02_a} 404pt", values) == []


def test_every_source_of_the_report_is_used_by_a_document():
    files = [path for end in ("tex", "sty", "bib") for path in REPORT.rglob(f"*.{end}")]
    there = {path.relative_to(REPORT).as_posix() for path in files if paths.GENERATED not in path.parents}
    used = manuscript.uses(manuscript.DOCUMENTS, REPORT)
    assert there == used.sources.keys()
    assert len(used.results) > 60


def test_the_committed_results_hold_all_that_the_documents_use():
    used = manuscript.uses(manuscript.DOCUMENTS, REPORT)
    manuscript.check(used, "lab", manuscript.numbers("lab"))
    assert len(used.plots) > 20


def test_every_reference_is_cited_and_there():
    text = "".join(file.read_text(encoding="utf-8") for file in PROSE)
    cited = {key for keys in re.findall(r"\\cite[tp]?\{([^{}]*)\}", text) for key in keys.split(",")}
    there = re.findall(r"(?m)^@\w+\{(\w+),", (REPORT / "refs.bib").read_text(encoding="utf-8"))
    assert len(there) == len(set(there)) > 30
    assert cited == set(there)


def test_who_we_are_stands_in_one_place():
    texts = {file.name: file.read_text(encoding="utf-8") for file in PROSE}
    holding = [name for name, text in texts.items() if re.search(r"Member [A-D]|Group N", text)]
    assert holding == ["team.tex"]


def test_every_figure_is_a_column_or_a_page_wide_and_holds_its_fonts_and_no_date():
    widths, used = {}, manuscript.uses(manuscript.DOCUMENTS, REPORT)
    for name in used.plots:
        content = (paths.FIGURES / "lab" / f"{name}.pdf").read_bytes()
        widths[name] = float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content)[1]) / 72
        assert b"/FontFile2" in content, name
        assert b"/CreationDate" not in content, name
        assert (paths.FIGURES / "lab" / f"{name}.png").is_file()
    assert {round(width, 2) for width in widths.values()} == {plots.COLUMN, plots.PAGE}
