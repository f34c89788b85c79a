"""Profile `course`, on a tiny tree in the course's layout with weights marked TEST."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
import torchvision

from m5utils import paths
from m5utils.datasets import captions, demo, demo_coco
from m5utils.encoders import detectors, text


@pytest.fixture
def server(tmp_path: Path) -> dict[str, str]:
    """What the course's server has: photographs, captions, torchvision's weights, FastText's file, BERT."""
    demo.make_mit_split(tmp_path / "MIT_split", train_per_class=13, test_per_class=3)
    demo_coco.make_coco(tmp_path / "COCO", train=60, val=40)
    torch.manual_seed(0)
    _weights(tmp_path, "resnet50", "IMAGENET1K_V1", torchvision.models.resnet50(weights=None))
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
        "M5_FASTTEXT": str(tmp_path / "fasttext_wiki.en.bin"),
        "HF_HOME": str(tmp_path / "huggingface"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "M5_CACHE": str(tmp_path / "cache"),
    }


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
    descriptors.write_text(at_448.replace("BOX_SIZE = 448", "BOX_SIZE = 224"))  # all that is shortened
    for command in (["encode", "--shard", "1/1"], ["run"]):
        with tiny.m5(project, *command, "--profile", "course", **server) as process:
            text = process.communicate(timeout=3000)[0]
        assert process.returncode == 0, text
        if command[0] == "encode":
            assert "mit_split/train, resnet50 maps at 320 px, view 0, part 1/1: 104 images" in text
            assert "mit_split/train, resnet50 maps at 224 px, view 10, part 1/1: 104 images" in text
            assert "captions/val, fasterrcnn_resnet50_fpn, pool, at 224 px, part 1/1: 40 images" in text
            assert "coco_retrieval/test, maskrcnn_resnet50_fpn, boxes, at 224 px, part 1/1: 24 images" in text
            assert "captions/val, bert-base-uncased, part 1/1: 200 captions" in text
    generated = project / "report" / "generated" / "course"
    made = json.loads((generated / "01.json").read_text())
    assert (made["n_query"], made["n_gallery"]) == (24, 104)
    objects = json.loads((generated / "06.json").read_text())
    assert (objects["n_query"], objects["n_gallery"]) == (24, 60)
    assert 0 < objects["maskrcnn_resnet50_fpn_mean/selection_full/map"] < 1
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
