"""A detector on a frozen encoder: what is cached is what it sees, and nothing of the encoder is trained."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import MultiScaleRoIAlign

from m5utils import paths
from m5utils.encoders import boxes, detectors, frozen_detector, image

pytestmark = pytest.mark.slow  # whole detectors are built

SIZE = 64


@pytest.fixture(scope="module")
def encoder():
    return image.image_encoder("efficientnet_lite0", SIZE)


def picture(width: int = 50, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_maps_are_those_that_the_detector_itself_would_see(encoder):
    source, net = frozen_detector.DetectorMaps(encoder), frozen_detector.untrained(encoder, 3)
    pixels = torch.stack([source.preprocess(picture(width)) for width in (50, 64, 90)])
    assert source(pixels).dtype == torch.float16
    assert source(pixels).shape == (3, source.dim)
    found = net.backbone.joined(*source.unflattened(source(pixels)))["0"]
    expected = net.backbone(image.scaled(pixels, encoder.mean, encoder.deviation))["0"]
    assert found.shape == (3, frozen_detector.WIDTH, *source.shapes[0][1:])
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)  # the maps were rounded to float16


def test_settings_know_the_encoder(encoder):
    plain = frozen_detector.DetectorMaps(encoder).settings()
    assert plain["part"] != encoder.settings().get("part")
    larger = frozen_detector.DetectorMaps(image.image_encoder("efficientnet_lite0", 96)).settings()
    assert {name for name in plain if plain[name] != larger[name]} == {"size"}


def test_statistics_and_size_are_the_encoders(encoder):
    transform = frozen_detector.untrained(encoder, 3).transform
    np.testing.assert_allclose(transform.image_mean, [127 / 255] * 3)
    np.testing.assert_allclose(transform.image_std, [128 / 255] * 3)
    assert (transform.min_size, transform.max_size) == ((SIZE,), SIZE)


@pytest.fixture
def sure(encoder):
    """An untrained detector that is sure of something."""
    torch.manual_seed(0)
    net = frozen_detector.untrained(encoder, 3)
    torch.nn.init.normal_(net.roi_heads.box_predictor.cls_score.weight, std=1.0)
    return net.eval()


def test_it_is_a_detector_for_box_features(sure):
    described = boxes.BoxEncoder("frozen", SIZE, sure)
    pixels = torch.stack([described.preprocess(picture(width)) for width in (50, 64)])
    assert described.dim == 3 * frozen_detector.HIDDEN + 3
    assert described(pixels).shape == (2, described.dim)


def test_boxes_of_cached_maps_are_those_of_the_picture(sure, monkeypatch):
    monkeypatch.setattr(frozen_detector.DetectorMaps, "dtype", torch.float32)  # or near ties may turn over
    of_maps = frozen_detector.BoxesOfMaps(sure)
    of_pixels = boxes.BoxEncoder("frozen", SIZE, sure)
    pixels = torch.stack([of_pixels.preprocess(picture(width)) for width in (50, 64, 90)])
    expected, found = of_pixels(pixels), of_maps(of_maps.source(pixels))
    assert expected.any(dim=1).all()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_the_code_of_everything_a_box_goes_through_names_its_descriptors(sure):
    passed = paths.code_key(image, detectors, boxes, frozen_detector)
    assert frozen_detector.BoxesOfMaps(sure).settings()["code"] == passed


def test_boxes_follow_the_picture_into_the_square():
    square = boxes.whole_picture(Image.new("RGB", (200, 100), "red"), 50, torch.zeros(3))
    assert square[0, :25].eq(255).all()
    assert square[0, 26:].eq(0).all()
    found = boxes.in_whole_picture(np.array([[2.0, 100, 20, 40, 80]]), np.array([200, 100]), 50)
    assert found.tolist() == [[2, 25, 5, 10, 20]]


@pytest.mark.parametrize("samples", [1, 2])
def test_roi_align_as_products_is_torchvisions(samples: int):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 10, 14)
    corner, side = torch.rand(2, 6, 2) * torch.tensor([100.0, 80]), torch.rand(2, 6, 2) * 120
    found = [torch.cat([one, one + sides], dim=1) for one, sides in zip(corner, side, strict=True)]
    found[0][0] = torch.tensor([223.0, 159, 224, 160])  # less than a cell, at the border
    found[1][0] = torch.tensor([0.0, 0, 224, 160])
    found[1] = found[1][:4]
    theirs, ours = (
        pool(["0"], output_size=7, sampling_ratio=samples)({"0": maps}, found, [(160, 224)] * 2)
        for pool in (MultiScaleRoIAlign, frozen_detector.RoIAlignAsProducts)
    )
    assert ours.shape == (10, 3, 7, 7)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
