"""Profile `course`, on a tiny tree in the course's layout with weights marked TEST."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
import torchvision

from m5utils import paths
from m5utils.datasets import captions, demo, demo_coco, entities
from m5utils.encoders import detectors, text


@pytest.fixture
def server(tmp_path: Path) -> dict[str, str]:
    """What the course's server has: photographs, captions, torchvision's weights, FastText's file, BERT."""
    demo.make_mit_split(tmp_path / "MIT_split", train_per_class=13, test_per_class=3)
    demo_coco.make_coco(tmp_path / "COCO", train=60, val=40)
    for split, drawn in {"train": "train", "test": "val"}.items():
        _entities(tmp_path / "flickr30k", split, entities.drawn(tmp_path / "COCO", drawn).first(20))
    torch.manual_seed(0)
    for network in ("resnet50", "resnet101", "vgg19"):
        untrained = torchvision.models.get_model(network, weights=None)
        _weights(tmp_path, network, "IMAGENET1K_V1", untrained)
    for detector in ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"):
        _weights(tmp_path, detector, "COCO_V1", detectors.untrained(detector))
    said = captions.coco_folder(tmp_path / "COCO")["train"].captions
    text.fasttext_trained(said, tmp_path / "fasttext_wiki.en.bin", dim=20, epochs=1)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *text.split(said).vocabulary]
    model = tmp_path / "huggingface" / "hub" / "models--bert-base-uncased"
    tiny.write_bert(model / "snapshots" / "TEST", pieces)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("TEST")
    return {
        "M5_MIT_SPLIT": str(tmp_path / "MIT_split"),
        "M5_COCO": str(tmp_path / "COCO"),
        "M5_FLICKR30K": str(tmp_path / "flickr30k"),
        "M5_FASTTEXT": str(tmp_path / "fasttext_wiki.en.bin"),
        "HF_HOME": str(tmp_path / "huggingface"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "M5_CACHE": str(tmp_path / "cache"),
    }


def _entities(root: Path, split: str, drawn: entities.PhrasedImages) -> None:
    """Drawn pictures, their phrases and boxes in the layout of Flickr30k Entities."""
    for folder in ("flickr30k-images", "Annotations", "Sentences"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    numbers = [str(int(path.stem.rpartition("_")[2])) for path in drawn.paths()]
    (root / f"{split}.txt").write_text("\n".join(numbers), encoding="utf-8")
    for row, (number, path) in enumerate(zip(numbers, drawn.paths(), strict=True)):
        shutil.copy(path, root / "flickr30k-images" / f"{number}.jpg")
        width, height = drawn.sizes[row]
        said, objects = [], []
        for place in (drawn.image_of == row).nonzero()[0]:
            said.append(f"[/EN#{place + 1}/other {drawn.phrases[place]}] .")
            left, top, across, down = drawn.boxes[place]
            box = {"xmin": left, "ymin": top, "xmax": left + across, "ymax": top + down}
            corners = "".join(f"<{side}>{value}</{side}>" for side, value in box.items())
            objects.append(f"<object><name>{place + 1}</name><bndbox>{corners}</bndbox></object>")
        (root / "Sentences" / f"{number}.txt").write_text("\n".join(said), encoding="utf-8")
        (root / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size>"
            f"{''.join(objects)}</annotation>",
            encoding="utf-8",
        )


def _weights(root: Path, name: str, training: str, network: torch.nn.Module) -> None:
    """Random weights under the name that torchvision downloads its own to, with a note beside them."""
    file = torchvision.models.get_model_weights(name)[training].url.rpartition("/")[2]
    weights = root / "torch" / "hub" / "checkpoints" / file
    weights.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), weights)
    weights.with_suffix(".TEST").write_text("random weights: the numbers of this run mean nothing\n")


@pytest.mark.slow
def test_every_notebook_and_the_encoding_run_on_the_course_profile(tmp_path: Path, server: dict[str, str]):
    project = tiny.copy_project(tmp_path / "project")
    for notebook in paths.NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, project / "notebooks")
    runtime = project / "m5utils" / "runtime.py"
    ten_epochs = runtime.read_text()
    assert "finetune_epochs=10" in ten_epochs
    runtime.write_text(ten_epochs.replace("finetune_epochs=10", "finetune_epochs=2"))
    descriptors = project / "m5utils" / "object_descriptors.py"
    at_448 = descriptors.read_text()
    assert "BOX_SIZE = 448" in at_448
    descriptors.write_text(at_448.replace("BOX_SIZE = 448", "BOX_SIZE = 224"))
    fc7 = project / "m5utils" / "encoders" / "fc7.py"
    at_224 = fc7.read_text()
    assert "SIZE = 224" in at_224
    fc7.write_text(at_224.replace("SIZE = 224", "SIZE = 64"))  # all that is shortened
    for command in (["encode", "--shard", "1/1"], ["run"]):
        with tiny.m5(project, *command, "--profile", "course", **server) as process:
            text = process.communicate(timeout=3000)[0]
        assert process.returncode == 0, text
        if command[0] == "encode":
            assert "mit_split/train, resnet50 maps at 320 px, view 0, part 1/1: 104 images" in text
            assert "mit_split/train, resnet50 maps at 224 px, view 10, part 1/1: 104 images" in text
            assert "captions/val, fasterrcnn_resnet50_fpn, pool, at 224 px, part 1/1: 40 images" in text
            assert "coco_retrieval/test, maskrcnn_resnet50_fpn, boxes, at 224 px, part 1/1: 24 images" in text
            assert "captions/val, vgg19 fc7 at 64 px, ten crops, part 1/1: 40 images" in text
            assert "captions/phrases/test, resnet50 maps of whole pictures at 224 px" in text
            assert "captions/val, bert-base-uncased, part 1/1: 200 captions" in text
    generated = project / "report" / "generated" / "course"
    made = json.loads((generated / "01.json").read_text())
    assert (made["n_query"], made["n_gallery"]) == (24, 104)
    objects = json.loads((generated / "06.json").read_text())
    assert (objects["n_query"], objects["n_gallery"]) == (24, 60)
    assert 0 < objects["maskrcnn_resnet50_fpn_mean/selection_full/map"] < 1
    structure = json.loads((generated / "10.json").read_text())
    assert 0 < structure["structure_preserving/image_to_text/recall@10"] < 1
    flickr30k = entities.flickr30k(tmp_path / "flickr30k", "test")  # where the phrases come from
    assert structure["n_phrases"] == len(flickr30k.phrases) > 20
    assert 0 < structure["prior/phrases/upper_bound"] <= 1
    meaning = json.loads((generated / "11.json").read_text())
    assert (meaning["n_query"], meaning["n_gallery"], meaning["n_retrieved"]) == (40, 39, 39)
    assert meaning["text_oracle/ndcg_auc"] == pytest.approx(1)
    assert 0 < meaning["cca_tfidf/image_to_text/recall@10"] < 1
    best = json.loads((generated / "12.json").read_text())
    for task in ("mit_split/map", "captions/image_to_text/recall@10"):
        assert 0 < best[f"best/{task}"] < 1  # random weights: any value, but a value


@pytest.mark.slow
def test_without_weights_the_file_and_the_way_out_are_named(tmp_path: Path, server: dict[str, str]):
    shutil.rmtree(tmp_path / "torch")
    del server["M5_COCO"]
    project = tiny.copy_project(tmp_path / "project")
    with tiny.m5(
        project, "encode", "--profile", "course", **server, HTTPS_PROXY="http://127.0.0.1:9"
    ) as process:
        text = process.communicate(timeout=600)[0]
    assert process.returncode == 1
    for said in ("the weights of resnet50 are not at", "resnet50-0676ba61.pth", "efficientnet_lite0"):
        assert said in text
