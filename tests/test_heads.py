"""Heads: shapes, normalisation, and what whitening promises."""

import pytest
import torch
from torch.nn.functional import normalize

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


def test_a_linear_head_has_no_bias(features):
    head = heads.linear(features, dim=5, normalise=False)
    torch.testing.assert_close(head(head.mean[None]), torch.zeros(1, 5))


def test_a_hidden_head_is_two_layers_with_a_relu_between(features):
    head = heads.hidden(features, dim=5, width=7)
    first, _, last = head.layers
    by_hand = last(first((features - features.mean(dim=0)) / features.std(dim=0)).relu())
    torch.testing.assert_close(head(features), normalize(by_hand))


def test_the_decks_heads_are_their_layers_and_nothing_else(features):
    a, b = heads.deck_a(features, dim=5), heads.deck_b(features, dim=5, width=7)
    torch.testing.assert_close(a(features), a.layers(features.relu()))
    first, _, last = b.layers
    torch.testing.assert_close(b(features), last(first(features).relu()))


def test_a_branch_is_two_layers_whose_outputs_have_the_same_mean_and_variance_in_a_batch(features):
    head = heads.branch(features, dim=5, width=7)
    first, _, dropout, last, _ = head.layers
    assert dropout.p == 0.5
    standard = (features - features.mean(dim=0)) / features.std(dim=0)
    dropout.p = 0.0
    raw = last(first(standard).relu())
    mean, variance = raw.mean(dim=0), raw.var(dim=0, correction=0)
    torch.testing.assert_close(head(features), normalize((raw - mean) / (variance + 1e-5).sqrt()))
    linear = heads.branch_linear(features, dim=5)
    raw = linear.layers[0](standard)
    mean, variance = raw.mean(dim=0), raw.var(dim=0, correction=0)
    torch.testing.assert_close(linear(features), normalize((raw - mean) / (variance + 1e-5).sqrt()))
    sizes = [layer.weight.shape for layer in heads.branch(features).layers if hasattr(layer, "weight")]
    assert sizes == [(2048, 12), (512, 2048), (512,)]


@pytest.mark.parametrize("name", heads.HEADS)
def test_a_head_by_name_is_that_head_of_the_length_asked_for(features, name):
    head = heads.by_name(name, features, 5)
    assert head(features).shape == (200, 5)
    assert str(head.layers) == str(getattr(heads, name)(features, dim=5).layers)


def test_an_unknown_head_is_refused(features):
    with pytest.raises(ValueError, match="out of linear, hidden, deck_a, .*, attention; got 'deep'"):
        heads.by_name("deep", features, 5)


def test_whitened_features_are_uncorrelated_with_variance_one(features):
    head = heads.whitening(features, dim=12)
    assert not head.layers.weight.requires_grad  # it is not trained
    head.normalise = False
    torch.testing.assert_close(head(features).T.cov(), torch.eye(12), atol=1e-3, rtol=0)


def test_whitening_asks_for_no_more_than_there_is(features):
    with pytest.raises(ValueError, match="span at most 4; asked for 5"):
        heads.whitening(features[:5], dim=5)
    with pytest.raises(ValueError, match="span at most 12; asked for 13"):
        heads.whitening(features, dim=13)


def test_a_constant_feature_does_no_harm():
    features = torch.randn(10, 3)
    features[:, 1] = 7.0
    assert heads.linear(features, dim=2)(features).isfinite().all()


def test_principal_axes_are_those_of_the_svd_and_nothing_is_scaled(features):
    head = heads.principal_axes(features, dim=5)
    centred = features - features.mean(dim=0)
    _, lengths, axes = torch.linalg.svd(centred, full_matrices=False)
    by_hand = centred @ axes[:5].T
    torch.testing.assert_close(head(features).abs(), by_hand.abs(), atol=1e-3, rtol=1e-3)  # up to signs
    torch.testing.assert_close(head(features).norm(dim=0), lengths[:5], atol=1e-2, rtol=1e-3)
    assert heads.principal_axes(features[:4], dim=50)(features).shape == (200, 3)
    assert heads.principal_axes(features, dim=50)(features).shape == (200, 12)
