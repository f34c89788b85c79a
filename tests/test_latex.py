"""What LaTeX says is understood, and what is wrong is named."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from m5utils import latex, manuscript, paths, report

needs_latex = pytest.mark.skipif(
    shutil.which("latexmk") is None or shutil.which("pdflatex") is None,
    reason=f"no LaTeX here: apt-get install {latex.DEBIAN}",
)

LOG = r"""
Overfull \hbox (1.99pt too wide) in paragraph at lines 1--2
Overfull \hbox (12.3pt too wide) in paragraph at lines 3--4
Overfull \vbox (3.0pt too high) has occurred while \output is active
Underfull \hbox (badness 10000) in paragraph at lines 5--6
LaTeX Warning: Reference `tab:nowhere' on page 1 undefined on input line 7.
LaTeX Warning: There were undefined references.
Package natbib Warning: Citation `nobody' on page 1 undefined on input line 8.
Missing character: There is no § in font cmr10!
Missing character: There is no § in font cmr10!
"""


def test_findings_are_what_a_reader_would_see_each_once():
    assert latex.findings(LOG) == [
        r"Overfull \hbox (12.3pt too wide) in paragraph at lines 3--4",
        r"Overfull \vbox (3.0pt too high) has occurred while \output is active",
        "LaTeX Warning: Reference `tab:nowhere' on page 1 undefined on input line 7.",
        "Package natbib Warning: Citation `nobody' on page 1 undefined on input line 8.",
        "Missing character: There is no § in font cmr10!",
    ]
    assert latex.findings("") == []


def test_errors_are_told_as_latex_words_them():
    log = "./main.tex:4: Undefined control sequence.\nl.4 \\a\n! Emergency stop.\n! Fatal error, no output"
    assert latex.errors(log) == ["./main.tex:4: Undefined control sequence.", "! Emergency stop."]


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(FileNotFoundError, match="latexmk is not installed.*apt-get install .*m5 export"):
        latex.compile_pdf(tmp_path, "main")
    with pytest.raises(FileNotFoundError, match="latexdiff is not installed"):
        latex.marked_up("a", "b", tmp_path)


def test_the_page_of_a_label(tmp_path: Path):
    aux = tmp_path / "main.aux"
    aux.write_text("\\newlabel{sec:a}{{1}{2}{A}{section.1}{}}\n\\newlabel{text-ends}{{7}{6}{}{}{}}\n")
    assert latex.page_of(aux, "text-ends") == 6
    assert latex.page_of(aux, "elsewhere") is None


# --- with LaTeX -------------------------------------------------------------------------------------------


def small(folder: Path, body: str, numbers: str = "") -> Path:
    """A document of one line that uses the house's package, on results of a profile `tiny`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(paths.GENERATED.parent / "m5report.sty", folder)
    (folder / "generated" / "tiny").mkdir(parents=True)
    (folder / "generated" / "which.tex").write_text(r"\newcommand{\resultsprofile}{tiny}")
    head = (paths.GENERATED / "lab" / "numbers.tex").read_text(encoding="utf-8").splitlines()[2:4]
    (folder / "generated" / "tiny" / "numbers.tex").write_text("\n".join([*head, numbers]) + "\n")
    text = "\\documentclass{article}\\usepackage{m5report}\\begin{document}\n" + body + "\n\\end{document}\n"
    (folder / "main.tex").write_text(text, encoding="utf-8")
    return folder


@needs_latex
@pytest.mark.slow
def test_an_unknown_key_stops_latex_with_its_name(tmp_path: Path):
    known = r"\expandafter\def\csname result@02/a_b/precision@1\endcsname{71.5}"
    folder = small(tmp_path / "known", r"\result{02/a_b/precision@1}", known)
    assert latex.compile_pdf(folder, "main") == []
    folder = small(tmp_path / "unknown", r"\result{02/a_b/precision@5}", known)
    with pytest.raises(ValueError, match="Unknown result '02/a_b/precision@5'"):
        latex.compile_pdf(folder, "main")


@needs_latex
@pytest.mark.slow
def test_special_characters_and_emoji_are_printed(tmp_path: Path):
    name = "50 % & café_#1 – {Žižek} ~^ → 🐈‍⬛ 日本 \\"
    frame = pd.DataFrame({name: [name, "straße $1"]}, index=pd.Index([name, "b"], name=name))
    table = manuscript.printable(report._latex_table(frame, f"Classes: {name}", "tab:a_b"))
    folder = small(tmp_path, r"\tableof{02_names}")  # and it is made as narrow as the line
    (folder / "generated" / "tiny" / "02_names.tex").write_text(table, encoding="utf-8")
    assert latex.compile_pdf(folder, "main") == []


@needs_latex
@pytest.mark.slow
def test_an_absent_panel_is_a_grey_box_of_the_same_size(tmp_path: Path):
    picture = next((paths.FIGURES / "lab").glob("05_pca.pdf"))
    sizes = []
    for name, is_there in (("there", True), ("absent", False)):
        body = r"\noindent\sbox0{\photo[0.2]{05_pca}}\typeout{size \the\ht0, \the\wd0}\usebox0"
        folder = small(tmp_path / name, body)
        if is_there:
            (folder / "figures" / "tiny").mkdir(parents=True)
            shutil.copy(picture, folder / "figures" / "tiny")
        assert latex.compile_pdf(folder, "main") == []
        log = (folder / "main.log").read_text(errors="replace")
        sizes.append(next(line for line in log.splitlines() if line.startswith("size ")))
    assert sizes[0] == sizes[1]


@needs_latex
@pytest.mark.slow
def test_latexdiff_marks_what_changed(tmp_path: Path):
    if shutil.which("latexdiff") is None:
        pytest.skip("no latexdiff here: apt-get install latexdiff")
    frame = "\\documentclass{{article}}\\begin{{document}}MAP is {}.\\end{{document}}\n"
    text = latex.marked_up(frame.format("41"), frame.format("42"), tmp_path)
    assert r"\DIFdel{41" in text
    assert r"\DIFadd{42" in text
