"""MIT_split's folders: what is listed, what is refused and how, and that no picture sits on both sides."""

import shutil

import numpy as np
import pytest
from PIL import Image

from m5utils import paths, runtime
from m5utils.datasets import mit_split


def draw(path, colour):
    """A small picture of one colour, as a lossless file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 6), ("test", 2)):
        for number, name in enumerate(("Opencountry", "coast", "forest")):
            for i in range(count):
                draw(tmp_path / split / name / f"{i}.png", (number * 40, i * 9, 5 if split == "train" else 9))
    return tmp_path


def test_files_and_labels_are_sorted_without_regard_to_case(root):
    splits = mit_split.load(root)
    train = splits["train"]
    assert train.classes == ("coast", "forest", "Opencountry")
    assert len(train) == 18
    assert train.files[0] == "train/coast/0.png"
    assert train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert [p.is_file() for p in train.paths()] == [True] * 18
    assert splits["test"].label_names().tolist() == ["coast"] * 2 + ["forest"] * 2 + ["Opencountry"] * 2


def test_files_that_are_no_images_by_name_are_passed_over(root):
    (root / "train" / "coast" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "coast" / "._0.png").write_bytes(b"x")
    (root / "train" / ".DS_Store").write_bytes(b"x")
    (root / "train" / "readme.txt").write_bytes(b"x")
    draw(root / "train" / ".thumbnails" / "0.png", (0, 0, 0))
    (root / "train" / "coast" / "5.png").rename(root / "train" / "coast" / "5.PNG")
    assert len(mit_split.load(root)["train"]) == 18


def test_a_class_without_queries_keeps_its_number(root):
    shutil.rmtree(root / "test" / "coast")
    splits = mit_split.load(root)
    assert splits["test"].labels.tolist() == [1, 1, 2, 2]
    table = mit_split.class_balance(splits)
    assert table.index.tolist() == ["coast", "forest", "Opencountry", "all"]
    assert table["test"].tolist() == [0, 2, 2, 4]


def test_a_missing_root_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.train is missing: expected"):
        mit_split.load(tmp_path / "nowhere")


def test_a_missing_split_names_it(root):
    (root / "test").rename(root / "exam")
    with pytest.raises(FileNotFoundError, match=r"test is missing"):
        mit_split.load(root)


def test_an_empty_split_names_it(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"train has no class folder"):
        mit_split.load(tmp_path)


def test_an_empty_class_names_it(root):
    (root / "train" / "street").mkdir()
    with pytest.raises(FileNotFoundError, match=r"street has no images"):
        mit_split.load(root)


def test_one_class_is_too_few(tmp_path):
    draw(tmp_path / "train" / "coast" / "0.png", (0, 0, 0))
    draw(tmp_path / "test" / "coast" / "0.png", (0, 0, 1))
    with pytest.raises(ValueError, match=r"one class, coast: retrieval by class needs at least two"):
        mit_split.load(tmp_path)


def test_a_query_class_absent_from_the_gallery_is_refused(root):
    draw(root / "test" / "street" / "0.png", (1, 1, 1))
    with pytest.raises(ValueError, match=r"test has the class street, .*train has not"):
        mit_split.load(root)


def test_the_setting_is_named_when_it_is_missing_or_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("M5_MIT_SPLIT", raising=False)
    with pytest.raises(FileNotFoundError, match=r"M5_MIT_SPLIT is not set: it names the folder of MIT_split"):
        mit_split.for_profile(runtime.profile("lab"))
    monkeypatch.setenv("M5_MIT_SPLIT", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"M5_MIT_SPLIT=.*nothing is not a folder"):
        mit_split.for_profile(runtime.profile("lab"))
    (tmp_path / ".env").write_text(f"# mine\nM5_MIT_SPLIT = '{tmp_path}'\n")
    monkeypatch.delenv("M5_MIT_SPLIT")
    assert paths.dataset_root("M5_MIT_SPLIT") == tmp_path.resolve()


def test_class_balance_counts_every_image_once(root):
    table = mit_split.class_balance(mit_split.load(root))
    assert table.loc["coast"].tolist() == [6, 2]
    assert table.loc["all"].tolist() == [18, 6]


def test_problems_of_a_clean_set_are_none(root):
    assert mit_split.problems(mit_split.load(root)).empty


def test_problems_finds_each_kind(root):
    def copy(source, target):
        Image.open(root / source).save(root / target, compress_level=1)  # other bytes, same pixels

    copy("train/coast/0.png", "train/forest/twin.png")
    copy("train/coast/1.png", "train/coast/again.png")
    copy("train/coast/2.png", "test/coast/leak.png")
    (root / "test" / "forest" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    table = mit_split.problems(mit_split.load(root)).set_index("problem")
    assert table.index.tolist() == [
        "same picture in train and test",
        "same picture in two classes",
        "same picture twice in a class",
        "unreadable",
    ]
    assert table.loc["same picture in two classes", "files"] == "train/coast/0.png, train/forest/twin.png"
    assert table.loc["unreadable", "files"] == "test/forest/broken.jpg"


def test_a_file_that_is_gone_is_unreadable_and_another_shape_is_another_picture(root):
    Image.new("RGB", (8, 8), "red").save(root / "train" / "coast" / "square.png")
    Image.new("RGB", (4, 16), "red").save(root / "train" / "coast" / "tall.png")  # the same 64 pixels
    splits = mit_split.load(root)
    (root / "test" / "forest" / "0.png").unlink()
    table = mit_split.problems(splits)
    assert table["problem"].tolist() == ["unreadable"]
    assert table["files"].tolist() == ["test/forest/0.png"]


def test_validation_of_as_many_parts_as_images_is_one_of_every_class(root):
    train = mit_split.load(root)["train"]
    assert train.labels[mit_split.validation_split(train, parts=6)[1]].tolist() == [0, 1, 2]


def test_validation_is_stratified_and_keeps_copies_together(root):
    for i in range(4):
        source = root / "train" / "coast" / f"{i}.png"
        (root / "train" / "forest" / f"copy{i}.png").write_bytes(source.read_bytes())
    train = mit_split.load(root)["train"]
    for seed in range(10):
        fit, validation = mit_split.validation_split(train, parts=3, seed=seed)
        assert sorted([*fit, *validation]) == list(range(len(train)))
        assert set(train.labels[validation]) == {0, 1, 2}
        names = {side: {p.read_bytes() for p in train.take(rows).paths()} for side, rows in
                 (("fit", fit), ("validation", validation))}  # fmt: skip
        assert not names["fit"] & names["validation"]


def test_another_seed_is_another_division(root):
    train = mit_split.load(root)["train"]
    assert len({tuple(mit_split.validation_split(train, 3, seed)[1]) for seed in range(5)}) > 1


def test_validation_needs_enough_images_of_every_class(root):
    train = mit_split.load(root)["train"]
    with pytest.raises(ValueError, match=r"class coast has 2 train images; a validation part of one in 5"):
        mit_split.validation_split(train.take(np.r_[0:2, 6:18]))
    with pytest.raises(ValueError, match="class Opencountry has 0 train images"):
        mit_split.validation_split(train.take(np.r_[0:12]))
