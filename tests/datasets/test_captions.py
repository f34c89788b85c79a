import json

import numpy as np
import pytest

from m5utils import paths, runtime
from m5utils.datasets import captions


def write_coco(folder, images, annotations):
    file = folder / "captions_tiny.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return file


IMAGES = [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}, {"id": 9, "file_name": "c.jpg"}]
TEXTS = [
    {"image_id": 3, "caption": "A cat."},
    {"image_id": 7, "caption": " Two dogs\nrun. "},
    {"image_id": 3, "caption": "The cat again."},
    {"image_id": 9, "caption": "A tree."},
]


def test_coco(tmp_path):
    found = captions.coco(write_coco(tmp_path, IMAGES, TEXTS), tmp_path)
    assert found.files == ("b.jpg", "a.jpg", "c.jpg")
    assert found.captions == ("Two dogs run.", "A cat.", "The cat again.", "A tree.")
    assert found.image_of.tolist() == [0, 1, 1, 2]
    assert found.setting == "captions_tiny"
    assert found.dropped == ()
    assert found.paths()[1] == tmp_path / "a.jpg"


def test_what_is_left_out_is_said(tmp_path):
    texts = [*TEXTS, {"image_id": 8, "caption": "Nobody."}, {"image_id": 7, "caption": "  "}]
    texts += [{"image_id": 9, "caption": None}]
    images = [*IMAGES, {"id": 1, "file_name": "silent.jpg"}]
    found = captions.coco(write_coco(tmp_path, images, texts), tmp_path)
    assert len(found.captions) == 4
    assert len(found.dropped) == 4
    assert set(found.dropped) == {
        "no text but None for c.jpg",
        "a caption of image 8, which the file does not list",
        "an empty caption of b.jpg",
        "silent.jpg, which has no caption",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON .* cut off"),
        ("[]", 'expected a list "images"'),
        ('{"images": {}, "annotations": []}', 'expected a list "images"'),
        ('{"images": [{"id": 1}], "annotations": []}', '"images", number 0 has no "file_name"'),
        ('{"images": [], "annotations": [{"caption": "x"}]}', '"annotations", number 0 has no "image_id"'),
        ('{"images": [], "annotations": []}', "no image has a caption"),
        (
            '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}',
            "the id 1",
        ),
    ],
)
def test_files_of_another_kind(tmp_path, content, message):
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        captions.coco(file, tmp_path)


def test_missing_and_not_utf8(tmp_path):
    with pytest.raises(FileNotFoundError, match="x.json is missing"):
        captions.coco(tmp_path / "x.json", tmp_path)
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="no UTF-8"):
        captions.coco(tmp_path / "x.json", tmp_path)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "..\\b.jpg", "", None, 3])
def test_a_picture_outside_its_folder_is_refused(tmp_path, name):
    file = write_coco(tmp_path, [{"id": 1, "file_name": name}], [])
    with pytest.raises(ValueError, match="not inside"):
        captions.coco(file, tmp_path)


def test_a_picture_in_a_folder_within_is_fine(tmp_path):
    file = write_coco(tmp_path, [{"id": 1, "file_name": "val/a.jpg"}], [{"image_id": 1, "caption": "x"}])
    assert captions.coco(file, tmp_path).files == ("val/a.jpg",)


def test_karpathy(tmp_path):
    images = [
        {
            "filename": f"{n}.jpg",
            "filepath": "val2014",
            "split": split,
            "sentences": [{"raw": f"Number {n}."}],
        }
        for n, split in enumerate(["train", "restval", "val", "test", "test"])
    ]
    file = tmp_path / "dataset_coco.json"
    file.write_text(json.dumps({"images": images}))
    found = captions.karpathy(file, tmp_path)
    assert {split: part.files for split, part in found.items()} == {
        "train": ("val2014/0.jpg", "val2014/1.jpg"),
        "val": ("val2014/2.jpg",),
        "test": ("val2014/3.jpg", "val2014/4.jpg"),
    }
    assert found["test"].captions == ("Number 3.", "Number 4.")
    assert found["test"].setting == "dataset_coco test"


KAGGLE = (
    'image,caption\na.jpg,A dog .\na.jpg,"One, two, three"\n'
    'b.jpg,"He says ""hi"" , loudly"\nc.jpg,Cats, dogs\n'
)
TOKENS = 'a.jpg#0\tA dog .\na.jpg#1\tOne, two, three\nb.jpg#0\tHe says "hi" , loudly\nc.jpg#0\tCats, dogs\n'


@pytest.mark.parametrize(("name", "text"), [("captions.txt", KAGGLE), ("Flickr8k.token.txt", TOKENS)])
def test_flickr8k_in_both_layouts(tmp_path, name, text):
    (tmp_path / "Images").mkdir()
    (tmp_path / name).write_text("\ufeff" + text + "\n", encoding="utf-8")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("c.jpg\na.jpg\n")
    (tmp_path / "Flickr_8k.devImages.txt").write_text("b.jpg\n")
    found = captions.flickr8k(tmp_path)
    assert set(found) == {"train", "dev"}
    assert found["train"].files == ("c.jpg", "a.jpg")
    assert found["train"].captions == ("Cats, dogs", "A dog .", "One, two, three")
    assert found["dev"].captions == ('He says "hi" , loudly',)
    assert found["dev"].setting == "Flickr8k dev"


def test_flickr8k_names_broken_lines_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="none of Images, Flicker8k_Dataset"):
        captions.flickr8k(tmp_path)
    (tmp_path / "Images").mkdir()
    (tmp_path / "captions.txt").write_text(
        "image,caption\na.jpg,Fine.\nno comma here\n,nothing named\nb.jpg,\n"
    )
    with pytest.raises(FileNotFoundError, match="no list Flickr_8k.trainImages.txt"):
        captions.flickr8k(tmp_path)
    (tmp_path / "Flickr_8k.testImages.txt").write_text("a.jpg\nb.jpg\nz.jpg\n")
    found = captions.flickr8k(tmp_path)["test"]
    assert found.files == ("a.jpg",)
    assert found.dropped == (
        "captions.txt, line 3: no image and caption in 'no comma here'",
        "captions.txt, line 4: no image and caption in ',nothing named'",
        "an empty caption of b.jpg",
        "b.jpg, which has no caption",
        "z.jpg, which has no caption",
    )


def test_flickr30k(tmp_path):
    (tmp_path / "flickr30k_images").mkdir()
    images = [{"filename": "1.jpg", "split": "test", "sentences": [{"raw": "One."}, {"raw": "Uno."}]}]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    found = captions.flickr30k(tmp_path)
    assert found["test"].captions == ("One.", "Uno.")
    assert found["test"].paths() == [tmp_path / "flickr30k_images" / "1.jpg"]


# ---- parts of a table ----


def table(tmp_path, counts=(2, 1, 3, 5)):
    files = tuple(f"{n}.jpg" for n in range(len(counts)))
    for n, file in enumerate(files):
        (tmp_path / file).write_bytes(b"same" if n in (1, 3) else file.encode())
    texts = tuple(f"{file} {n}" for file, count in zip(files, counts, strict=True) for n in range(count))
    image_of = np.repeat(np.arange(len(counts)), counts)
    return captions.CaptionedImages(tmp_path, files, texts, image_of, "tiny")


def test_take_brings_the_captions_along(tmp_path):
    taken = table(tmp_path).take([2, 0])
    assert taken.files == ("2.jpg", "0.jpg")
    assert taken.captions == ("2.jpg 0", "2.jpg 1", "2.jpg 2", "0.jpg 0", "0.jpg 1")
    assert taken.image_of.tolist() == [0, 0, 0, 1, 1]
    assert taken.take([]).image_of.tolist() == []


def test_subsets_say_what_they_are(tmp_path):
    whole = table(tmp_path)
    assert whole.first(2).files == ("0.jpg", "1.jpg")
    assert whole.first(2).setting == "tiny, the first 2 images"
    drawn = whole.random(3, seed=5)
    assert drawn.files == whole.random(3, seed=5).files
    assert list(drawn.files) == sorted(drawn.files)
    assert len({whole.random(2, seed=seed).files for seed in range(20)}) > 1
    assert drawn.setting == "tiny, 3 random images (seed 5)"
    folds = whole.folds(2)
    assert [fold.files for fold in folds] == [("0.jpg", "1.jpg"), ("2.jpg", "3.jpg")]
    assert folds[1].setting == "tiny, fold 2 of 2 of 2 images"
    assert len(whole.folds(3)) == 1  # what is left over is in no fold
    for too_many in (whole.first, whole.random, whole.folds):
        with pytest.raises(ValueError, match="1 <= n <= 4, the images of tiny; got n=5"):
            too_many(5)


def test_validation_keeps_copies_on_one_side(tmp_path, monkeypatch):
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    whole = table(tmp_path / "pictures", counts=(1,) * 20)  # pictures 1 and 3 are the same
    for seed in range(8):
        fit, validation = captions.validation_split(whole, n=4, seed=seed)
        assert len(validation) == 4
        assert not set(fit) & set(validation)
        assert set(fit) | set(validation) | {1, 3} == set(range(20))
        assert not ({1, 3} & set(fit) and {1, 3} & set(validation))
    assert len(captions.validation_split(whole, n=1000)[1]) == 4  # a fifth
    with pytest.raises(ValueError, match="too few"):
        captions.validation_split(whole.first(4))


# ---- which dataset, which split ----


def coco_of(folder, names, n=2):
    (folder / "annotations").mkdir(parents=True)
    for name in names:
        (folder / name).mkdir()
        images = [{"id": k, "file_name": f"{name}_{k}.jpg"} for k in range(n)]
        texts = [{"image_id": k, "caption": f"Number {k}."} for k in range(n)]
        content = json.dumps({"images": images, "annotations": texts})
        (folder / "annotations" / f"captions_{name}.json").write_text(content)


def test_a_coco_folder_as_it_is_downloaded(tmp_path):
    coco_of(tmp_path, ["train2014", "val2014"])
    found = captions.coco_folder(tmp_path)
    assert set(found) == {"train", "val"}
    assert found["val"].paths()[0] == tmp_path / "val2014" / "val2014_0.jpg"
    assert found["val"].setting == "captions_val2014"


def test_a_single_caption_file_is_divided(tmp_path):
    coco_of(tmp_path, ["mini"], n=12)
    found = captions.coco_folder(tmp_path)
    assert len(found["train"]) + len(found["test"]) == 12
    assert not set(found["train"].files) & set(found["test"].files)
    assert found["test"].setting == "captions_mini, test part (seed 0)"
    assert captions.coco_folder(tmp_path)["test"].files == found["test"].files


def test_a_coco_folder_without_train_or_captions(tmp_path):
    coco_of(tmp_path, ["val2014", "test2014"])
    with pytest.raises(ValueError, match="no captions_train"):
        captions.coco_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no captions_\*.json"):
        captions.coco_folder(tmp_path / "val2014")


def test_karpathys_split_goes_first(tmp_path):
    coco_of(tmp_path, ["train2014", "val2014"])
    images = [{"filename": "v.jpg", "filepath": "val2014", "split": "test", "sentences": [{"raw": "x"}]}]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    assert captions.coco_folder(tmp_path)["test"].paths() == [tmp_path / "val2014" / "v.jpg"]


def test_the_first_setting_that_is_set_is_used(tmp_path, monkeypatch):
    lab = runtime.profile("lab")
    for name in lab.captions:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="M5_FLICKR8K is not set: it names the folder of Flickr8k"):
        captions.for_profile(lab)
    coco_of(tmp_path / "coco", ["mini"], n=10)
    monkeypatch.setenv("M5_COCO", str(tmp_path / "coco"))
    assert captions.for_profile(lab)["train"].setting.startswith("captions_mini")


def test_the_split_to_report_on():
    parts = {"train": 1, "val": 2, "test": 3}
    assert captions.evaluated(parts) == 3
    assert captions.evaluated(parts, "val") == 2
    assert captions.evaluated({"train": 1, "val": 2}) == 2
    assert captions.evaluated({"train": 1, "dev": 2}) == 2
    for split in ("train", "holdout"):
        with pytest.raises(ValueError, match=f"out of val, test; got '{split}'"):
            captions.evaluated(parts, split)
    with pytest.raises(ValueError, match="out of dev, extra; got 'none'"):
        captions.evaluated({"train": 1, "dev": 2, "extra": 3})
