"""Phrases and boxes: Flickr30k Entities' layout, line by line, and the drawn world against its masks."""

import json
from dataclasses import replace

import numpy as np
import pytest

from m5utils import freshness, paths, runtime
from m5utils.datasets import demo_coco, entities

SENTENCES = """[/EN#1/people Two young  men] in [/EN#2/clothing helmets] stand on [/EN#9/scene a roof] .
[/EN#1/people/other They] work ; [/EN#0/notvisual it] is late .
Nobody says anything .
"""


def one_object(name: str, *box: float) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


SCENE = "<object><name>9</name><scene>1</scene><nobndbox>1</nobndbox></object>"
GOOD = (one_object("1", 10, 20, 30, 40), one_object("1", 50, 10, 60, 90), one_object("2", 0, 0, 5, 5), SCENE)


def annotation(*objects: str, width: str = "100") -> str:
    return (
        f"<annotation><size><width>{width}</width><height>90</height></size>{''.join(objects)}</annotation>"
    )


@pytest.fixture
def root(tmp_path):
    """Two images, the second without any box."""
    for folder in ("Sentences", "Annotations", "flickr30k-images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "test.txt").write_text("36979\n41\n")
    (tmp_path / "Sentences" / "36979.txt").write_text(SENTENCES, encoding="utf-8")
    (tmp_path / "Sentences" / "41.txt").write_text("[/EN#9/scene A street] .\n", encoding="utf-8")
    (tmp_path / "Annotations" / "36979.xml").write_text(annotation(*GOOD))
    (tmp_path / "Annotations" / "41.xml").write_text(annotation(SCENE))
    return tmp_path


def test_phrases_with_the_box_around_all_they_name(root):
    found = entities.flickr30k(root, "test")
    assert found.files == ("36979.jpg",)
    assert found.paths() == [root / "flickr30k-images" / "36979.jpg"]
    assert found.phrases == ("Two young men", "helmets", "They")
    assert found.image_of.tolist() == [0, 0, 0]
    assert found.boxes.tolist() == [[10, 10, 50, 80], [0, 0, 5, 5], [10, 10, 50, 80]]
    assert found.sizes.tolist() == [[100, 90]]
    assert found.setting == "Flickr30k Entities test"
    assert found.unboxed == 3  # the roof, "it", the street
    assert found.dropped == ("41.jpg, which has no phrase with a box",)


def test_it_may_lie_in_the_authors_folder(root):
    (root / "flickr30k_entities").mkdir()
    for name in ("Sentences", "Annotations", "test.txt"):
        (root / name).rename(root / "flickr30k_entities" / name)
    assert len(entities.flickr30k(root, "test").phrases) == 3


def test_bad_lines_and_boxes_are_left_out_and_named(root):
    lines = f"{SENTENCES}[/EN#1/people A man walks .\n[EN#1/people A man] walks .\n"
    (root / "Sentences" / "36979.txt").write_text(lines, encoding="utf-8")
    boxes = (
        *GOOD[1:],
        one_object("1", 30, 20, 10, 40),
        one_object("7", 1, 1, 101, 9),
        one_object("2", *"abcd"),
    )
    (root / "Annotations" / "36979.xml").write_text(annotation(*boxes))
    found = entities.flickr30k(root, "test")
    assert found.boxes[0].tolist() == [50, 10, 10, 80]
    assert [one.partition(":")[0] for one in found.dropped] == [
        "36979.xml, entity 1",
        "36979.xml, entity 7",
        "36979.xml, entity 2",
        "36979.txt, line 4",
        "36979.txt, line 5",
        "41.jpg, which has no phrase with a box",
    ]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("Annotations/36979.xml", "<annotation>", "36979.xml is no annotation"),
        ("Annotations/36979.xml", annotation(width="wide"), "36979.xml is no annotation"),
        ("test.txt", "../36979", "not inside"),
        ("test.txt", "41", "no phrase has a box"),
    ],
)
def test_files_that_cannot_be_used(root, file, content, message):
    (root / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        entities.flickr30k(root, "test")


@pytest.mark.parametrize("name", ["Sentences/36979.txt", "Annotations/36979.xml", "test.txt"])
def test_missing_files_are_named(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.rpartition("/")[2]):
        entities.flickr30k(root, "test")


def test_take_keeps_each_image_with_its_phrases(root):
    (root / "Annotations" / "41.xml").write_text(annotation(one_object("9", 1, 2, 3, 4)))
    found = entities.flickr30k(root, "test").take([1, 0])
    assert found.files == ("41.jpg", "36979.jpg")
    assert found.phrases == ("A street", "Two young men", "helmets", "They")
    assert found.image_of.tolist() == [0, 1, 1, 1]
    assert found.boxes[0].tolist() == [1, 2, 2, 2]
    assert found.first(1).setting == "Flickr30k Entities test, the first 1 images"
    assert found.first(7) is found
    assert found.annotations()[:4] == list(found.phrases)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "coco"
    demo_coco.make_coco(root, train=2, val=6)
    return root


def test_the_drawn_world_s_boxes_are_around_all_things_of_a_category(world):
    found = entities.drawn(world, "val")
    content = json.loads((world / "annotations" / "instances_val2014.json").read_text())
    for row, image in enumerate(content["images"]):
        assert found.files[row] == image["file_name"]
        assert found.sizes[row].tolist() == [image["width"], image["height"]]
        expected = {}
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                expected.setdefault(one["category_id"], []).append(one["bbox"])
        mine = found.boxes[found.image_of == row]
        assert len(mine) == len(expected)
        for box, of_category in zip(mine, expected.values(), strict=True):
            of_category = np.array(of_category)
            assert box[:2].tolist() == of_category[:, :2].min(axis=0).tolist()
            far = (of_category[:, :2] + of_category[:, 2:]).max(axis=0)
            assert (box[:2] + box[2:]).tolist() == far.tolist()
    assert all(path.is_file() for path in found.paths())
    assert entities.drawn(world, "val").phrases == found.phrases
    assert all(phrase.strip() for phrase in found.phrases)


def test_a_phrase_names_its_category(world):
    from m5utils.datasets import vocabulary

    found = entities.drawn(world, "val")
    scenes = json.loads((world / "annotations" / "scenes_val2014.json").read_text())["images"]
    categories = [
        name for scene in scenes for name in dict.fromkeys(thing["category"] for thing in scene["things"])
    ]
    names = {name: {form for word in words for form in word} for name, words in vocabulary.NAMES.items()}
    for (category, _), words in vocabulary.SPECIAL.items():
        names[category] |= {form for word in words for form in word}
    for category, phrase in zip(categories, found.phrases, strict=True):
        known = names[category] | ({"group of people"} if category == "person" else set())
        assert any(name in phrase for name in known), (category, phrase)


def test_the_profile_s_pictures(world, root, monkeypatch):
    monkeypatch.setattr(demo_coco, "drawn", lambda: world)
    monkeypatch.setattr(entities, "MOST", {"train": 1, "test": 4})
    monkeypatch.delenv("M5_FLICKR30K", raising=False)
    monkeypatch.setattr(paths, "ROOT", root)  # and no .env
    for name in ("demo", "lab"):
        parts = entities.with_boxes(runtime.profile(name))
        assert [len(part) for part in parts.values()] == [1, 4]
    assert parts["test"].setting == "drawn world, val, the first 4 images"
    monkeypatch.setenv("M5_FLICKR30K", str(root))
    (root / "train.txt").write_text("36979")
    assert entities.with_boxes(runtime.profile("lab"))["train"].setting == "Flickr30k Entities train"
    assert entities.with_boxes(runtime.profile("demo"))["train"].setting.startswith("drawn world")
    (root / "Sentences").rename(root / "elsewhere")  # Flickr30k without Entities
    assert entities.with_boxes(runtime.profile("lab"))["train"].setting.startswith("drawn world")


def test_results_depend_on_the_phrases_and_their_boxes(world, monkeypatch):
    monkeypatch.setattr(demo_coco, "drawn", lambda: world)
    names, profile = ["m5utils.datasets.entities"], runtime.profile("demo")
    before = freshness.data(names, profile)
    assert list(before) == ["captions/entities/train", "captions/entities/test"]
    told = entities.with_boxes(profile)
    other = {split: replace(part, boxes=part.boxes + 1) for split, part in told.items()}
    monkeypatch.setattr(entities, "with_boxes", lambda _: other)
    assert all(key != before[name] for name, key in freshness.data(names, profile).items())
