"""What is stale, in which order, and that every end of a run leaves whole results or none."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import tiny
from matplotlib.figure import Figure

from m5utils import (
    box_descriptors,
    embeddings,
    freshness,
    job,
    object_descriptors,
    paths,
    report,
    run,
    runtime,
    view_descriptors,
)
from m5utils.datasets import captions, coco_retrieval, entities, mit_split
from m5utils.encoders import bert


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with notebooks 01, 02, 05 and 12; 05 reads 02, 12 reads all."""
    root = tiny.work_in_a_copy(tmp_path / "house", monkeypatch)
    monkeypatch.setattr(run, "READS", {"05": ("02",), "12": ("01", "02", "05")})
    monkeypatch.setattr(job, "execute", _publish_without_a_kernel)
    for number in ("01", "02", "05", "12"):
        tiny.write_whole(paths.NOTEBOOKS, number)
    return root


def _publish_without_a_kernel(notebook: Path, changes: dict, _folder: Path) -> None:
    values = freshness.parameters(notebook) | changes
    number = notebook.name[:2]
    out = report.Outputs(SimpleNamespace(notebook=number, profile=SimpleNamespace(name="demo"), started=0.0))
    figure = Figure()
    figure.savefig = lambda stream, **_: stream.write(b"a drawing")  # drawing takes most of the time
    out.figure(figure, "panel", photographs=True)
    out.figure(figure, "curve")
    out.number("tiny/map", values["margin"])
    out.publish()


def plan(*named: str, given: tuple[str, ...] = (), force: bool = False) -> dict:
    return run.make_plan(named, "demo", given, force)


def stale(*named: str, **more: object) -> list[str]:
    return sorted(plan(*named, **more)["jobs"])


def do(*named: str, **more: object) -> None:
    todo = plan(*named, **more)
    for number in sorted(todo["jobs"]):
        job._notebook(todo, number, paths.BUILD / "demo")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


# --- the plan ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("house")
def test_all_are_stale_at_first_and_none_after_they_ran():
    todo = plan()
    assert {number: entry["after"] for number, entry in todo["jobs"].items()} == {
        "01": [],
        "02": [],
        "05": ["02"],
        "12": ["01", "02", "05"],
    }
    do()
    assert stale() == []
    assert stale(force=True) == ["01", "02", "05", "12"]


@pytest.mark.usefixtures("house")
def test_named_notebooks_run_alone_and_say_what_they_miss():
    todo = plan("5")
    assert sorted(todo["jobs"]) == ["05"]
    assert "  it reads 02: no results yet" in todo["notes"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("margin)", "margin * 1)", ["02", "05", "12"]),  # code
        ("A tiny notebook", "The same, in other words", []),  # prose
        ('"execution_count": null', '"execution_count": 3', []),
        ('"outputs": []', '"outputs": [{"output_type": "stream"}]', []),
    ],
)
@pytest.mark.usefixtures("house")
def test_code_of_a_notebook_counts_and_prose_and_outputs_do_not(old: str, new: str, expected: list[str]):
    do()
    edit(paths.NOTEBOOKS / "02_tiny.ipynb", old, new)
    assert stale() == expected


@pytest.mark.parametrize(
    ("module", "old", "new", "expected"),
    [
        ("report", '"""From a notebook to the report', '"""From there to the report', []),  # docstring
        ("report", "KEY = re", "# a comment\nKEY  =  re", []),  # comment and layout
        ("report", "200", "199", ["01", "02", "05", "12"]),  # imported by the notebooks
        ("paths", "2_000_000_000", "3_000_000_000", ["01", "02", "05", "12"]),  # imported by report
        ("cli", "lab or course", "lab, course", []),  # not imported
    ],
)
def test_code_of_imported_modules_counts(house: Path, module: str, old: str, new: str, expected: list[str]):
    do()
    edit(house / "m5utils" / f"{module}.py", old, new)
    assert stale() == expected


def test_an_import_inside_a_function_or_a_package_counts(house: Path):
    (house / "m5utils" / "datasets" / "extra.py").write_text("from . import deeper\n")
    (house / "m5utils" / "datasets" / "deeper.py").write_text("DEPTH = 1\n")
    used = freshness.modules(["%matplotlib inline\ndef late():\n    import m5utils.datasets.extra as e"])
    names = ["m5utils", "m5utils.datasets", "m5utils.datasets.deeper", "m5utils.datasets.extra"]
    assert list(used) == names


def test_data_counts_by_name_bytes_and_annotations(house: Path, monkeypatch: pytest.MonkeyPatch):
    (house / "m5utils" / "datasets" / "dots.py").write_text("")
    tiny.write_whole(paths.NOTEBOOKS, "01", "from m5utils.datasets import dots")
    dot = house / "data" / "a.png"
    dot.parent.mkdir()
    dot.write_bytes(b"one")
    said = ["a dot"]
    split = SimpleNamespace(files=("a.png",), paths=lambda: [dot], annotations=lambda: said)
    dots = SimpleNamespace(for_profile=lambda _profile: {"train": split})
    monkeypatch.setitem(sys.modules, "m5utils.datasets.dots", dots)
    do()
    assert stale() == []
    dot.write_bytes(b"two")  # the same size, within the same second
    assert stale() == ["01", "12"]
    assert plan()["notes"][0] == "01_tiny: changed: data dots/train"
    dot.write_bytes(b"one")
    assert stale() == []
    said[0] = "a spot"
    assert stale() == ["01", "12"]
    said[0] = "a dot"
    split.files = ("b.png",)
    assert stale() == ["01", "12"]


def test_profile_lock_and_parameters_count(house: Path, monkeypatch: pytest.MonkeyPatch):
    do()
    assert stale(given=("margin=0.2", "seed=0")) == []  # the values they have anyway
    assert stale("02", given=("margin=0.3",)) == ["02"]
    with monkeypatch.context() as patch:
        patch.setitem(runtime.PROFILES, "demo", runtime.profile("demo", epochs=16))
        assert plan("01")["notes"] == ["01_tiny: changed: profile epochs"]
        many = dict.fromkeys(("epochs", "seeds", "resamples", "finetune_epochs", "finetune_views"), 9)
        patch.setitem(runtime.PROFILES, "demo", runtime.profile("demo", **many, finetune_size=9))
        (note,) = plan("01")["notes"]
        assert note.startswith("01_tiny: changed: profile epochs, profile finetune_epochs, ")
        assert note.endswith(", profile resamples, and 1 more")
    (house / "requirements.lock").write_text("pinned==2\n")
    assert stale() == ["01", "02", "05", "12"]


@pytest.mark.usefixtures("house")
def test_a_result_counts_for_those_that_read_it():
    do()
    do("02", given=("margin=0.3",))
    assert stale() == ["02"]  # it goes back to what 05 has read
    assert stale("05") == ["05"]  # but now 02 stands with another margin
    do("05")
    assert stale("05") == []
    assert stale() == ["02", "05"]  # after these two 12 stands as it is
    do("02")
    assert stale("05") == ["05"]
    assert stale("01") == []


@pytest.mark.usefixtures("house")
def test_a_notebook_run_by_hand_is_run_again_and_counts_for_those_that_read_it():
    do()
    _publish_without_a_kernel(paths.NOTEBOOKS / "02_tiny.ipynb", {"margin": 0.5}, Path())
    assert stale() == ["02"]
    assert stale("05") == ["05"]
    before = freshness.standing("02", "demo")
    _publish_without_a_kernel(paths.NOTEBOOKS / "02_tiny.ipynb", {"margin": 0.6}, Path())
    assert freshness.standing("02", "demo") not in (before, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("figures/demo/02_curve.pdf", ["02"]),
        ("report/generated/demo/02.json", ["02"]),
        ("report/generated/demo/02.provenance.json", ["02"]),
        ("figures/demo/02_panel.pdf", []),  # shows photographs: not handed on with the others
    ],
)
def test_outputs_that_are_missing_or_changed(house: Path, name: str, expected: list[str]):
    do()
    content = (house / name).read_bytes()
    (house / name).write_bytes(content[: len(content) // 2])
    assert stale("02") == ["02"]
    (house / name).unlink()
    assert stale("02") == expected
    (house / name).write_bytes(content)
    assert stale("02") == []


def test_encoding_comes_once_and_before_those_that_use_it(house: Path, monkeypatch: pytest.MonkeyPatch):
    (house / "m5utils" / "embeddings.py").write_text("")
    for number in ("01", "02"):
        tiny.write_whole(paths.NOTEBOOKS, number, "import m5utils.embeddings")
    monkeypatch.setattr(freshness, "data", lambda *_: {"mit_split/train": "1", "mit_split/test": "2"})
    todo = plan()["jobs"]
    assert todo["encode_mit_split"] == {"stamp": "encode_mit_split.ok", "after": [], "priority": 6}
    assert [name for name in todo if name.startswith("encode")] == ["encode_mit_split"]
    first = [todo[number]["after"][:1] for number in ("01", "02", "05")]
    assert first == [["encode_mit_split"], ["encode_mit_split"], ["02"]]


def test_without_data_the_other_notebooks_run_and_a_named_one_is_an_error(
    house: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert (house / "notebooks" / "02_tiny.ipynb").is_file()
    inputs = freshness.inputs

    def without(notebook: Path, *rest: object) -> dict:
        if notebook.name.startswith("02"):
            raise FileNotFoundError("M5_SOMETHING is not set")
        return inputs(notebook, *rest)

    monkeypatch.setattr(freshness, "inputs", without)
    found = plan()
    assert sorted(found["jobs"]) == ["01", "05", "12"]
    run._tell(paths.BUILD, found | {"jobs": {}})
    assert "02_tiny                      not run: M5_SOMETHING is not set" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="M5_SOMETHING"):
        run.make_plan(["02"], "demo", [], False)
    monkeypatch.setattr(freshness, "inputs", lambda notebook, *_: without(notebook.with_name("02"), *_))
    with pytest.raises(FileNotFoundError, match="M5_SOMETHING"):
        plan()


def test_encoding_goes_through_every_split_and_only_train_in_views(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(mit_split, "for_profile", lambda _: {"train": "photographs", "test": "queries"})
    sources = {True: ["plain", "views"], False: ["plain"]}
    monkeypatch.setattr(embeddings, "sources", lambda _, training: sources[training])
    calls = []
    done = SimpleNamespace(kept=[0, 1], bad={"a.jpg": "cut off"})
    monkeypatch.setattr(embeddings, "encode", lambda *given, **more: calls.append((*given, more)) or done)
    job.encode("demo", ["mit_split"], 3, 8)
    more = {"on_bad_image": "skip", "part": (3, 8)}
    expected = [("plain", "photographs", more), ("views", "photographs", more), ("plain", "queries", more)]
    assert calls == expected
    assert "mit_split/test, plain, part 3/8: 2 images, 1 cannot be read" in capsys.readouterr().out


def test_encoding_takes_captions_with_their_images_and_passes_over_data_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def absent(_: object) -> None:
        raise FileNotFoundError("M5_MIT_SPLIT is not set")

    monkeypatch.setattr(mit_split, "for_profile", absent)
    shown = SimpleNamespace(captions=["a dog", "a cat"])
    monkeypatch.setattr(captions, "for_profile", lambda _: {"train": shown})
    monkeypatch.setattr(bert, "bert_encoder", lambda name: name)
    monkeypatch.setattr(embeddings, "plain_sources", lambda _: ["plain"])
    monkeypatch.setattr(view_descriptors, "sources", lambda _: ["plain", "mirrored"])
    monkeypatch.setattr(box_descriptors, "source", lambda _: "maps")
    monkeypatch.setattr(entities, "with_boxes", lambda _: {"test": "phrases"})
    monkeypatch.setattr(coco_retrieval, "for_profile", lambda _: {"test": "pictures"})
    monkeypatch.setattr(object_descriptors, "sources", lambda _: ["frozen"])
    texts, images = [], []
    monkeypatch.setattr(embeddings, "encode_texts", lambda *given: texts.append(given) or given[1])
    done = SimpleNamespace(kept=[0], bad={})
    monkeypatch.setattr(embeddings, "encode", lambda *given, **more: images.append((*given, more)) or done)
    job.encode("demo", part=1, parts=2)
    assert texts == [("minilm", shown.captions, (1, 2))]
    how = {"on_bad_image": "skip", "part": (1, 2)}
    expected = [("plain", shown), ("mirrored", shown), ("maps", "phrases"), ("frozen", "pictures")]
    assert images == [(*pair, how) for pair in expected]
    said = capsys.readouterr().out
    assert "mit_split: not encoded: M5_MIT_SPLIT is not set" in said
    assert "captions/train, minilm, part 1/2: 2 captions" in said
    monkeypatch.setattr(view_descriptors, "sources", absent)  # weights that one notebook needs
    images.clear()
    job.encode("demo", ["captions"])
    assert [encoder for encoder, *_ in images] == ["plain", "maps"]
    assert "captions: views are not encoded: M5_MIT_SPLIT is not set" in capsys.readouterr().out
    for names in (["mit_split"], ()):
        for dataset in (captions, coco_retrieval):
            monkeypatch.setattr(dataset, "for_profile", absent)
        with pytest.raises(FileNotFoundError, match="M5_MIT_SPLIT"):
            job.encode("demo", names)


def test_the_files_that_settings_name_count_where_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    vectors, folder = tmp_path / "vectors.bin", tmp_path / "model"
    vectors.write_bytes(b"1")
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "weights").write_bytes(b"2")
    monkeypatch.setenv("M5_FASTTEXT", str(vectors))
    monkeypatch.setenv("M5_CLIP", str(folder))
    monkeypatch.setenv("M5_GLOVE", str(tmp_path / "not asked for"))
    course, demo = runtime.profile("course"), runtime.profile("demo")
    sources = ["embeddings.word_vectors(run.profile, said)", 'paths.setting("M5_CLIP")']
    before = freshness.named_files(sources, course)
    assert sorted(before) == ["M5_CLIP", "M5_FASTTEXT"]
    assert sorted(freshness.named_files(sources, demo)) == ["M5_CLIP"]
    assert freshness.named_files(["1 + 1"], course) == {}
    (folder / "deep" / "weights").write_bytes(b"22")
    after = freshness.named_files(sources, course)
    assert after["M5_CLIP"] != before["M5_CLIP"]
    assert after["M5_FASTTEXT"] == before["M5_FASTTEXT"]
    monkeypatch.delenv("M5_FASTTEXT")
    assert "M5_FASTTEXT" not in freshness.named_files(sources, course)


def test_a_notebook_reads_only_earlier_ones():
    assert all(earlier < number for number, read in run.READS.items() for earlier in read)


# --- what a user may get wrong ----------------------------------------------------------------------------


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("colour=1", "01_tiny.ipynb has no parameter 'colour'; it has profile, seed, margin, miner, retrain"),
        ("margin", "expected name=value"),
        ("profile=lab", "--profile"),
        ("margin=wide", "parameter margin: expected float like 0.2, got 'wide'"),
        ("seed=0.5", "expected int"),
        ("seed=True", "expected int"),
        ("retrain=1", "expected bool"),
    ],
)
def test_parameters_are_refused(given: str, words: str):
    with pytest.raises(ValueError, match="tiny|-p") as error:
        plan(given=(given,))
    assert words in str(error.value)


@pytest.mark.usefixtures("house")
def test_a_parameter_must_exist_in_every_named_notebook():
    tiny.write_notebook(paths.NOTEBOOKS / "12_tiny.ipynb", "pass", parameters="seed = 0")
    assert stale("02", given=("margin=1",)) == ["02"]
    with pytest.raises(ValueError, match="12_tiny.ipynb has no parameter 'margin'; it has seed"):
        plan(given=("margin=1",))


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("1", 0.2, 1.0),
        ("3", 1, 3),
        ("5", "hard", "5"),
        ("[1, 2]", [3], [1, 2]),
        ("all", None, "all"),
        ("True", False, True),
    ],
)
def test_values_fit_their_parameters(text: str, default: object, value: object):
    got = run.fitting(text, default, "here")
    assert got == value
    assert type(got) is type(value)


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("cell", ["margin = 2 * 0.1", "import os", "a = b = 1", "print(1)", "x: int = 1"])
def test_a_parameters_cell_holds_literals_only(cell: str):
    notebook = tiny.write_notebook(paths.NOTEBOOKS / "02_tiny.ipynb", parameters=cell)
    with pytest.raises(ValueError, match="02_tiny.ipynb: the parameters cell holds"):
        freshness.parameters(notebook)


@pytest.mark.usefixtures("house")
def test_notebooks_that_are_not_there_or_there_twice():
    with pytest.raises(ValueError, match="no notebook 07; there are 01, 02, 05, 12"):
        plan("07")
    with pytest.raises(ValueError, match="expected a profile"):
        run.make_plan([], "moon", [], force=False)
    (paths.NOTEBOOKS / "09_broken.ipynb").write_text("{")
    with pytest.raises(ValueError, match="09_broken.ipynb is no notebook"):
        plan()
    tiny.write_whole(paths.NOTEBOOKS, "09")
    with pytest.raises(ValueError, match="the same number"):
        plan()
    shutil.rmtree(paths.NOTEBOOKS)
    with pytest.raises(FileNotFoundError, match="no notebook"):
        plan()


@pytest.mark.usefixtures("house")
def test_a_notebook_that_publishes_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch):
    do()
    monkeypatch.setattr(job, "execute", lambda *_: None)
    with pytest.raises(ValueError, match="02_tiny.ipynb published nothing"):
        do("02", force=True)


@pytest.mark.slow
def test_parameters_are_those_papermill_sees(tmp_path: Path):
    import papermill

    for notebook in (tiny.write_whole(tmp_path, "02"), *run.notebooks().values()):
        assert list(papermill.inspect_notebook(notebook)) == list(freshness.parameters(notebook))


# --- with kernels: ends of every kind ----------------------------------------------------------------------

PAUSE = """import os, pathlib, time
flag = pathlib.Path("kernel.pid")
if not flag.exists():
    flag.write_text(str(os.getpid()))
    time.sleep(100)"""
RANDOM = """import random
random.seed(seed)
out.number("tiny/random", random.random())"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What notebook 01 gives when nothing ends it."""
    project = tiny.copy_project(tmp_path_factory.mktemp("undisturbed") / "house")
    tiny.write_whole(project / "notebooks", "01", RANDOM)
    finished(tiny.m5(project, "run"))
    return results(project)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copied project whose path has a space and a letter beyond ASCII."""
    return tiny.copy_project(tmp_path / "ein Würfel")


@pytest.fixture
def m5() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `m5`, see `tiny.m5`; what a failing test left running is ended."""
    started = []

    def start(*arguments: object, **settings: str) -> subprocess.Popen:
        started.append(tiny.m5(*arguments, **settings))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def results(project: Path) -> dict[str, bytes]:
    places = [*project.glob("report/generated/demo/[0-9][0-9].json"), *project.glob("figures/demo/*")]
    return {path.name: path.read_bytes() for path in places}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def finished(process: subprocess.Popen, seconds: float = 600) -> str:
    text = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, text
    return text


@pytest.mark.slow
def test_a_failing_notebook_is_told_and_leaves_nothing_half(project: Path, m5: Callable):
    tiny.write_whole(project / "notebooks", "01")
    failing = tiny.write_whole(project / "notebooks", "02", "1 / 0")
    tiny.write_whole(project / "notebooks", "12")
    process = m5(project, "run")
    text = process.communicate(timeout=600)[0]
    build = project / "build" / "demo"
    assert process.returncode == 1
    assert "02_tiny failed: ZeroDivisionError: division by zero" in text
    assert str(build / "02.log") in text
    assert "ZeroDivisionError" in (build / "02.log").read_text()
    assert "ZeroDivisionError" in (build / "02.partial.ipynb").read_text()
    assert not (build / "02.ipynb").exists()
    assert "not run: it needs 02" in text
    assert sorted(results(project)) == ["01.json", "01_line.pdf", "01_line.png"]

    edit(failing, "1 / 0", "1 / 1")
    text = finished(m5(project, "run"))
    assert "01_tiny                      up to date" in text
    assert not (build / "02.partial.ipynb").exists()
    assert len(results(project)) == 9
    assert (
        r"result@12/tiny/map\endcsname{20.0}" in (project / "report/generated/demo/numbers.tex").read_text()
    )


@pytest.mark.slow
@pytest.mark.skipif(run._cores() < 2, reason="side by side takes two cores")
def test_two_notebooks_run_side_by_side(project: Path, m5: Callable):
    """Each waits until the other has begun, and gives up after a minute."""
    for own, other in (("01", "02"), ("02", "01")):
        met = f"""import time
from pathlib import Path
Path("begun_{own}").touch()
stop = time.monotonic() + 60
while not Path("begun_{other}").exists():
    assert time.monotonic() < stop, "the other one has not begun"
    time.sleep(0.1)"""
        tiny.write_whole(project / "notebooks", own, met)
    finished(m5(project, "run"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives a process all cores")
def test_the_longest_begins_first_and_what_shows_the_work_of_others_last(project: Path, m5: Callable):
    for number in ("01", "04", "05"):
        begun = f"with open('begun', 'a') as file:\n    file.write('{number} ')"
        tiny.write_whole(project / "notebooks", number, begun)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # one at a time
    try:
        process = m5(project, "run")
    finally:
        os.sched_setaffinity(0, cores)
    finished(process)
    (begun,) = project.rglob("begun")
    order = begun.read_text().split()
    assert (order[0], order[-1]) == ("04", "05")


@pytest.mark.slow
def test_a_changed_snakefile_is_used_by_the_next_run(project: Path, m5: Callable):
    tiny.write_whole(project / "notebooks", "01")
    finished(m5(project, "run", "01"))
    edit(
        project / "notebooks" / "Snakefile", '"exec {params.command}"', '"touch used; exec {params.command}"'
    )
    finished(m5(project, "run", "01", "--force"))
    assert len(list(project.rglob("used"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill m5", "kill group", "kill snakemake", "SIGTERM", "Ctrl-C"])
def test_whatever_ends_a_run_ends_its_kernels_and_the_same_command_goes_on(
    project: Path, m5: Callable, undisturbed: dict[str, bytes], how: str
):
    tiny.write_whole(project / "notebooks", "01", RANDOM, PAUSE)
    process = m5(project, "run")
    flag = project / "notebooks" / "kernel.pid"
    until(lambda: flag.exists() and flag.read_text())
    below = descendants(process.pid)
    assert int(flag.read_text()) in below
    if how == "kill m5":
        process.kill()
    elif how == "kill group":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "kill snakemake":
        os.kill(psutil.Process(process.pid).children()[0].pid, signal.SIGKILL)
    elif how == "SIGTERM":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)
    until(lambda: not any(alive(pid) for pid in below), seconds=20)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert results(project) == {}

    finished(m5(project, "run"))
    assert len(undisturbed) == 3
    assert results(project) == undisturbed


@pytest.mark.slow
def test_of_two_runs_the_second_waits_and_finds_all_done(project: Path, m5: Callable):
    tiny.write_whole(project / "notebooks", "01", "import time; time.sleep(5)")
    first = m5(project, "run")
    until(lambda: (project / "build" / "demo" / "01.log").exists())
    second = finished(m5(project, "run"))
    finished(first)
    assert "another run is running the notebooks of demo: waiting for it" in second
    assert "up to date" in second


@pytest.mark.slow
def test_of_two_runs_at_once_without_locks_both_end_right(
    project: Path, m5: Callable, undisturbed: dict[str, bytes]
):
    no_lock = "\n\n@contextmanager\ndef lock(path, doing):\n    yield\n"
    with (project / "m5utils" / "paths.py").open("a") as source:
        source.write(no_lock)
    tiny.write_whole(project / "notebooks", "01", RANDOM)
    runs = [m5(project, "run") for _ in range(2)]
    for process in runs:
        finished(process)
    assert results(project) == undisturbed


@pytest.mark.slow
def test_the_drawn_world_twice_gives_the_same_and_then_there_is_nothing_to_do(tmp_path: Path, m5: Callable):
    """All notebooks, in this project; each time with nothing cached."""

    def run_all(*more: str, cache: str) -> str:
        settings = {"M5_CACHE": str(tmp_path / cache)}
        return finished(m5(paths.ROOT, "run", "--profile", "demo", *more, **settings), seconds=3600)

    def numbers() -> dict[str, dict[str, float]]:
        files = (paths.GENERATED / "demo" / f"{number}.json" for number in run.notebooks())
        return {file.name: json.loads(file.read_text()) for file in files}

    run_all("--force", cache="once")
    first = numbers()
    run_all("--force", cache="twice")
    assert numbers() == first
    assert all(first.values())
    maps = [("02.json", "chance/map"), ("02.json", "frozen/map"), ("03.json", "siamese/map")]
    chance, frozen, siamese = (first[file][key] for file, key in maps)
    assert chance < frozen < siamese

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = run_all(cache="twice")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert text.count("up to date") == len(first)
    # processor seconds, because the wall clock of a shared machine measures the others too
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15
