"""The drawn scenes as facts: what the file says, by hand, and what is refused."""

import json

import pytest

from m5utils.datasets import captions, demo_coco, scene_graphs
from m5utils.datasets.listed import ImageFiles

THINGS = [
    {"id": 1, "category": "dog", "colour": "brown", "pose": "standing", "kind": "", "size": "small"},
    {"id": 2, "category": "person", "colour": "red", "pose": "walking", "kind": "woman", "size": ""},
    {"id": 3, "category": "dog", "colour": "black", "pose": "standing", "kind": "", "size": ""},
]
SCENE = {
    "image_id": 500_007, "setting": "park", "time": "sunny", "things": THINGS,
    "relations": [[1, "next to", 2], [3, "next to", 2]],
}  # fmt: skip


def written(folder, scene: dict):
    (folder / "annotations").mkdir()
    (folder / "annotations" / "scenes_val2014.json").write_text(json.dumps({"images": [scene]}))
    return folder


def test_facts_by_hand(tmp_path):
    ((name, found),) = scene_graphs.facts(written(tmp_path, SCENE), "val2014").items()
    assert name == "COCO_val2014_000000500007.jpg"
    assert found.objects == {"dog": 2, "person": 1}
    assert found.attributes == {
        ("dog", "brown"): 1, ("dog", "black"): 1, ("dog", "standing"): 2, ("dog", "small"): 1,
        ("person", "red"): 1, ("person", "walking"): 1, ("person", "woman"): 1,
    }  # fmt: skip
    assert found.relations == {("dog", "next to", "person"): 2}
    assert found.place == {"park": 1, "sunny": 1}
    assert found.setting == "park"
    assert found.kinds() == (found.objects, found.attributes, found.relations, found.place)


def test_every_drawn_picture_with_captions_has_its_facts(tmp_path):
    demo_coco.make_coco(tmp_path / "coco", train=1, val=3)
    listed = captions.coco_folder(tmp_path / "coco")["val"]
    facts = scene_graphs.facts(tmp_path / "coco", "val2014")
    assert set(facts) == set(listed.files)
    assert all(one.objects.total() > 0 and one.place for one in facts.values())


def test_the_facts_of_a_list_are_in_its_order(tmp_path):
    written(tmp_path, SCENE)
    file = "COCO_val2014_000000500007.jpg"
    listed = ImageFiles(tmp_path / "val2014", (file, file))
    assert [one.setting for one in scene_graphs.of(listed)] == ["park", "park"]
    with pytest.raises(ValueError, match=r"does not know other.jpg \(1 such images\)"):
        scene_graphs.of(ImageFiles(tmp_path / "val2014", (file, "other.jpg")))


def test_photographs_have_no_facts(tmp_path):
    assert scene_graphs.of(ImageFiles(tmp_path / "Images", ("a.jpg",))) == []


def test_other_files_are_refused(tmp_path):
    broken = SCENE | {"relations": [[1, "next to", 9]]}
    with pytest.raises(ValueError, match="image 500007 relates a thing 9 that is not in it"):
        scene_graphs.facts(written(tmp_path, broken), "val2014")
    with pytest.raises(FileNotFoundError, match="scenes_train2014.json is missing"):
        scene_graphs.facts(tmp_path, "train2014")
