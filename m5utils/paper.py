"""The report, the slides and their zip for Overleaf, from a profile's results, if these are up to date.

Knows which notebooks' results are stale, and where the PDFs go. Must not know LaTeX's logs or a table's rows.
"""

import dataclasses
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from m5utils import freshness, latex, manuscript, paths, report, report_tables, run, runtime

PAGES = 6  # of the paper, without references
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of a zip's calendar: no date of ours in it


def build(
    documents: Iterable[str], profile_name: str, allow_stale: bool = False, diff: str | None = None
) -> list[Path]:
    """Compile documents to build/report/<profile>/<document>.pdf, saying what a reader should know of them.

    Args:
        documents: Of `manuscript.DOCUMENTS`.
        profile_name: Whose results they show.
        allow_stale: Warn where results are stale, and go on.
        diff: A git revision: `main` is compared with its version there, as main_diff.pdf.

    Returns:
        The PDFs. A document that fails leaves the PDF of before.

    Raises:
        ValueError: If results are stale or unsound, a document uses what is not there, or LaTeX stops.
        FileNotFoundError: If there are no results, or LaTeX is not installed.
    """
    latex.require("latexmk", "pdflatex", *(["latexdiff"] if diff else []))
    folder = paths.BUILD / "report" / profile_name
    work = folder / "sources"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    documents = list(documents)
    prepare(documents, profile_name, allow_stale, work)
    if diff:
        (work / "main_diff.tex").write_text(_difference(diff, profile_name, work), encoding="utf-8")
        documents.append("main_diff")
    made = []
    for document in documents:
        for finding in latex.compile_pdf(work, document):
            _say(f"{document}: {finding}")
        with paths.published(folder / f"{document}.pdf") as part:
            shutil.copyfile(work / f"{document}.pdf", part)
        made.append(folder / f"{document}.pdf")
    if "main" in documents and (latex.page_of(work / "main.aux", "text-ends") or 0) > PAGES:
        _say(f"main: its text ends after page {PAGES}, the most that the course takes without references")
    return made


def overleaf(target: Path, profile_name: str, allow_stale: bool = False) -> None:
    """Write a zip of the report and the slides that compiles as it is, the same bytes each time.

    Raises:
        ValueError: As `build`.
        FileNotFoundError: If there are no results.
    """
    with tempfile.TemporaryDirectory() as place:
        prepare(("main", "slides"), profile_name, allow_stale, Path(place))
        with paths.published(target) as part:
            part.write_bytes(zipped(Path(place)))


def zipped(folder: Path) -> bytes:
    """All files of a folder as a zip: sorted, without their dates and owners."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), FIRST_DAY)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, on every system
            archive.writestr(entry, file.read_bytes(), compresslevel=9)
    return stream.getvalue()


def prepare(documents: Iterable[str], profile_name: str, allow_stale: bool, folder: Path) -> None:
    """Check results and documents, write the report's own tables, and put all that is used into a folder.

    Nothing is written before everything has been checked.
    """
    profile = runtime.profile(profile_name)
    known = manuscript.numbers(profile.name)
    used = manuscript.uses(documents, paths.GENERATED.parent)
    manuscript.check(used, profile.name, known, {*report_tables.NAMES, *_cards()})
    everywhere = manuscript.uses(manuscript.there(paths.GENERATED.parent), paths.GENERATED.parent)
    made = _own_tables(everywhere, known, profile)  # all of one run, whichever document is compiled
    _refuse_stale(stale(profile), profile.name, allow_stale)
    for name, text in made.items():
        _publish_if_new(paths.GENERATED / profile.name / f"{name}.tex", text)
    report.build_numbers(profile.name)
    absent = manuscript.assemble(used, profile.name, runtime.commit(), folder)
    if absent:
        _say(f"grey boxes for panels that are not here: {', '.join(absent)}")
    shown = [name for name in used.photos if name not in absent]
    if shown and profile.name != "demo":
        _say(f"with a dataset's photographs, which are not ours to hand on: {', '.join(shown)}")
    orphans = manuscript.unused(profile.name, paths.GENERATED.parent)
    if orphans:
        _say(f"figures that no document uses: {', '.join(orphans)}")


def _own_tables(used: manuscript.Uses, known: dict[str, float], profile: runtime.Profile) -> dict[str, str]:
    """The tables and method cards that are used and that no notebook writes, by name."""
    splits = {"scenes": profile.evaluation_split, "captions": _captions_split(profile.name)}
    made = {}
    for name in used.tables:
        if name in report_tables.NAMES:
            made[name] = report_tables.table(name, known, splits, profile.seeds)
        elif name in _cards():
            made[name] = manuscript.printable(report_tables.card(_cards()[name]))
    return made


def _captions_split(profile_name: str) -> str:
    """Which split of captions was reported on: the named one, else as `captions.evaluated` chooses."""
    record = freshness.provenance("07", profile_name) or {"inputs": {"parameters": {}, "data": {}}}
    inputs = record["inputs"]
    there = [key.partition("/")[2] for key in inputs["data"] if key.startswith("captions/")]
    named = inputs["parameters"].get("eval_split")
    return named or next((one for one in ("test", "val", *there) if one in there and one != "train"), "test")


def _cards() -> dict[str, Path]:
    """The notebook of each method card, by the card's name."""
    return {f"card_{number}": notebook for number, notebook in run.notebooks().items()}


# --- what is stale ----------------------------------------------------------------------------------------


def stale(profile: runtime.Profile) -> dict[str, str]:
    """Why results that stand are not what the code, the data and the settings say now, by notebook.

    Their parameters are the recorded ones: which split to report on was chosen when they were run. Where the
    data is not on this machine everything else is compared, which is said.
    """
    found, reasons, keys, unseen = run.notebooks(), {}, {}, []
    for number, notebook in found.items():
        if not (paths.GENERATED / profile.name / f"{number}.json").is_file():
            continue
        record = freshness.provenance(number, profile.name)
        if not record:
            reasons[number] = "results without provenance: a notebook run by hand, or not to its end"
            continue
        upstream = {
            other: keys.get(other) or freshness.standing(other, profile.name)
            for other in run.READS.get(number, ())
            if other in found
        }
        values = freshness.parameters(notebook)
        values |= {name: value for name, value in record["inputs"]["parameters"].items() if name in values}
        try:
            now = freshness.inputs(notebook, profile, values, upstream)
        except FileNotFoundError:
            unseen.append(number)
            now = _but_for_the_data(notebook, profile, values, upstream, record["inputs"])
        keys[number] = paths.key_of(now)
        why = freshness.why_stale(number, profile.name, now)
        if why is not None:
            reasons[number] = why
    if unseen:
        _say(f"data is not here, everything but it was compared: {', '.join(unseen)}")
    return reasons


def _but_for_the_data(
    notebook: Path,
    profile: runtime.Profile,
    values: dict[str, object],
    upstream: dict[str, str | None],
    recorded: dict[str, object],
) -> dict[str, object]:
    """What `freshness.inputs` gives, with the data's keys as they were recorded."""
    sources = freshness.code_cells(notebook)
    modules = freshness.modules(sources)
    return recorded | {
        "cells": paths.key_of(sources),
        "modules": {name: paths.meaning(file.read_text(encoding="utf-8")) for name, file in modules.items()},
        "profile": json.loads(json.dumps(dataclasses.asdict(profile))),
        "parameters": values,
        "lock": paths.sha256(paths.ROOT / "requirements.lock"),
        "upstream": upstream,
    }


def _refuse_stale(reasons: dict[str, str], profile_name: str, allow_stale: bool) -> None:
    lines = [f"  {number}: {why}" for number, why in reasons.items()]
    if not lines:
        return
    if not allow_stale:
        todo = f"run `m5 run --profile {profile_name}`, or go on with --allow-stale"
        raise ValueError("\n".join([f"results of profile {profile_name} are stale; {todo}:", *lines]))
    _say("\n".join([f"warning: results of profile {profile_name} are stale:", *lines]))


# --- two versions -----------------------------------------------------------------------------------------


def _difference(revision: str, profile_name: str, folder: Path) -> str:
    """`main` with what changed since a git revision marked, its numbers and sections in their places."""
    report_folder = paths.GENERATED.parent
    tree = report_folder.relative_to(paths.ROOT).as_posix()
    done = subprocess.run(
        ["git", "archive", "--format=tar", revision, tree], cwd=paths.ROOT, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(f"DIFF={revision}: {done.stderr.decode(errors='replace').strip()}")
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(place, filter="data")
        before = Path(place) / tree
        if not (before / "main.tex").is_file():
            raise ValueError(f"DIFF={revision}: there was no {tree}/main.tex yet")
        texts = []
        for source in (before, report_folder):
            printed = manuscript.printed_numbers(source / "generated" / profile_name / "numbers.tex")
            texts.append(manuscript.flat("main", source, printed))
    return latex.marked_up(*texts, folder)


def _publish_if_new(file: Path, text: str) -> None:
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with paths.published(file) as part:
            part.write_text(text, encoding="utf-8")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
