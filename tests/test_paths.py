"""Files: whole or not at all, hashed by content, found by settings."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from m5utils import paths


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    file = tmp_path / "a.json"
    paths.publish_json(file, {"b": 1})

    def fail_half_way():
        with paths.published(file) as part:
            part.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="full"):
        fail_half_way()
    assert json.loads(file.read_text()) == {"b": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_is_made_beside_its_place_in_a_folder_that_is_made_too(tmp_path):
    with paths.published(tmp_path / "new" / "a.json") as part:
        assert part.parent == tmp_path / "new"
    paths.publish_json(tmp_path / "new" / "a.json", {"b": 1, "a": 2})
    assert (tmp_path / "new" / "a.json").read_text() == '{\n "a": 2,\n "b": 1\n}\n'


def test_a_published_file_can_be_read_by_others(tmp_path):
    old = os.umask(0o022)
    try:
        paths.publish_json(tmp_path / "a.json", 1)
    finally:
        assert os.umask(old) == 0o022
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        paths.publish_json(tmp_path / "a.json", {"map": float("nan")})
    assert not os.listdir(tmp_path)


def test_hashes_follow_the_content_also_if_size_and_name_stay(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    first = paths.content_hashes([file])
    assert paths.content_hashes([file]) == first == [paths.sha256(file)]
    file.write_bytes(b"two")
    assert paths.content_hashes([file]) == [paths.sha256(file)] != first


def test_a_key_is_of_the_value_and_not_of_its_order(tmp_path):
    assert paths.key_of({"a": 1, "b": 2}) == paths.key_of({"b": 2, "a": 1}) != paths.key_of({"a": 2, "b": 1})
    assert len(paths.key_of(None)) == 16
    with pytest.raises(ValueError, match="JSON"):
        paths.key_of(float("nan"))
    (tmp_path / "abc").write_bytes(b"abc")
    assert paths.sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")  # FIPS 180-2, B.1


def test_the_key_of_code_follows_what_the_file_says(tmp_path):
    module = SimpleNamespace(__name__="some", __file__=str(tmp_path / "some.py"))
    keys = []
    for source in ("x = 1\n", "x = 1  # a comment\n", "x = 2\n"):
        (tmp_path / "some.py").write_text(source)
        keys.append(paths.code_key(module))
    assert keys[0] == keys[1] != keys[2]


def test_a_file_that_changed_just_now_is_not_remembered(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    paths.content_hashes([tmp_path / "a.jpg"])
    assert not list(paths.cache().rglob("*.json"))


def test_a_memory_that_cannot_be_written_is_no_harm(tmp_path, monkeypatch, capsys):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "file"))
    assert paths.content_hashes([file]) == [paths.sha256(file)]
    assert "hashes are not remembered" in capsys.readouterr().err


def test_hashes_are_remembered(tmp_path, monkeypatch):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    first = paths.content_hashes([file])
    monkeypatch.setattr(paths, "sha256", lambda path: pytest.fail(f"read {path} again"))
    assert paths.content_hashes([file]) == first


def test_a_damaged_memory_is_no_harm(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    first = paths.content_hashes([file])
    for memory in (paths.cache() / "sha256").iterdir():
        memory.write_text('{"cut')
    assert paths.content_hashes([file]) == first


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ('def f(x):\n    "Another docstring."\n    return x + 1\n', True),
        ("def f(x):  # a comment\n    return (x + 1)\n", True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(y):\n    return y + 1\n", False),
    ],
)
def test_the_meaning_of_code_is_not_its_layout(changed, same):
    assert (
        paths.meaning('def f(x):\n    "A docstring."\n    return x + 1\n') == paths.meaning(changed)
    ) is same


HOLD = """import sys, time
from pathlib import Path
from m5utils import paths
with paths.lock(Path(sys.argv[1]), "testing"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))"""


def test_a_lock_is_waited_for_and_goes_with_its_process(tmp_path):
    file = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, file, "60"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLD, file, "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr.readline() == "another run is testing: waiting for it\n"
        time.sleep(0.2)
        assert waiting.poll() is None
        holder.kill()
        assert waiting.communicate(timeout=30)[0] == "held\n"


def test_without_a_place_for_the_lock_one_goes_on(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    with paths.lock(tmp_path / "file" / "lock", "testing"):
        done = True
    assert done
    assert "going on without" in capsys.readouterr().err


def test_settings_come_from_the_environment_before_the_env_file(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / ".env").write_text('M5_CACHE="/from/file"\n# M5_COCO=/no\n')
    monkeypatch.delenv("M5_CACHE")
    assert paths.cache() == Path("/from/file")
    assert paths.setting("M5_COCO") is None
    (tmp_path / ".env").unlink()
    assert paths.cache() == (paths.DATA / "cache").resolve()
    monkeypatch.setenv("M5_CACHE", "/from/environment")
    assert paths.cache() == Path("/from/environment")
