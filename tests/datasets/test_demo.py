"""The drawn world: the same bytes from the same seed, whole or not at all, neither too easy nor too hard."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference import plain_lite0

from m5utils import paths
from m5utils.datasets import demo, made, scenes

pytestmark = pytest.mark.slow  # worlds are drawn

CLASSES = {
    "coast",
    "forest",
    "highway",
    "inside_city",
    "mountain",
    "Opencountry",
    "street",
    "tallbuilding",
}


def contents(root):
    """Every picture's bytes, by its name relative to the root."""
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*.jpg")}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "mit_split"
    started = time.process_time()
    demo.make_mit_split(root, seed=0, train_per_class=2, test_per_class=1)
    return root, time.process_time() - started


@pytest.fixture
def plain_pictures(monkeypatch):
    """Pictures of one random colour: the tests of the folder need no drawings. Returns those made so far."""
    made = []

    def plain(class_name, rng):
        made.append(class_name)
        return Image.new("RGB", (8, 8), tuple(rng.randbytes(3)))

    monkeypatch.setattr(scenes, "picture", plain)
    return made


def draw(root, **changes):
    demo.make_mit_split(root, **({"seed": 0, "train_per_class": 2, "test_per_class": 1} | changes))


def test_the_layout_is_mit_splits(small):
    root, _ = small
    counts = {
        split: {f.name: len(list(f.glob("*.jpg"))) for f in (root / split).iterdir()}
        for split in ("train", "test")
    }
    assert counts == {"train": dict.fromkeys(CLASSES, 2), "test": dict.fromkeys(CLASSES, 1)}
    for file in root.rglob("*.jpg"):
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (256, 256))


def test_pictures_show_something(small):
    root, _ = small
    flat = [f.name for f in root.rglob("*.jpg") if np.asarray(Image.open(f).convert("L")).std() < 3]
    assert not flat


def test_one_picture_stands_in_two_classes_of_train_and_no_other_twice(small):
    root, _ = small
    places = {}
    for name, data in contents(root).items():
        places.setdefault(data, []).append(name)
    twice = [sorted(names) for names in places.values() if len(names) > 1]
    assert twice == [["train/Opencountry/Opencountry_001.jpg", "train/coast/coast_001.jpg"]]


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    root, _ = small
    draw(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(root)


def test_another_seed_gives_other_pictures(plain_pictures, tmp_path):
    draw(tmp_path / "0", seed=0)
    draw(tmp_path / "1", seed=1)
    zero, one = contents(tmp_path / "0"), contents(tmp_path / "1")
    assert zero.keys() == one.keys()
    assert plain_pictures
    assert not set(zero.values()) & set(one.values())


def test_more_pictures_leave_the_first_ones_as_they_are(plain_pictures, tmp_path):
    draw(tmp_path / "small")
    draw(tmp_path / "large", train_per_class=3)
    large = contents(tmp_path / "large")
    copied = "train/Opencountry/Opencountry_001.jpg"  # the copy is the last picture, wherever that is
    assert plain_pictures
    assert all(large[name] == data for name, data in contents(tmp_path / "small").items() if name != copied)


def test_drawing_takes_milliseconds(small):
    _, seconds = small
    assert seconds / 24 < 20 / 560  # the default set of 560 in 20 s of one core


def test_made_once(plain_pictures, tmp_path):
    draw(tmp_path / "set")
    draw(tmp_path / "set")
    assert len(plain_pictures) == 24


def cut_a_file(root):
    file = root / "test/forest/forest_000.jpg"
    file.write_bytes(file.read_bytes()[:-1])


DAMAGE = {
    "file cut off": cut_a_file,
    "file lost": lambda root: (root / "train/street/street_001.jpg").unlink(),
    "manifest lost": lambda root: (root / ".done").unlink(),
    "manifest cut off": lambda root: (root / ".done").write_text((root / ".done").read_text()[:40]),
    "manifest of something else": lambda root: (root / ".done").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_not_whole_is_drawn_again(damage, plain_pictures, tmp_path):
    root = tmp_path / "set"
    draw(root)
    before = contents(root)
    damage(root)
    draw(root)
    assert contents(root) == before
    assert len(plain_pictures) == 48


@pytest.mark.parametrize("change", ["seed", "code", "pillow"])
def test_other_settings_or_another_generator_draw_again(change, plain_pictures, tmp_path, monkeypatch):
    draw(tmp_path / "set")
    if change == "code":
        monkeypatch.setattr(made, "code", lambda *_: "edited")
    if change == "pillow":
        monkeypatch.setattr(demo.PIL, "__version__", "0")
    draw(tmp_path / "set", seed=int(change == "seed"))
    assert len(plain_pictures) == 48


def test_the_code_is_that_of_every_file_that_draws(tmp_path, monkeypatch):
    keys = {made.code(*demo.MODULES)}
    for module in (demo, scenes, demo.drawing):
        copy = tmp_path / "copy.py"
        copy.write_bytes(Path(module.__file__).read_bytes() + b"#")
        with monkeypatch.context() as patched:
            patched.setattr(module, "__file__", str(copy))
            keys.add(made.code(*demo.MODULES))
    assert len(keys) == 4


def test_an_interrupted_run_leaves_nothing(monkeypatch, plain_pictures, tmp_path):
    plain = scenes.picture

    def stop(class_name, rng):
        if len(plain_pictures) == 9:
            raise KeyboardInterrupt
        return plain(class_name, rng)

    with monkeypatch.context() as patched:
        patched.setattr(scenes, "picture", stop)
        with pytest.raises(KeyboardInterrupt):
            draw(tmp_path / "set")
    assert [file.name for file in tmp_path.iterdir()] == [".set.lock"]
    plain_pictures.clear()
    draw(tmp_path / "set")
    assert len(contents(tmp_path / "set")) == 24


def test_remains_of_killed_runs_go_when_they_are_old(plain_pictures, tmp_path):
    old, new = tmp_path / ".set.a.part", tmp_path / ".set.b.part"
    for left in (old, new):
        (left / "train").mkdir(parents=True)
    os.utime(old, (time.time() - 3600,) * 2)
    draw(tmp_path / "set")
    assert plain_pictures
    assert not old.exists()
    assert new.exists()  # perhaps another machine is drawing there


def test_files_of_others_are_not_touched(plain_pictures, tmp_path):
    mine = tmp_path / "train" / "coast" / "art1130.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my photograph")
    with pytest.raises(FileExistsError, match="art1130.jpg"):
        draw(tmp_path)
    assert mine.read_bytes() == b"my photograph"
    assert not plain_pictures


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'test': 0"):
        draw(tmp_path / "set", test_per_class=0)


@pytest.mark.parametrize("locks_work", [True, False])
def test_two_at_once_both_end_right(locks_work, plain_pictures, tmp_path, monkeypatch):
    if not locks_work:
        monkeypatch.setattr(paths, "lock", lambda *_: contextlib.nullcontext())
    both, errors = threading.Barrier(2), []
    checked, is_made = threading.local(), made.is_made

    def found(root, how):
        answer = is_made(root, how)
        if not getattr(checked, "once", False):  # both have seen that nothing is there
            checked.once = True
            both.wait(timeout=30)
        return answer

    def run():
        try:
            draw(tmp_path / "set")
        except BaseException as error:
            errors.append(error)

    monkeypatch.setattr(made, "is_made", found)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not errors
    assert len(plain_pictures) == (24 if locks_work else 48)
    monkeypatch.undo()
    assert len(contents(tmp_path / "set")) == 24
    assert not list(tmp_path.glob(".set.*.part"))


@pytest.mark.parametrize("same", [True, False])
def test_a_folder_that_appears_at_the_last_moment_is_kept_if_it_is_the_same(
    same, plain_pictures, tmp_path, monkeypatch
):
    root, rename = tmp_path / "set", Path.rename

    def rename_second(path, target):
        if target == root:
            shutil.copytree(path, root)
            if not same:
                (root / ".done").unlink()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_second)
    with contextlib.nullcontext() if same else pytest.raises(OSError, match="set"):
        draw(root)
    assert len(plain_pictures) == len(contents(root)) == 24


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_half_way_it_is_drawn_again(small, tmp_path):
    root, whole = tmp_path / "set", contents(small[0])
    code = f"from m5utils.datasets import demo; demo.make_mit_split({str(root)!r}, 0, 2, 1)"
    for pictures in (1, 12):
        child = subprocess.Popen([sys.executable, "-c", code])
        while child.poll() is None and len(list(tmp_path.glob(".set.*.part/*/*/*.jpg"))) < pictures:
            time.sleep(0.002)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        assert not root.exists()
        for part in tmp_path.glob(".set.*.part"):
            part.rename(tmp_path / f"seen{pictures}")
    draw(root)
    assert contents(root) == whole


def test_retrieval_is_neither_hopeless_nor_solved(tmp_path):
    """The default set with frozen EfficientNet-Lite0 features, cosine: P@1 within [0.6, 0.95]."""
    demo.make_mit_split(tmp_path / "set")
    files = {split: sorted((tmp_path / "set" / split).glob("*/*.jpg")) for split in ("train", "test")}
    gallery, query = (plain_lite0(files[split]) for split in ("train", "test"))
    gallery_labels, query_labels = ([f.parent.name for f in files[split]] for split in ("train", "test"))
    first = (query @ gallery.T).argmax(1).tolist()
    right = [gallery_labels[row] == label for row, label in zip(first, query_labels, strict=True)]
    assert len(right) == 160
    assert 0.6 <= np.mean(right) <= 0.95
