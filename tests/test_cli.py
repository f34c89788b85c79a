"""The command line hands on what it was given, and says in a sentence what went wrong."""

import importlib.metadata
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

from m5utils import cli, doctor, embeddings, job, paper, paths, run
from m5utils.datasets import demo_coco


def m5(*arguments: str) -> tuple[int, str]:
    """The exit code and all that was printed."""
    result = CliRunner().invoke(cli.app, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_run_hands_on_what_it_was_given(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(run, "run", lambda *given: calls.append(given) or 0)
    assert m5("run") == (0, "")
    assert m5("run", "02", "7", "--profile", "lab", "-p", "margin=1", "-p", "seed=2", "--force") == (0, "")
    assert calls == [([], "demo", [], False), (["02", "7"], "lab", ["margin=1", "seed=2"], True)]
    monkeypatch.setattr(run, "run", lambda *_: 1)
    assert m5("run") == (1, "")


def test_encode_takes_its_part(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(job, "encode", lambda *given, **part: calls.append((*given, part)))
    assert m5("encode", "--profile", "course", "--shard", "3/8")[0] == 0
    assert calls == [("course", {"part": 3, "parts": 8})]
    for shard in ("0/8", "9/8", "3", "a/b", "1/0"):
        code, text = m5("encode", "--shard", shard)
        assert code == 1
        assert f"--shard {shard}: expected i/n" in text
    assert len(calls) == 1


def test_report_and_export_hand_on_what_they_were_given(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(paper, "build", lambda *given: calls.append(given) or [Path("a.pdf")])
    monkeypatch.setattr(paper, "overleaf", lambda *given: calls.append(given))
    assert m5("report", "--profile", "lab", "--allow-stale", "--diff", "HEAD~1") == (0, "a.pdf\n")
    assert m5("report")[0] == m5("export", "--week", "4")[0] == 0
    assert m5("export", "--overleaf", "out.zip", "--profile", "lab") == (0, "out.zip\n")
    assert calls == [
        (("main", "slides"), "lab", True, "HEAD~1"),
        (("main", "slides"), "demo", False, None),
        (["week4"], "demo", False),
        (Path("out.zip").resolve(), "lab", False),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export",), "expected either --overleaf out.zip or --week 4|5"),
        (
            ("export", "--week", "4", "--overleaf", "a.zip"),
            "expected either --overleaf out.zip or --week 4|5",
        ),
        (("export", "--week", "3"), "--week 3: expected 4 or 5"),
        (("run", "99"), "there is no notebook 99"),
        (("run", "--profile", "moon"), "expected a profile out of demo, lab, course; got 'moon'"),
        (("doctor", "--profile", "moon"), "expected a profile out of"),
    ],
)
def test_errors_are_a_sentence(arguments: tuple, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    monkeypatch.setattr(run, "notebooks", lambda: {})
    code, text = m5(*arguments)
    assert code == 1
    assert text.startswith("m5: ")
    assert words in text
    assert "Traceback" not in text


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "run", lambda *_: {}["bug"])
    with pytest.raises(KeyError):
        m5("run")


@pytest.mark.slow
def test_doctor_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    settings = {"M5_CACHE": str(tmp_path)}
    monkeypatch.setattr(paths, "setting", settings.get)
    monkeypatch.setattr(embeddings, "encoder_named", lambda *_: nn.Linear(1, 1))
    monkeypatch.setattr(nn.Linear, "dim", 2784, raising=False)
    monkeypatch.setattr(nn.Linear, "size", 224, raising=False)
    code, text = m5("doctor", "--profile", "lab")
    assert code == 1
    assert "MISSING   mit_split         M5_MIT_SPLIT is not set" in text
    assert "MISSING   captions          M5_FLICKR8K is not set" in text
    assert "language model" not in text
    for split in ("train", "test"):
        for name in ("coast", "street"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "a.jpg").write_bytes(b"")
    settings["M5_MIT_SPLIT"] = str(tmp_path)
    code, text = m5("doctor", "--profile", "lab")
    assert code == 0, text  # what needs photographs with captions is left out of a run
    assert f"ok        mit_split         M5_MIT_SPLIT = {tmp_path}: train 2, test 2" in text
    assert "left out  captions          M5_FLICKR8K is not set" in text
    assert "ok        encoder           efficientnet_lite0, 2784 dimensions" in text
    assert "language model" not in text
    settings["M5_FLICKR8K"] = str(tmp_path)
    (tmp_path / "Images").mkdir()
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,A cat.\nb.jpg,A dog.\n")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    code, text = m5("doctor", "--profile", "lab")
    assert code == 0, text
    assert "left out  captions" not in text
    assert "left out  coco_retrieval    M5_COCO is not set" in text
    assert "ok        language model    minilm" in text
    assert f"ok        captions          M5_FLICKR8K = {tmp_path}: train 2" in text
    assert "object encoder" not in text
    settings["M5_COCO"] = str(tmp_path / "COCO")
    demo_coco.make_coco(tmp_path / "COCO", train=5, val=5)
    text = m5("doctor", "--profile", "lab")[1]
    assert (
        f"ok        coco_retrieval    M5_COCO = {tmp_path / 'COCO'}: train 5, database 5, val 2, test 3"
        in text
    )
    assert "ok        object encoder    efficientnet_lite0, 2784 dimensions" in text
    settings["M5_CLIP"] = str(tmp_path)
    code, text = m5("doctor", "--profile", "lab")
    assert code == 1
    assert f"MISSING   CLIP              {tmp_path} has no config.json" in text
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)  # where no notebook reads anything
    text = m5("doctor", "--profile", "lab")[1]
    assert " captions " not in text
    assert " mit_split " not in text


def test_doctor_tells_a_cache_it_cannot_write(tmp_path: Path):
    (tmp_path / "file").write_text("")
    finding = doctor._cache(tmp_path / "file")
    assert finding.state == "MISSING"
    assert "Set M5_CACHE" in finding.detail


def test_doctor_compares_the_packages_with_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lock = tmp_path / "lock"
    lock.write_text(
        "one==1.0 \\\n    --hash=sha256:0\n"
        'two==2.0 ; python_version < "3" \\\n    --hash=sha256:1\n'
        "Three_x==3.0\n"
    )
    assert doctor.pinned(lock) == {"one": "1.0", "three-x": "3.0"}
    installed = {"one": "1.0", "three-x": "3.1", "torch": None}
    monkeypatch.setattr(doctor, "_installed", lambda name: installed.get(name, "9"))
    findings = [(finding.what, finding.detail, finding.state) for finding in doctor._packages(lock)]
    assert findings == [
        ("packages", "1 as in requirements.lock", "ok"),
        ("packages", "1 of another version: three-x 3.1 (lock: 3.0)", "ok"),
        ("torch", "is not installed: run `make setup`", "MISSING"),
    ]


def test_the_command_is_installed():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="m5")
    assert script.load() is cli.app


@pytest.mark.slow
def test_doctor_finds_this_machine_fit_for_the_drawn_world():
    code, text = m5("doctor", "--profile", "demo")
    assert code == 0, text
