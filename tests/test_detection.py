"""Training a detector on cached maps, and judging it: by hand where a hand can."""

import numpy as np
import pytest
import torch

from m5utils import detection
from m5utils.encoders import frozen_detector, image
from m5utils.encoders.frozen_detector import Scenes

pytestmark = pytest.mark.slow  # whole detectors are built

SIZE, SQUARE = 64, 24
COLOURS = torch.tensor([[220, 30, 30], [30, 200, 40], [40, 60, 230]])


@pytest.fixture(scope="module")
def source():
    return frozen_detector.DetectorMaps(image.image_encoder("efficientnet_lite0", SIZE))


@pytest.fixture(scope="module")
def scenes(source):
    return squares(source, 24)


def squares(source: frozen_detector.DetectorMaps, n: int, seed: int = 0) -> Scenes:
    """Grey pictures with a coloured square each; the last has none."""
    random = np.random.default_rng(seed)
    pixels, boxes = torch.full((n, 3, SIZE, SIZE), 127, dtype=torch.uint8), []
    for row in range(n):
        colour, x, y = int(random.integers(3)), *random.integers(0, SIZE - SQUARE, 2).tolist()
        boxes.append(np.array([[colour, x, y, SQUARE, SQUARE]], dtype=np.float64))
        pixels[row, :, y : y + SQUARE, x : x + SQUARE] = COLOURS[colour][:, None, None]
    pixels[-1], boxes[-1] = 127, np.zeros((0, 5))
    with torch.inference_mode():
        maps = source(pixels)
    return Scenes(source, maps, boxes, 3, f"squares {n} {seed}")


def found(*rows: tuple[float, ...]) -> dict[str, torch.Tensor]:
    """Detections of a picture: place of the category, four corners, score."""
    table = torch.tensor(rows).reshape(-1, 6)
    return {"boxes": table[:, 1:5], "labels": table[:, 0].long() + 1, "scores": table[:, 5]}


def test_a_detector_finds_in_other_pictures_what_it_was_shown(scenes, source):
    net, others = detection.fit(scenes, epochs=30), squares(source, 12, seed=1)
    assert judged(net, scenes).mean() > 0.7
    assert judged(net, others).mean() > 0.5
    assert judged(frozen_detector.untrained(source.encoder, 3), others).mean() < 0.1
    assert not any(parameter.requires_grad for parameter in net.parameters())
    encoder = image.image_encoder("efficientnet_lite0", SIZE)
    assert image.content_of(net.backbone.encoder.state_dict()) == image.content_of(encoder.state_dict())


def judged(net: torch.nn.Module, scenes: Scenes) -> np.ndarray:
    return detection.average_precision(list(detection.detections(net, scenes)), scenes.boxes)


def test_a_detector_is_trained_once_and_named_by_all_that_decides_it(scenes, monkeypatch):
    first = detection.fit(scenes, epochs=1)
    trained = []
    train = detection._train
    monkeypatch.setattr(detection, "_train", lambda *given: trained.append(given) or train(*given))
    again = detection.fit(scenes, epochs=1)
    assert image.content_of(again.state_dict()) == image.content_of(first.state_dict())
    assert not trained
    moved = [boxes + [0, 1, 0, 0, 0] for boxes in scenes.boxes]
    others = (
        (scenes, 2, 0),
        (scenes, 1, 1),
        (Scenes(scenes.source, scenes.maps, moved, 3, scenes.key), 1, 0),
        (Scenes(scenes.source, scenes.maps, scenes.boxes, 4, scenes.key), 1, 0),
        (Scenes(scenes.source, scenes.maps, scenes.boxes, 3, "other maps"), 1, 0),
    )
    for number, (given, epochs, seed) in enumerate(others, start=1):
        detection.fit(given, epochs, seed)
        assert len(trained) == number


def test_the_same_seed_gives_the_same_weights(scenes, monkeypatch, tmp_path):
    first = detection.fit(scenes, epochs=2)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    assert image.content_of(detection.fit(scenes, epochs=2).state_dict()) == image.content_of(
        first.state_dict()
    )


def test_nothing_to_learn_from_and_damaged_boxes_are_refused(scenes):
    nothing = [np.zeros((0, 5)) for _ in scenes.boxes]
    with pytest.raises(ValueError, match="not one of these has any"):
        detection.fit(Scenes(scenes.source, scenes.maps, nothing, 3, ""), epochs=1)
    for changed, value in ((1, np.nan), (3, 0), (0, 3)):  # x, width, category
        damaged = [boxes.copy() for boxes in scenes.boxes]
        damaged[5][0, changed] = value
        with pytest.raises(ValueError, match=r"picture 5 has the box .*finite.*sides above 0.*0 to 2"):
            detection.fit(Scenes(scenes.source, scenes.maps, damaged, 3, ""), epochs=1)
    with pytest.raises(ValueError, match=r"epoch 1 of 1: the loss is nan"):
        detection.fit(Scenes(scenes.source, scenes.maps * torch.nan, scenes.boxes, 3, ""), epochs=1)


def test_average_precision_by_hand():
    boxes = [np.array([[0, 10, 10, 20, 20], [0, 50, 50, 10, 10], [2, 0, 0, 8, 8]], dtype=np.float64)]
    right, wrong = (0, 10, 10, 30, 30, 0.8), (0, 30, 30, 40, 40, 0.9)
    # one false alarm, then one of two: precision 1/2 up to recall 1/2, 51 of COCO's 101 places
    precision = detection.average_precision([found(right, wrong, (2, 0, 0, 8, 8, 0.3))], boxes)
    np.testing.assert_allclose(precision, [0.5 * 51 / 101, np.nan, 1])
    loose = (0, 10, 10, 30, 51, 0.8)  # overlap 400 / 820
    assert detection.average_precision([found(loose)], boxes)[0] == 0
    assert detection.average_precision([found((0, 10, 10, 30, 49, 0.8))], boxes)[0] > 0  # 400 / 780
    np.testing.assert_allclose(detection.average_precision([found()], boxes), [0, np.nan, 0])
