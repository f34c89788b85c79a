"""Outputs reach the report whole, once, escaped, and the same bytes each time."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from m5utils import paths, report


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> report.Outputs:
    """The outputs of notebook 03 on profile demo, in a folder of the test's own."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(paths, "GENERATED", tmp_path / "report" / "generated")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return again()


def again() -> report.Outputs:
    return report.Outputs(SimpleNamespace(notebook="03", profile=SimpleNamespace(name="demo"), started=0.0))


def drawing() -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1], label="a_b")
    return figure


def generated(name: str) -> Path:
    return paths.GENERATED / "demo" / name


def everything() -> dict[str, bytes]:
    return {path.relative_to(paths.ROOT).as_posix(): path.read_bytes() for path in paths.ROOT.rglob("*.*")}


def test_nothing_is_written_before_publish_and_all_of_it_then(out: report.Outputs):
    out.numbers({"triplet/map": 0.5, "n_query": np.int64(7), "triplet/precision@1": np.float32(0.25)})
    figure = drawing()
    assert out.figure(figure, "loss_curves") is figure
    out.figure(drawing(), "panel", photographs=True)
    frame = pd.DataFrame({"map": [0.5]}, index=["triplet"])
    assert out.table(frame, "losses", caption="Losses") is frame
    out.time("train", 1.23456)
    assert everything() == {}

    out.publish()
    assert (
        generated("03.json").read_text()
        == '{\n "n_query": 7,\n "triplet/map": 0.5,\n "triplet/precision@1": 0.25\n}\n'
    )
    assert json.loads(generated("03.timing.json").read_text())["train"] == 1.235
    listed = json.loads(report.outputs_file("03", "demo").read_text())
    assert sorted(listed) == [
        "figures/demo/03_loss_curves.pdf",
        "figures/demo/03_loss_curves.png",
        "figures/demo/03_panel.pdf",
        "figures/demo/03_panel.png",
        "report/generated/demo/03.json",
        "report/generated/demo/03.timing.json",
        "report/generated/demo/03_losses.tex",
    ]
    assert all(paths.sha256(paths.ROOT / name) == record["sha256"] for name, record in listed.items())
    assert [name for name, record in listed.items() if record["photographs"]] == [
        "figures/demo/03_panel.pdf",
        "figures/demo/03_panel.png",
    ]


def test_figures_are_the_same_bytes_each_time(out: report.Outputs):
    out.figure(drawing(), "line")
    out.publish()
    before = everything()
    other = again()
    other.figure(drawing(), "line")
    other.publish()
    after = everything()
    assert before["figures/demo/03_line.pdf"] == after["figures/demo/03_line.pdf"]
    assert before["figures/demo/03_line.png"] == after["figures/demo/03_line.png"]
    assert b"/Type0" in after["figures/demo/03_line.pdf"]  # Type 42 fonts stand in the file as these
    assert b"/Type3" not in after["figures/demo/03_line.pdf"]
    assert b"CreationDate" not in after["figures/demo/03_line.pdf"]


def test_a_figure_is_shown_once(out: report.Outputs):
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    assert out.figure(figure, "line") is figure
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("a b", 0.5, ValueError, "letters, digits"),
        ("a:b", 0.5, ValueError, "letters, digits"),
        ("", 0.5, ValueError, "letters, digits"),
        ("map", float("nan"), ValueError, "fraction"),
        ("map", np.float32("inf"), ValueError, "fraction"),
        ("map", 95.4, ValueError, "no percent"),
        ("deck/recall_sum", 6.1, ValueError, "no percent"),
        ("deck/rank/map", 12.5, ValueError, "no percent"),
        ("deck/rank", float("inf"), ValueError, "fraction"),
        ("n", -1, ValueError, "0 or more"),
        ("n", True, TypeError, "got True"),
        ("n", np.bool_(True), TypeError, "expected a fraction"),
        ("n", "0.5", TypeError, "expected a fraction"),
        ("seen", 0.5, ValueError, "was given before, as 0.1"),
    ],
)
def test_numbers_are_refused(out: report.Outputs, key: str, value: object, error: type, words: str):
    out.number("seen", 0.1)
    with pytest.raises(error, match=words):
        out.number(key, value)


def test_topics_are_refused(out: report.Outputs):
    out.figure(drawing(), "line")
    with pytest.raises(ValueError, match="03_line.pdf was made before"):
        out.figure(drawing(), "line")
    with pytest.raises(ValueError, match="topic '../line'"):
        out.table(pd.DataFrame(), "../line", caption="")


def test_what_is_no_longer_made_is_removed_and_other_notebooks_keep_theirs(out: report.Outputs):
    out.figure(drawing(), "old")
    out.table(pd.DataFrame({"a": [1]}), "old", caption="")
    out.number("old", 0.5)
    out.publish()
    (paths.FIGURES / "demo" / "04_old.pdf").write_text("another notebook's")
    generated("03.provenance.json").write_text("{}")
    other = again()
    other.figure(drawing(), "new")
    other.number("new", 0.5)
    other.publish()
    assert sorted(path.name for path in paths.ROOT.rglob("*.*") if path.is_file()) == [
        "03.json",
        "03.outputs.json",
        "03.timing.json",
        "03_new.pdf",
        "03_new.png",
        "04_old.pdf",
    ]
    assert json.loads(generated("03.json").read_text()) == {"new": 0.5}


def test_a_full_disk_changes_nothing(out: report.Outputs, monkeypatch: pytest.MonkeyPatch):
    out.number("map", 0.5)
    out.figure(drawing(), "line")
    out.publish()
    generated("03.provenance.json").write_text("{}")
    before = everything()
    other = again()
    other.number("map", 0.6)
    other.figure(drawing(), "line")
    write, written = Path.write_bytes, []

    def write_until_full(self: Path, content: bytes) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        other.publish()
    assert everything() == before


def test_a_run_killed_while_it_publishes_has_no_provenance(
    out: report.Outputs, monkeypatch: pytest.MonkeyPatch
):
    out.number("map", 0.5)
    out.figure(drawing(), "line")
    out.publish()
    generated("03.provenance.json").write_text("{}")
    replace, renamed = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        renamed.append(target)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    other = again()
    other.number("map", 0.6)
    with pytest.raises(KeyboardInterrupt):
        other.publish()
    assert len(renamed) == 2
    assert not generated("03.provenance.json").exists()
    assert json.loads(generated("03.json").read_text())["map"] in (0.5, 0.6)


def test_tables_escape_everything_and_keep_their_shape(out: report.Outputs):
    frame = pd.DataFrame(
        {
            "P@1 (%)": ["95.4 ± 0.1", "−"],
            "gain_&": [0.12345, None],
            "miner": ["semi_hard", "50 % ~ {x}\\^#$"],
        },
        index=pd.Index(["a_b", "c"], name="the_method"),
    )
    out.table(frame, "losses", caption="R@1, 95 % of hard_mining")
    out.publish()
    assert generated("03_losses.tex").read_text().splitlines() == [
        r"\begin{table}[tbp]",
        r"\centering",
        r"\caption{R@1, 95 \% of hard\_mining}",
        r"\label{tab:03_losses}",
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r" & P@1 (\%) & gain\_\& & miner \\",
        r"the\_method &  &  &  \\",
        r"\midrule",
        r"a\_b & 95.4 $\pm$ 0.1 & 0.123 & semi\_hard \\",
        r"c & $-$ & – & 50 \% \textasciitilde{} \{x\}\textbackslash{}\textasciicircum{}\#\$ \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_tables_with_two_indices_or_none(out: report.Outputs):
    index = pd.MultiIndex.from_tuples([("a_b", 1), ("a_b", 2)], names=["loss_name", None])
    out.table(pd.DataFrame({"n": [1, 2]}, index=index), "two", caption="")
    out.table(pd.DataFrame({"n": [1, 2]}), "none", caption="")
    out.publish()
    two = generated("03_two.tex").read_text()
    assert r"\begin{tabular}{llr}" in two
    assert r"loss\_name" in two
    none = generated("03_none.tex").read_text()
    assert r"\begin{tabular}{r}" in none
    assert "\n1 \\\\\n2 \\\\\n" in none


def test_numbers_tex_holds_every_number_once_and_is_left_alone_if_nothing_changed(out: report.Outputs):
    out.numbers({"frozen/map": 0.9544, "frozen/map/std": 0.001, "n_query": 404, "delta": -0.021})
    out.numbers({"deck/recall_sum": 2.871, "deck/image_to_text/rank/low": 36.66, "deck/median_rank": 3.0})
    out.publish()
    file = report.build_numbers("demo")
    lines = file.read_text().splitlines()
    assert lines[0].startswith("% The numbers of profile demo")
    assert [line for line in lines if line.startswith(r"\expandafter")] == [
        r"\expandafter\def\csname result@03/deck/image_to_text/rank/low\endcsname{36.7}",
        r"\expandafter\def\csname result@03/deck/median_rank\endcsname{3}",
        r"\expandafter\def\csname result@03/deck/recall_sum\endcsname{287.1}",
        r"\expandafter\def\csname result@03/delta\endcsname{-2.1}",
        r"\expandafter\def\csname result@03/frozen/map\endcsname{95.4}",
        r"\expandafter\def\csname result@03/frozen/map/std\endcsname{0.1}",
        r"\expandafter\def\csname result@03/n_query\endcsname{404}",
    ]
    before = file.stat()
    report.build_numbers("demo")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_pictures_of_photographs_are_not_committed():
    """The provenance says which they are; outside a git repository there is nothing to hand on."""
    import subprocess

    real_root = Path(report.__file__).parents[1]
    listing = subprocess.run(["git", "ls-files", "figures"], cwd=real_root, capture_output=True, text=True)
    tracked = set(listing.stdout.split()) if listing.returncode == 0 else set()
    records = (real_root / "report" / "generated").glob("*/*.provenance.json")
    outputs = {k: v for file in records for k, v in json.loads(file.read_text())["outputs"].items()}
    assert [name for name in sorted(tracked) if outputs.get(name, {}).get("photographs")] == []
