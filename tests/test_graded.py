"""Curves over the number of retrieved items: by hand, against loops and scikit-learn, and where undefined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import ndcg_score

from m5utils import graded, metrics


def drawn(n_query: int = 5, n_gallery: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_query, n_gallery)), rng.random((n_query, n_gallery)) ** 3


def slow_ndcg(score, gain, most):
    order = sorted(range(len(score)), key=lambda item: -score[item])
    best = sorted(gain, reverse=True)
    dcg = lambda gains, r: sum(gains[p] / math.log2(p + 2) for p in range(r))  # noqa: E731
    return [dcg([gain[item] for item in order], r) / dcg(best, r) for r in range(1, most + 1)]


def slow_pearson(score, gain, most):
    order = sorted(range(len(score)), key=lambda item: -score[item])
    found = []
    for r in range(2, most + 1):
        x, y = [score[item] for item in order[:r]], [gain[item] for item in order[:r]]
        if len(set(x)) == 1 or len(set(y)) == 1:
            found.append(math.nan)
            continue
        mx, my = sum(x) / r, sum(y) / r
        up = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
        down = math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))
        found.append(up / down)
    return found


def test_ndcg_by_hand():
    # gains in the order found: 0, 1, 0.5; best order: 1, 0.5, 0
    found = graded.ndcg_at([[3.0, 2.0, 1.0]], [[0.0, 1.0, 0.5]], most=3)
    half = 1 / math.log2(3)
    np.testing.assert_allclose(found, [[0, half / (1 + half / 2), (half + 0.25) / (1 + half / 2)]])


@pytest.mark.parametrize("most", [2, 5, 9])
def test_curves_agree_with_loops(most, monkeypatch):
    scores, gains = drawn()
    monkeypatch.setattr(graded, "QUERIES", 2)  # does not divide five
    ndcg = [slow_ndcg(*pair, most) for pair in zip(scores, gains, strict=True)]
    pearson = [slow_pearson(*pair, most) for pair in zip(scores, gains, strict=True)]
    np.testing.assert_allclose(graded.ndcg_at(scores, gains, most), ndcg, rtol=1e-12)
    np.testing.assert_allclose(graded.pearson_at(scores, gains, most), pearson, rtol=1e-9)


def test_ndcg_agrees_with_scikit_learn_also_in_ties():
    scores, gains = drawn(4, 12)
    for values in (scores, np.round(scores), np.zeros_like(scores)):
        found = graded.ndcg_at(values, gains, 12)
        for r in (1, 4, 12):
            expected = [ndcg_score([g], [s], k=r) for s, g in zip(values, gains, strict=True)]
            np.testing.assert_allclose(found[:, r - 1], expected, rtol=1e-12)


def test_the_last_point_is_the_ndcg_of_the_whole_gallery():
    scores, gains = drawn()
    np.testing.assert_allclose(graded.ndcg_at(scores, gains, 9)[:, -1], metrics.ndcg(scores, gains))


def test_pearson_agrees_with_numpy_where_scores_hardly_differ():
    rng = np.random.default_rng(3)
    scores, gains = 0.98 + 1e-7 * rng.random((2, 40)), rng.random((2, 40))
    found = graded.pearson_at(scores, gains, 40)
    for row, (score, gain) in enumerate(zip(scores, gains, strict=True)):
        first = np.argsort(-score)
        for r in (3, 17, 40):
            expected = np.corrcoef(score[first[:r]], gain[first[:r]])[0, 1]
            assert found[row, r - 2] == pytest.approx(expected, abs=1e-6)


@given(
    hnp.arrays(np.float64, (2, 6), elements=st.floats(-5, 5)),
    hnp.arrays(np.float64, (2, 6), elements=st.floats(0.01, 1)),
)
def test_curves_stay_in_their_range(scores, gains):
    assert (graded.ndcg_at(scores, gains, 6) >= 0).all()
    assert (graded.ndcg_at(scores, gains, 6) <= 1).all()
    pearson = graded.pearson_at(scores, gains, 6)
    assert (np.abs(pearson[~np.isnan(pearson)]) <= 1).all()


def test_the_order_of_the_gallery_and_the_scale_of_scores_do_not_matter():
    scores, gains = drawn()
    turned = np.random.default_rng(1).permutation(9)
    for curve in (graded.ndcg_at, graded.pearson_at):
        expected = curve(scores, gains, 6)
        np.testing.assert_allclose(curve(scores[:, turned], gains[:, turned], 6), expected)
        np.testing.assert_allclose(curve(7 * scores + 3, gains, 6), expected)


def test_who_knows_the_gains_is_perfect():
    _, gains = drawn()
    np.testing.assert_allclose(graded.area(graded.ndcg_at(gains, gains, 9)), 1)
    np.testing.assert_allclose(graded.area(graded.pearson_at(gains, gains, 9)), 1)


def test_of_constant_scores_or_gains_no_correlation_is_defined():
    gains = np.array([[0.2, 0.1, 0.4]])
    assert np.isnan(graded.pearson_at(np.full((1, 3), 0.3), gains, 3)).all()
    assert np.isnan(graded.area(graded.pearson_at(np.full((1, 3), 0.3), gains, 3))).all()
    found = graded.pearson_at([[3.0, 2.0, 1.0]], [[0.1, 0.1, 0.7]], 3)  # its first two are equally alike
    assert np.isnan(found[0, 0])
    assert found[0, 1] == pytest.approx(-math.sqrt(3) / 2)
    assert graded.area(found) == pytest.approx(-math.sqrt(3) / 2)  # of what is defined


def test_chance_is_the_mean_over_all_orders():
    _, gains = drawn(3, 8)
    orders = np.random.default_rng(0).random((1000, 3, 8))
    found = np.mean([graded.ndcg_at(one, gains, 5) for one in orders], axis=(0, 1))
    np.testing.assert_allclose(graded.chance_ndcg_at(gains, 5), found, atol=0.02)


def test_constant_scores_are_at_chance():
    _, gains = drawn()
    found = graded.ndcg_at(np.zeros_like(gains), gains, 9).mean(axis=0)
    np.testing.assert_allclose(found, graded.chance_ndcg_at(gains, 9))


@pytest.mark.parametrize("curve", [graded.ndcg_at, graded.pearson_at])
def test_bad_input_is_refused(curve):
    scores, gains = drawn()
    with pytest.raises(ValueError, match=r"1 <= R <= 9, the gallery without the query; got up to R = 10"):
        curve(scores, gains, 10)
    with pytest.raises(ValueError, match="a gain for every score"):
        curve(scores, gains[:, :4], 3)
    with pytest.raises(ValueError, match="those of query 2 are not"):
        curve(np.where(np.arange(5)[:, None] == 2, np.nan, scores), gains, 3)
    with pytest.raises(ValueError, match="finite and not negative"):
        curve(scores, -gains, 3)
    with pytest.raises(ValueError, match="query 4 has no relevant item at all"):
        curve(scores, np.where(np.arange(5)[:, None] == 4, 0, gains), 3)


def test_of_one_item_there_is_no_correlation():
    with pytest.raises(ValueError, match="most >= 2"):
        graded.pearson_at(*drawn(), 1)
