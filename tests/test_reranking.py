import numpy as np
import pytest
import reference
import torch
from reference import gaussian
from torch.nn.functional import normalize

from m5utils import reranking, search

# ---- query expansion ----


def test_expand_queries_by_hand():
    # unit vectors at 0°; neighbours at 0° (score 1) and 60° (score 1/2), α = 2: q + 1·g0 + 1/4·g1
    query = torch.tensor([[5.0, 0.0]])
    gallery = torch.tensor([[1.0, 3**0.5], [7.0, 0.0], [-1.0, 0.0]])
    expected = normalize(torch.tensor([[2 + 1 / 8, 3**0.5 / 8]]))
    np.testing.assert_allclose(reranking.expand_queries(query, gallery, k=2, alpha=2), expected, atol=1e-6)


def test_expand_queries_with_opposite_items_and_average():
    query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert reranking.expand_queries(query, gallery, k=2, alpha=2).tolist() == [[1, 0]]  # scores 0, -1 count 0
    averaged = reranking.expand_queries(query, gallery[:1], k=1, alpha=0)  # every answer counts the same
    np.testing.assert_allclose(averaged, [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_expand_queries_moves_towards_the_answers():
    query, gallery = gaussian(20, 16), gaussian(200, 16, seed=1)
    expanded = reranking.expand_queries(query, gallery, k=5, alpha=1)
    values, ranking = search.nearest(query, gallery, 5)
    assert (search.scores(expanded, gallery).gather(1, ranking).mean(dim=1) > values.mean(dim=1)).all()
    np.testing.assert_allclose(expanded.norm(dim=1), np.ones(20), atol=1e-6)


def test_expand_queries_refuses():
    with pytest.raises(ValueError, match="alpha >= 0; got -1"):
        reranking.expand_queries(gaussian(2, 4), gaussian(5, 4), k=2, alpha=-1)
    with pytest.raises(ValueError, match=r"1 <= k <= 5.*got k=6"):
        reranking.expand_queries(gaussian(2, 4), gaussian(5, 4), k=6, alpha=1)


# ---- k-reciprocal re-ranking ----


@pytest.mark.parametrize(
    ("k1", "k2", "lam"), [(6, 3, 0.3), (5, 1, 0.0), (9, 4, 1.0), (1, 1, 0.5), (33, 2, 0.3)]
)
def test_k_reciprocal_scores_are_the_paper_set_by_set(k1, k2, lam, monkeypatch):
    monkeypatch.setattr(reranking, "AT_ONCE", 4)  # divides neither the 7 queries nor the 40 items
    centres = 2 * gaussian(5, 6)
    query = centres[torch.arange(7) % 5] + gaussian(7, 6, seed=1)
    gallery = centres[torch.arange(33) % 5] + gaussian(33, 6, seed=2)
    found = reranking.k_reciprocal_scores(query, gallery, k1, k2, lam)
    expected = reference.k_reciprocal_scores(query.tolist(), gallery.tolist(), k1, k2, lam)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_k_reciprocal_scores_prefer_mutual_neighbours():
    # The query at 0° is as near to item 0 (at 20°) as to item 1 (at -20°), but item 0 has its own crowd.
    degrees = torch.tensor([20.0, -20.0, 22, 23, 24, 25, 26, 27])
    gallery = torch.stack([torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))], dim=1)
    found = reranking.k_reciprocal_scores(torch.tensor([[1.0, 0.0]]), gallery, k1=2, k2=1)[0]
    assert found[1] > found[0] + 0.2


def test_k_reciprocal_scores_follow_the_gallery_and_repeat():
    query, gallery = gaussian(5, 8), gaussian(60, 8, seed=1)
    found = reranking.k_reciprocal_scores(query, gallery, k1=8, k2=3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(
        reranking.k_reciprocal_scores(query, gallery[order], k1=8, k2=3), found[:, order], atol=1e-6
    )
    assert torch.equal(reranking.k_reciprocal_scores(query, gallery, k1=8, k2=3), found)


def test_k_reciprocal_scores_of_more_copies_than_neighbours():
    query, gallery = torch.ones(2, 4), torch.cat([torch.ones(30, 4), -torch.ones(3, 4)])
    found = reranking.k_reciprocal_scores(query, gallery, k1=5, k2=2)
    expected = reference.k_reciprocal_scores(query.tolist(), gallery.tolist(), 5, 2, 0.3)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_k_reciprocal_scores_of_collapsed_embeddings_are_equal():
    found = reranking.k_reciprocal_scores(torch.ones(1, 4), torch.ones(9, 4), k1=9, k2=2)
    np.testing.assert_allclose(found, np.ones((1, 9)), atol=1e-6)  # no distance at all: none is divided by


def test_k_reciprocal_scores_default_to_the_papers_numbers():
    query, gallery = gaussian(3, 8), gaussian(60, 8, seed=1)
    found = reranking.k_reciprocal_scores(query, gallery)
    assert torch.equal(found, reranking.k_reciprocal_scores(query, gallery, k1=20, k2=6, lam=0.3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k1": 6}, r"1 <= k1 <= 5.*got k1=6"),
        ({"k1": 0}, r"got k1=0"),
        ({"k1": 3, "k2": 4}, r"1 <= k2 <= k1=3; got k2=4"),
        ({"k1": 3, "k2": 0}, r"1 <= k2 <= k1=3; got k2=0"),
        ({"k1": 3, "k2": 2, "lam": -0.1}, r"0 <= lam <= 1; got -0.1"),
        ({"k1": 3, "k2": 2, "lam": 1.5}, r"0 <= lam <= 1; got 1.5"),
    ],
)
def test_k_reciprocal_scores_refuse(values, message):
    with pytest.raises(ValueError, match=message):
        reranking.k_reciprocal_scores(gaussian(2, 4), gaussian(5, 4), **values)


# ---- both ----


def expanded(query, gallery):
    return reranking.expand_queries(query, gallery, k=1, alpha=1)


def re_ranked(query, gallery):
    return reranking.k_reciprocal_scores(query, gallery, k1=1, k2=1)


@pytest.mark.parametrize("call", [expanded, re_ranked])
def test_rows_and_shapes_are_named(call):
    bad = gaussian(60, 4)
    bad[50, 2] = torch.nan
    with pytest.raises(ValueError, match=r"row 5\d holds NaN"):
        call(gaussian(2, 4), bad)
    for query, gallery in [((2, 3), (5, 4)), ((3,), (5, 3)), ((0, 3), (5, 3)), ((2, 3), (0, 3))]:
        with pytest.raises(ValueError, match="expected"):
            call(torch.zeros(query), torch.zeros(gallery))


def test_inputs_stay_as_they_are_and_gradients_are_no_obstacle():
    query, gallery = gaussian(16, 8).requires_grad_(), gaussian(9, 8, seed=1)
    before = query.detach().clone(), gallery.clone()
    assert not reranking.expand_queries(query, gallery, 3, alpha=2).requires_grad
    assert not reranking.k_reciprocal_scores(query, gallery, k1=3, k2=2).requires_grad
    assert torch.equal(query.detach(), before[0])
    assert torch.equal(gallery, before[1])
