"""Heads: shapes, normalisation, and what whitening promises."""

import pytest
import torch

from m5utils import heads


@pytest.fixture
def features():
    mix = torch.randn(12, 12)
    return torch.randn(200, 12) @ mix + 3


@pytest.mark.parametrize("make", [heads.linear, heads.hidden, heads.whitening])
def test_embeddings_have_length_one(make, features):
    embeddings = make(features, dim=5)(features)
    assert embeddings.shape == (200, 5)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(200))


def test_a_mahalanobis_head_is_the_distance_of_its_matrix(features):
    head = heads.linear(features, dim=5, normalise=False)
    difference = (features[0] - features[1]) / head.scale
    matrix = head.layers.weight.T @ head.layers.weight
    x, y = head(features[:2])
    torch.testing.assert_close((x - y).square().sum(), difference @ matrix @ difference)


def test_whitened_features_are_uncorrelated_with_variance_one(features):
    head = heads.whitening(features, dim=12)
    head.normalise = False
    torch.testing.assert_close(head(features).T.cov(), torch.eye(12), atol=1e-3, rtol=0)


def test_whitening_asks_for_no_more_than_there_is(features):
    with pytest.raises(ValueError, match="span at most 4; asked for 5"):
        heads.whitening(features[:5], dim=5)


def test_a_constant_feature_does_no_harm():
    features = torch.randn(10, 3)
    features[:, 1] = 7.0
    assert heads.linear(features, dim=2)(features).isfinite().all()
