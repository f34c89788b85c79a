"""COCO for retrieving images: what the files say, as a table, and what they must not say."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from m5utils.datasets import coco_retrieval

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def content(first: int, n: int) -> dict:
    """n images; image i has i % 3 dogs and, every second, a person."""
    images = [
        {"id": first + i, "file_name": f"{first + i:06d}.jpg", "width": 640, "height": 400 + i}
        for i in range(n)
    ]
    objects = [{"image_id": first + i, "category_id": 18} for i in range(n) for _ in range(i % 3)]
    objects += [{"image_id": first + i, "category_id": 1} for i in range(0, n, 2)]
    annotations = [{"id": k, "bbox": [k, 2, 3, 4], "iscrowd": 0} | one for k, one in enumerate(objects)]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def write(root: Path, name: str, what: object) -> Path:
    file = root / "annotations" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(what if isinstance(what, str) else json.dumps(what), encoding="utf-8")
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """COCO 2014 with 12 images to learn from and 6 to ask with."""
    for split, first, n in (("train2014", 100, 12), ("val2014", 500, 6)):
        (tmp_path / split).mkdir()
        write(tmp_path, f"instances_{split}.json", content(first, n))
    return tmp_path


PROTOCOL = {
    "train": {"18": [101, 102, 104], "1": [100, 102]},
    "database": {"18": ["102"], "1": ["100"]},
    "val": {"18": [501, 502]},
    "test": {18: [502], "1": [504]},
}


def test_instances_are_counted(root):
    found = coco_retrieval.instances(root / "annotations" / "instances_train2014.json", root / "train2014")
    assert found.categories == ("person", "dog", "toothbrush")
    assert found.sizes[:2].tolist() == [[640, 400], [640, 401]]
    assert found.category_ids.tolist() == [1, 18, 90]
    assert found.ids.tolist() == list(range(100, 112))
    assert found.counts[:4].tolist() == [[1, 0, 0], [0, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert found.boxes[1].tolist() == [[1, 0, 2, 3, 4]]
    assert found.boxes[3].shape == (0, 5)
    assert found.paths()[0] == root / "train2014" / "000100.jpg"
    assert not found.listed.any()


def test_the_courses_file_divides_them(root):
    (root / coco_retrieval.PROTOCOL).write_text(json.dumps(PROTOCOL))
    splits = coco_retrieval.load(root)
    assert {name: part.ids.tolist() for name, part in splits.items()} == {
        "train": [100, 101, 102, 104],
        "database": [100, 102],
        "val": [501, 502],
        "test": [502, 504],
    }
    database, test = splits["database"], splits["test"]
    assert database.listed.tolist() == [[1, 0, 0], [0, 1, 0]]  # 102 has a person, but the file is silent
    assert database.counts.tolist() == [[1, 0, 0], [1, 2, 0]]
    assert test.files == ("val2014/000502.jpg", "val2014/000504.jpg")
    assert database.paths()[0] == root / "train2014" / "000100.jpg"
    assert database.setting == "mcv_image_retrieval_annotations.json, database"
    (root / coco_retrieval.PROTOCOL).rename(root / "annotations" / coco_retrieval.PROTOCOL)
    assert coco_retrieval.load(root)["val"].ids.tolist() == [501, 502]


def test_without_it_splits_are_derived_from_the_seed(root):
    splits = coco_retrieval.load(root)
    assert set(splits["train"].ids) == {
        100,
        101,
        102,
        104,
        105,
        106,
        107,
        108,
        110,
        111,
    }  # those with an object
    assert set(splits["database"].ids) <= set(splits["train"].ids)
    asked = [set(splits[name].ids) for name in ("val", "test")]
    assert not asked[0] & asked[1]
    assert asked[0] | asked[1] == {500, 501, 502, 504, 505}
    for part in splits.values():
        np.testing.assert_array_equal(part.listed, part.counts > 0)
    again = coco_retrieval.load(root)
    assert all((again[name].ids == part.ids).all() for name, part in splits.items())


def test_one_file_alone_is_divided_too(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path, "instances_mini.json", content(100, 30))
    splits = coco_retrieval.load(tmp_path)
    assert [len(part) for part in splits.values()] == [15, 15, 4, 6]  # 25 images have an object
    assert not set(splits["train"].ids) & (set(splits["val"].ids) | set(splits["test"].ids))
    assert splits["test"].paths()[0].parent == tmp_path / "images"


def test_shares_and_seed_decide(root):
    whole = coco_retrieval.instances(root / "annotations" / "instances_train2014.json", root / "train2014")
    ids = lambda **how: {  # noqa: E731
        name: set().union(*by_category.values())
        for name, by_category in coco_retrieval.derived(whole, **how).items()
    }
    assert [len(of_split) for of_split in ids(train=0.5, database=0.5).values()] == [5, 2, 2, 3]
    assert len(ids(val=1.0, test=1.0)["val"] & ids(val=1.0, test=1.0)["test"]) == 4
    assert ids(seed=0) != ids(seed=1)
    for name, share in (("train", 0.0), ("val", 1.5)):
        with pytest.raises(ValueError, match=f"above 0 and at most 1 for {name}; got {share}"):
            ids(**{name: share})
    with pytest.raises(ValueError, match="10 images with objects leave none for database"):
        ids(database=0.01)


def test_a_part_keeps_all_that_is_known(root):
    splits = coco_retrieval.load(root)
    part = splits["train"].take([2, 0])
    assert part.ids.tolist() == splits["train"].ids[[2, 0]].tolist()
    assert part.boxes[1] is splits["train"].boxes[0]
    assert part.annotations() != splits["train"].annotations()
    other = copy.deepcopy(part)
    other.boxes[0][0, 1] += 1
    assert other.annotations() != part.annotations()


def test_crowds_count_once_and_boxes_without_area_are_left_out(root):
    what = content(100, 4)
    what["annotations"] = [
        {"image_id": 100, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 100, "category_id": 1, "bbox": [0, 0, 9, 0], "iscrowd": 0},
        {"image_id": 777, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 0},
    ]
    file = write(root, "instances_train2014.json", what)
    found = coco_retrieval.instances(file, root / "train2014")
    assert found.counts.sum() == found.counts[0, 0] == 1
    assert found.dropped == (
        "an object of image 100 with the box [0, 0, 9, 0], which has no area",
        "an object of image 777, which the file does not list",
    )


def test_a_few_contradictions_are_the_files_own(root):
    protocol = copy.deepcopy(PROTOCOL)
    protocol["train"]["90"] = [100]  # instances know of no toothbrush
    (root / coco_retrieval.PROTOCOL).write_text(json.dumps(protocol))
    assert coco_retrieval.load(root)["train"].listed[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.pop("database"), "has no split 'database': expected train, database, val, test"),
        (lambda p: p.update(val=[]), r"val: expected category ids with lists of image ids, got \[\]"),
        (lambda p: p.update(val={"18": []}), "val lists no image"),
        (
            lambda p: p["train"].update({"0": [100]}),
            "no category 0; COCO's here are 1 to 90. Are labels 0 to 79",
        ),
        (lambda p: p["train"].update({"dog": [100]}), "a category is 'dog': expected a number"),
        (lambda p: p["train"].update({"18": ["x1"]}), "an image of category 18 is 'x1': expected a number"),
        (
            lambda p: p["train"].update({"18": [101, 9, 8]}),
            "train: 2 of its images are in no instances_.* here, such as 8, 9",
        ),
        (
            lambda p: p.update(test={"90": [500, 501, 502], "1": [500]}),
            "test: 75 % of what it lists contradicts the instance labels",
        ),
    ],
)
def test_a_wrong_protocol_is_refused(root, change, words):
    protocol = copy.deepcopy(PROTOCOL)
    change(protocol)
    (root / coco_retrieval.PROTOCOL).write_text(json.dumps(protocol))
    with pytest.raises(ValueError, match=words):
        coco_retrieval.load(root)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), 'expected a list "categories"'),
        (lambda c: c["annotations"][0].pop("bbox"), '"annotations", number 0 has no "bbox"'),
        (lambda c: c["images"].append(c["images"][0]), "two images have the id 100"),
        (lambda c: c.update(categories=[*CATEGORIES, CATEGORIES[0]]), "two categories have the id 90"),
        (lambda c: c["annotations"][0].update(category_id=0), "category 0; .* 1 to 90. Are labels 0 to 79"),
        (lambda c: c["images"][0].update(file_name="../x.jpg"), "not inside .*: refused"),
        (lambda c: c["images"][0].update(id=500), "share an image id"),
        (lambda c: c.update(categories=CATEGORIES[1:], annotations=[]), "have other categories"),
    ],
)
def test_wrong_instances_are_refused(root, change, words):
    what = content(100, 12)
    change(what)
    write(root, "instances_train2014.json", what)
    with pytest.raises(ValueError, match=words):
        coco_retrieval.load(root)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no instances_\*.json: see data/README.md"):
        coco_retrieval.load(tmp_path)
    write(tmp_path, "instances_mini.json", content(1, 5))
    with pytest.raises(FileNotFoundError, match="has none of mini, images/mini, images"):
        coco_retrieval.load(tmp_path)
    (tmp_path / "images").mkdir()
    write(tmp_path, "instances_mini.json", "{")
    with pytest.raises(ValueError, match=r"instances_mini.json is no JSON .* cut off"):
        coco_retrieval.load(tmp_path)
