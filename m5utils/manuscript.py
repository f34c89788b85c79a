r"""What the .tex files use, whether it is there and sound, and one folder that holds all of it.

Knows LaTeX sources and what the notebooks left for a profile. Must not run LaTeX or a notebook.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from m5utils import freshness, paths

DOCUMENTS = ("main", "slides", "week4", "week5")
COMMENT = re.compile(r"(?<!\\)%.*")
INPUT = re.compile(r"\\(?:input|usepackage|RequirePackage|bibliography)(?:\[[^\]]*\])?\{([\w,./-]+)\}")
RESULT = re.compile(r"\\result\{([^{}#]*)\}")
PLOT = re.compile(r"\\plot\{(\w+)\}")
PHOTO = re.compile(r"\\photo(?:\[[^\]]*\])?\{(\w+)\}")
TABLE = re.compile(r"\\(?:wide)?tableof\{(\w+)\}")
CARD = re.compile(r"\\cardof\{(\w+)\}")
# Letters up to U+017F, quotes and dashes are in every font; these have a command, all others get a box.
SYMBOLS = {
    "→": r"$\to$", "←": r"$\leftarrow$", "⊕": r"$\oplus$", "≥": r"$\ge$", "≤": r"$\le$", "≈": r"$\approx$",
    "∈": r"$\in$", "∞": r"$\infty$", "√": r"$\surd$", "α": r"$\alpha$", "Σ": r"$\Sigma$", "τ": r"$\tau$",
}  # fmt: skip
PLAIN = "–—‘’“”…•−€™"
SILENT = "\u200b\u200d\ufe0e\ufe0f"  # joiners and variants between the parts of an emoji


@dataclass
class Uses:
    """What some documents are made of: sources by their path in report/, and names with where they stand."""

    sources: dict[str, str] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    plots: dict[str, str] = field(default_factory=dict)
    photos: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


def uses(documents: Iterable[str], folder: Path) -> Uses:
    """All that documents of a folder (`report/`) use, directly or through what they input.

    Raises:
        FileNotFoundError: If there is no such document.
    """
    found, waiting = Uses(), [f"{document}.tex" for document in documents]
    for name in waiting:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is not there: documents are {', '.join(DOCUMENTS)}")
    while waiting:
        name = waiting.pop()
        if name in found.sources:
            continue
        found.sources[name] = (folder / name).read_text(encoding="utf-8")
        if not name.endswith(".bib"):
            waiting += _scan(name, found, folder)
    found.sources = dict(sorted(found.sources.items()))
    return found


def _scan(name: str, found: Uses, folder: Path) -> list[str]:
    """Note what one source uses; the sources it inputs, of those that lie in the folder."""
    inputs = []
    for number, line in enumerate(found.sources[name].splitlines(), start=1):
        text, where = COMMENT.sub("", line), f"{name}:{number}"
        kinds = {RESULT: found.results, PLOT: found.plots, PHOTO: found.photos, TABLE: found.tables}
        for pattern, names in kinds.items():
            for match in pattern.finditer(text):
                names.setdefault(match[1], where)
        for match in CARD.finditer(text):
            found.tables.setdefault(f"card_{match[1]}", where)
        for match in INPUT.finditer(text):
            candidates = [part + end for part in match[1].split(",") for end in ("", ".tex", ".sty", ".bib")]
            inputs += [one for one in candidates if (folder / one).is_file()]
    return inputs


# --- what the notebooks left ------------------------------------------------------------------------------


def numbers(profile_name: str) -> dict[str, float]:
    """Every number of a profile by `NN/key`, read strictly.

    Raises:
        FileNotFoundError: If no notebook has been run on this profile.
        ValueError: If a file is no flat object of finite numbers, holds a key twice, or belongs to another
            profile; the message lists all that is wrong.
    """
    folder = paths.GENERATED / profile_name
    found, problems = {}, []
    files = sorted(folder.glob("[0-9][0-9].json"))
    if not files:
        raise FileNotFoundError(
            f"no results of profile {profile_name} in {folder}: run `m5 run --profile {profile_name}` first"
        )
    for file in files:
        try:
            pairs = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=list)
        except ValueError as error:
            problems.append(f"{file.name}: no JSON ({error})")
            continue
        for key, value in pairs:
            name = f"{file.stem}/{key}"
            if name in found:
                problems.append(f"{file.name}: {key} was produced twice, {found[name]} and {value}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                problems.append(f"{file.name}: {key} is {value}: expected a finite number")
            found[name] = value
    problems += _of_other_profiles(files, profile_name)
    _refuse(problems, f"the results of profile {profile_name} cannot be used")
    return found


def _of_other_profiles(files: list[Path], profile_name: str) -> list[str]:
    """Which results were made on another profile than the one whose folder they lie in."""
    problems = []
    for file in files:
        made_on = (freshness.provenance(file.stem, profile_name) or {}).get("profile", profile_name)
        if made_on != profile_name:
            problems.append(
                f"{file.name}: its results are of profile {made_on}, in the folder of {profile_name}: run "
                f"`m5 run {file.stem} --profile {profile_name}`"
            )
    return problems


def figures(profile_name: str) -> dict[str, bool]:
    """The figures that a profile's notebooks produced, by `NN_topic`: does it show photographs?"""
    found = {}
    for file in sorted((paths.GENERATED / profile_name).glob("[0-9][0-9].json")):
        record = freshness.provenance(file.stem, profile_name) or {"outputs": {}}
        for name, output in record["outputs"].items():
            if name.endswith(".pdf"):
                found[Path(name).stem] = output["photographs"]
    return found


def check(used: Uses, profile_name: str, known: dict[str, float], made_here: Iterable[str] = ()) -> None:
    """Compare what is used with what is there; only panels with photographs may be absent.

    Args:
        used: What the documents use.
        profile_name: Whose results they show.
        known: The numbers that are there.
        made_here: Tables that are written with the documents and need not be there yet.

    Raises:
        ValueError: If something is missing; the message names each, and where it is used.
    """
    made, drawn = figures(profile_name), paths.FIGURES / profile_name
    problems = [
        rf"{where}: \result{{{key}}}: no notebook produced this key on profile {profile_name}"
        for key, where in used.results.items()
        if key not in known
    ]
    for name, where in used.plots.items():
        if made.get(name):
            problems.append(rf"{where}: {name} shows photographs and may be absent: use \photo for it")
        elif not (drawn / f"{name}.pdf").is_file():
            problems.append(f"{where}: the figure {drawn / name}.pdf is missing")
    for name, where in used.photos.items():
        if name not in made:
            problems.append(rf"{where}: \photo{{{name}}}: no notebook produced such a panel")
    for name, where in used.tables.items():
        if name not in made_here and not (paths.GENERATED / profile_name / f"{name}.tex").is_file():
            problems.append(f"{where}: the table {paths.GENERATED / profile_name / name}.tex is missing")
    _refuse(problems, "the documents use what is not there")


def there(folder: Path) -> list[str]:
    """Those of `DOCUMENTS` that a folder has."""
    return [document for document in DOCUMENTS if (folder / f"{document}.tex").is_file()]


def unused(profile_name: str, folder: Path) -> list[str]:
    """The figures that were produced and that no document of a folder uses."""
    used = uses(there(folder), folder)
    return [name for name in figures(profile_name) if name not in used.plots | used.photos]


def _refuse(problems: list[str], what: str) -> None:
    if problems:
        raise ValueError(f"{what}:\n  " + "\n  ".join(problems))


# --- one folder -------------------------------------------------------------------------------------------


def assemble(used: Uses, profile_name: str, commit: str, folder: Path) -> list[str]:
    """Put all that is used into a folder that compiles by itself, on Overleaf as here.

    Returns:
        The panels with photographs that are not there and become grey boxes.
    """
    generated, drawn = paths.GENERATED / profile_name, paths.FIGURES / profile_name
    contents = {name: text.encode() for name, text in used.sources.items()}
    which = {"resultsprofile": profile_name, "resultscommit": commit}
    lines = [rf"\newcommand{{\{name}}}{{{value}}}" for name, value in which.items()]
    contents["generated/which.tex"] = ("\n".join(lines) + "\n").encode()
    for name in ("numbers", *used.tables):
        text = (generated / f"{name}.tex").read_text(encoding="utf-8")
        contents[f"generated/{profile_name}/{name}.tex"] = printable(text).encode()
    for name in used.plots | used.photos:
        if (drawn / f"{name}.pdf").is_file():
            contents[f"figures/{profile_name}/{name}.pdf"] = (drawn / f"{name}.pdf").read_bytes()
    for name, content in contents.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return [name for name in used.photos if f"figures/{profile_name}/{name}.pdf" not in contents]


def printable(text: str) -> str:
    r"""Text whose every character LaTeX's fonts have; an emoji becomes its number in a box.

    Example:
        >>> printable("café 10 → 20")
        'café 10 $\\to$ 20'
        >>> printable("a 🐈")
        'a {\\fboxsep=1pt\\fbox{\\tiny U+1F408}}'
    """
    return "".join(_printable(char) for char in text)


def _printable(char: str) -> str:
    if ord(char) < 0x180 or char in PLAIN:
        return char
    if char in SILENT:
        return ""
    return SYMBOLS.get(char) or rf"{{\fboxsep=1pt\fbox{{\tiny U+{ord(char):04X}}}}}"


# --- one text ---------------------------------------------------------------------------------------------


def flat(document: str, folder: Path, printed: dict[str, str]) -> str:
    """A document with its sections and its numbers in their places, to be compared with another version."""

    def section(match: re.Match) -> str:
        file = folder / f"{match[1]}.tex"
        return flat(match[1], folder, printed) if file.is_file() else match[0]

    text = (folder / f"{document}.tex").read_text(encoding="utf-8")
    text = re.sub(r"\\input\{(sections/\w+)\}", section, text)
    return RESULT.sub(lambda match: printed.get(match[1], match[0]), text)


def printed_numbers(file: Path) -> dict[str, str]:
    """The numbers of a `numbers.tex` as they are printed, by key."""
    pattern = re.compile(r"\\csname result@(.+?)\\endcsname\{(.*)\}")
    return dict(pattern.findall(file.read_text(encoding="utf-8"))) if file.is_file() else {}
