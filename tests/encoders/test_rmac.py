"""R-MAC: regions by hand and against loops, whitening, and what names a vector in the cache."""

import numpy as np
import pytest
import torch
from PIL import Image
from reference import gaussian
from torch.nn import functional

from m5utils.encoders import image, rmac


def test_regions_of_a_square_by_hand():
    found = rmac.regions(7, 7)
    assert [side for *_, side in found] == [7] + 4 * [4] + 9 * [3]  # 14/2, 14/3, 14/4
    assert found[1:5] == [(0, 0, 4), (0, 3, 4), (3, 0, 4), (3, 3, 4)]
    assert {top for top, *_ in found[5:]} == {0, 2, 4}


@pytest.mark.parametrize("size", [(7, 10), (10, 7), (8, 16), (5, 5), (3, 2)])
def test_regions_lie_inside_and_cover_the_map(size):
    seen = np.zeros(size, dtype=int)
    for top, left, side in rmac.regions(*size):
        assert side >= 1
        assert top + side <= size[0]
        assert left + side <= size[1]
        seen[top : top + side, left : left + side] += 1
    assert (seen > 0).all()


def test_largest_squares_share_about_two_fifths():
    starts = sorted({left for _, left, side in rmac.regions(10, 15) if side == 10})
    shared = [(a + 10 - b) / 10 for a, b in zip(starts, starts[1:], strict=False)]
    assert len(starts) == 2
    assert shared == [0.5]  # with two steps it would be 0.75: farther from 0.4
    # a turned map has turned regions
    turned = {(left, top, side) for top, left, side in rmac.regions(15, 10)}
    assert turned == set(rmac.regions(10, 15))


def test_too_small_a_map_is_refused():
    with pytest.raises(ValueError, match="at least 2 places each way; got 1 × 9"):
        rmac.regions(1, 9)


def slow_rmac(maps, mean, projection):
    found = []
    for picture in maps.numpy().astype(np.float64):
        total = 0
        for top, left, side in rmac.regions(*picture.shape[1:]):
            vector = picture[:, top : top + side, left : left + side].max(axis=(1, 2))
            vector = projection @ (vector / np.linalg.norm(vector) - mean)
            total = total + vector / np.linalg.norm(vector)
        found.append(total / np.linalg.norm(total))
    return np.array(found)


def test_rmac_agrees_with_loops():
    maps = gaussian(3 * 6, 5 * 7).view(3, 6, 5, 7).relu()
    white = rmac.whitening(rmac.pooled_regions(maps).flatten(0, 1), 4)
    found = rmac.rmac(maps, white)
    expected = slow_rmac(maps, white.mean.double().numpy(), white.projection.double().numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_whitening_a_constant_map_is_itself():
    maps = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    torch.testing.assert_close(rmac.rmac(maps, torch.nn.Identity()), torch.tensor([[0.6, 0.8]]))


def test_whitening_gives_every_axis_the_variance_one():
    vectors = gaussian(500, 6) @ torch.diag(torch.tensor([5.0, 3.0, 1.0, 0.5, 0.2, 0.1])) + 7
    white = rmac.whitening(vectors, 4)
    found = white(vectors)
    torch.testing.assert_close(found.T.cov(), torch.eye(4), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(4), atol=1e-3, rtol=0)
    loud = white.projection.abs().argmax(dim=1)
    assert loud.tolist() == [0, 1, 2, 3]  # those that vary most, in their order


def test_axes_that_too_few_vectors_do_not_span_stay_zeros():
    white = rmac.whitening(gaussian(10, 2) @ gaussian(2, 6), 4)
    assert (white.projection.norm(dim=1) > 0).tolist() == [True, True, False, False]
    assert white(gaussian(3, 6)).isfinite().all()
    with pytest.raises(ValueError, match="1 <= dim <= 6, the channels; got 7"):
        rmac.whitening(gaussian(10, 6), 7)


@pytest.fixture(scope="module")
def encoder():
    return image.image_encoder("efficientnet_lite0", 96)


@pytest.mark.slow
def test_the_encoder_pools_the_last_map_of_its_backbone(encoder):
    pictures = [Image.fromarray(np.full((50, 60, 3), grey, dtype=np.uint8)) for grey in (20, 90, 200)]
    by_region = rmac.RegionEncoder(encoder)
    pixels = torch.stack([by_region.preprocess(one) for one in pictures])
    vectors = by_region.vectors(by_region(pixels))
    assert vectors.shape == (3 * by_region.dim // by_region.channels, by_region.channels)
    white = rmac.whitening(vectors, 5)
    described = rmac.RMacEncoder(encoder, white)
    found = described(pixels)
    assert found.shape == (3, described.dim)
    torch.testing.assert_close(found, rmac.rmac(encoder.features(pixels), white))
    folded = image.for_inference(described)
    torch.testing.assert_close(folded(pixels), found, atol=1e-3, rtol=1e-3)


def test_settings_name_all_that_decides_a_vector(encoder):
    white = rmac.Whitening(1280, 4)
    white.projection.copy_(functional.normalize(gaussian(4, 1280)))
    settings = rmac.RMacEncoder(encoder, white).settings()
    assert settings["code"] != encoder.settings()["code"]
    assert {"pooling", "whitening"} <= set(settings)
    other = rmac.Whitening(1280, 4)
    changed = rmac.RMacEncoder(encoder, other).settings()
    assert {name for name in settings if settings[name] != changed[name]} == {"whitening"}
    larger = rmac.RMacEncoder(image.image_encoder("efficientnet_lite0", 128), white).settings()
    assert {name for name in settings if settings[name] != larger[name]} == {"size"}
    assert rmac.RegionEncoder(encoder).settings()["pooling"] != settings["pooling"]
