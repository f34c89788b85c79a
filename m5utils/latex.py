"""Run LaTeX: one document to one PDF, what its log says, and the comparison of two versions.

Knows latexmk, latexdiff and their logs. Must not know what is in a document.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

DEBIAN = (
    "texlive-latex-extra texlive-fonts-recommended texlive-science texlive-bibtex-extra latexmk latexdiff"
)
POINTS = 2.0  # a line may stick out by so much before it is named
SHOWN = 5  # lines of an error that are told
OVERFULL = re.compile(r"^Overfull \\[hv]box \((?P<points>[\d.]+)pt too (?:wide|high)\).*")
UNDEFINED = re.compile(r"^(?:LaTeX|Package natbib) Warning: (?:Reference|Citation).*undefined.*")
MISSING = re.compile(r"^Missing character: .*")
ERROR = re.compile(r"^(?:! |(?:\./)?[\w./-]+\.(?:tex|sty|bbl|aux):\d+: )(?P<message>.+)")
# One PDF for one source, whenever and wherever it is made; long lines of the log are not broken.
ENVIRONMENT = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "2000", "TZ": "UTC"}


def require(*programs: str) -> None:
    """Stop if a program is not installed.

    Raises:
        FileNotFoundError: If it is not; the message says what to install and what works without it.
    """
    for program in programs:
        if shutil.which(program) is None:
            raise FileNotFoundError(
                f"{program} is not installed. On Debian and Ubuntu: apt-get install {DEBIAN}; elsewhere: TeX "
                "Live or MiKTeX. Without LaTeX, `m5 export --overleaf out.zip` makes what Overleaf compiles."
            )


def compile_pdf(folder: Path, document: str) -> list[str]:
    """Make `folder/<document>.pdf` with latexmk.

    Returns:
        What a reader would see and should not: lines that stick out, undefined references, missing glyphs.

    Raises:
        ValueError: If LaTeX stopped; the message holds its errors and the place of its log.
        FileNotFoundError: If latexmk is not installed.
    """
    require("latexmk", "pdflatex")
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error"]
    done = subprocess.run(
        [*command, f"{document}.tex"],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    file = folder / f"{document}.log"
    log = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if done.returncode != 0:
        said = errors(log) or done.stdout.decode(errors="replace").splitlines()[-SHOWN:]
        raise ValueError(f"LaTeX stopped at {document}.tex: " + "\n  ".join([*said, f"its log: {file}"]))
    return findings(log)


def errors(log: str) -> list[str]:
    """The first errors of a log, as LaTeX words them."""
    found = (line for line in log.splitlines() if ERROR.match(line) and "Fatal error" not in line)
    return list(dict.fromkeys(found))[:SHOWN]


def findings(log: str) -> list[str]:
    r"""What a log says that can be seen in the PDF, each once.

    Example:
        >>> findings("Overfull \\hbox (1.9pt too wide) in paragraph\nOverfull \\hbox (2.1pt too wide) here")
        ['Overfull \\hbox (2.1pt too wide) here']
    """
    found = []
    for line in log.splitlines():
        overfull = OVERFULL.match(line)
        if (overfull and float(overfull["points"]) > POINTS) or UNDEFINED.match(line) or MISSING.match(line):
            found.append(line)
    return list(dict.fromkeys(found))


def page_of(aux: Path, label: str) -> int | None:
    """The page on which a label stands, by the last run's .aux; None if it has no such label."""
    found = re.search(
        rf"\\newlabel\{{{re.escape(label)}\}}\{{\{{[^}}]*\}}\{{(\d+)\}}", aux.read_text(encoding="utf-8")
    )
    return int(found[1]) if found else None


def marked_up(old: str, new: str, folder: Path) -> str:
    """The new version's source with what came in blue and what went in small red letters, by latexdiff.

    Raises:
        ValueError: If latexdiff fails.
        FileNotFoundError: If it is not installed.
    """
    require("latexdiff")
    for name, text in (("old.tex", old), ("new.tex", new)):
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["latexdiff", "--type=CFONT", "--encoding=utf8", "--append-textcmd=setting", "old.tex", "new.tex"],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    for name in ("old.tex", "new.tex"):
        (folder / name).unlink()
    if done.returncode != 0:
        raise ValueError(f"latexdiff failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout.decode()
