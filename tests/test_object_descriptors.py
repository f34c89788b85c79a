"""What stands for a picture: shapes, names, where boxes lie in the square, weights that are missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from m5utils import embeddings, object_descriptors, runtime
from m5utils.datasets import coco_retrieval, demo_coco, images
from m5utils.encoders import boxes

PROFILE = runtime.profile("demo")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco") / "coco"
    demo_coco.make_coco(root, train=6, val=5)
    return coco_retrieval.load(root)


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch):
    """Batches are always full ones: of 32, most of it would be made for nothing."""
    monkeypatch.setattr(embeddings, "BATCH", 4)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(object_descriptors, "SIZE", 64)
    monkeypatch.setattr(object_descriptors, "EPOCHS", 1)


@pytest.mark.slow
def test_the_frozen_descriptor_is_the_first_encoders_vector(splits):
    listed = {"test": splits["test"]}
    ((name, found),) = object_descriptors.described(replace(PROFILE, detectors=()), listed)
    assert name == "frozen"
    expected = embeddings.vectors_of("efficientnet_lite0", splits["test"])
    assert torch.equal(found["test"], expected)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_detector_is_trained_on_train_alone_and_gives_four_descriptors(splits, monkeypatch):
    fitted, really = [], object_descriptors.detection.fit
    monkeypatch.setattr(
        object_descriptors.detection,
        "fit",
        lambda scenes, epochs: fitted.append(scenes) or really(scenes, epochs),
    )
    described = dict(object_descriptors.described(PROFILE, splits))
    assert list(described) == ["frozen", *(f"detector_{name}" for name in boxes.DESCRIPTORS)]
    (seen,) = fitted
    assert len(seen.boxes) == len(seen.maps) == len(splits["train"])
    n_categories = len(splits["train"].categories)
    assert described["detector_histogram"]["test"].shape == (len(splits["test"]), n_categories)
    assert described["detector_mean"]["test"].shape == described["detector_max"]["test"].shape


def test_a_box_holds_the_same_pixels_in_the_square_and_in_the_picture(splits, monkeypatch):
    monkeypatch.setattr(object_descriptors, "SIZE", int(splits["train"].sizes.max()) // 2)
    seen = object_descriptors.scenes(PROFILE, splits["train"])
    assert len(seen.maps) == len(splits["train"])
    for row, path in enumerate(splits["train"].paths()):
        picture = images.read_rgb(path)
        square, whole = seen.source.preprocess(picture), torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        for small, large in zip(seen.boxes[row], splits["train"].boxes[row], strict=True):
            assert small[0] == large[0]
            np.testing.assert_allclose(mean_inside(square, small), mean_inside(whole, large), atol=12)


def mean_inside(pixels, box):
    _, x, y, w, h = box
    return pixels[:, round(y) : round(y + h) + 1, round(x) : round(x + w) + 1].float().mean(dim=(1, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_what_is_encoded_beforehand_is_what_is_asked_for_later(splits, monkeypatch):
    for part in splits.values():
        for source in object_descriptors.sources(PROFILE):
            embeddings.encode(source, part)
    encoded, really = [], embeddings._of_images
    monkeypatch.setattr(
        embeddings, "_of_images", lambda encoder, *given: encoded.append(encoder) or really(encoder, *given)
    )
    list(object_descriptors.described(PROFILE, splits))
    assert {type(encoder).__name__ for encoder in encoded} == {"BoxesOfMaps"}


def test_encoders_without_weights_are_left_out_and_named_but_not_the_first(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "nothing"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    more = replace(PROFILE, object_encoders=("efficientnet_lite0", "squeezenet1_1"), detectors=())
    assert object_descriptors.encoder_names(more) == ["efficientnet_lite0"]
    assert "squeezenet1_1 is left out: the weights of squeezenet1_1" in capsys.readouterr().out
    first = replace(PROFILE, object_encoders=("squeezenet1_1",), detectors=())
    with pytest.raises(FileNotFoundError, match="the weights of squeezenet1_1"):
        object_descriptors.sources(first)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_weights_in_a_folder_of_ones_own_come_first(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "nothing"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    monkeypatch.setenv("M5_WEIGHTS", str(tmp_path))
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(net.state_dict(), tmp_path / "squeezenet1_1-mine.pth")
    with pytest.raises(ValueError, match=r"squeezenet1_1-mine\.pth holds weights of another network"):
        embeddings.encoder_named("squeezenet1_1")
    with pytest.raises(FileNotFoundError, match="the weights of resnet18"):  # only others lie there
        embeddings.encoder_named("resnet18")
    monkeypatch.setenv("M5_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(
        FileNotFoundError, match="M5_WEIGHTS=.*is not a folder: expected a folder with weights"
    ):
        embeddings.encoder_named("squeezenet1_1")


@pytest.mark.slow
def test_pictures_that_cannot_be_read_are_named_or_left_out(splits, tmp_path):
    damaged = splits["train"].take([0, 1, 2])
    root = tmp_path / "copy"
    for file in damaged.files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes((damaged.root / file).read_bytes())
    (root / damaged.files[1]).write_bytes(b"")
    damaged = replace(damaged, root=root)
    with pytest.raises(ValueError, match="1 images cannot be read"):
        object_descriptors.readable(PROFILE, damaged)
    kept = object_descriptors.readable(PROFILE, damaged, "skip")
    assert kept.ids.tolist() == [damaged.ids[0], damaged.ids[2]]
