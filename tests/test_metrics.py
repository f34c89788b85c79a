from itertools import permutations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, ndcg_score

from m5utils import metrics

KS = (1, 2, 3)
KEYS = [
    "map",
    "precision@1",
    "precision@2",
    "precision@3",
    "recall@1",
    "recall@2",
    "recall@3",
    "r_precision",
    "mrr",
]


@st.composite
def rankings(draw, max_gallery=12):
    """Scores, often tied, and relevance with at least one relevant item per query."""
    shape = draw(st.integers(1, 4)), draw(st.integers(max(KS), max_gallery))
    scores = draw(arrays(np.float64, shape, elements=st.integers(-4, 4).map(float)))
    relevance = draw(arrays(bool, shape))
    relevance[:, draw(st.integers(0, shape[1] - 1))] = True
    return scores, relevance


def many(n_query=60, n_gallery=83, n_scores=None, seed=0):
    """Random scores, with ties if there are only `n_scores` of them, and relevance of 5 classes."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(n_query, n_gallery))
    if n_scores:
        scores = draw.integers(n_scores, size=(n_query, n_gallery)) / 7
    gallery_labels = np.arange(n_gallery) % 5
    return scores, draw.integers(5, size=n_query)[:, None] == gallery_labels


# ---- by hand ----


def test_fractions_by_hand():
    # relevant at positions 1, 3 and 6 of 6: precision there 1/1, 2/3, 3/6
    scores = [[6, 5, 4, 3, 2, 1]]
    relevance = [[True, False, True, False, False, True]]
    assert metrics.average_precision(scores, relevance) == pytest.approx([(1 + 2 / 3 + 3 / 6) / 3])
    assert metrics.precision_at_k(scores, relevance, 5) == pytest.approx([2 / 5])
    assert metrics.recall_at_k(scores, relevance, 5) == pytest.approx([2 / 3])
    assert metrics.hit_rate_at_k(scores, relevance, 5) == pytest.approx([1])
    assert metrics.r_precision(scores, relevance) == pytest.approx([2 / 3])  # R = 3: positions 1 to 3
    assert metrics.reciprocal_rank(scores, relevance) == pytest.approx([1])


def test_fractions_by_hand_of_a_bad_ranking():
    # relevant at positions 3 and 4 of 4: precision there 1/3, 2/4
    scores = [[0.1, 0.2, 0.9, 0.8]]
    relevance = [[True, True, False, False]]
    assert metrics.average_precision(scores, relevance) == pytest.approx([(1 / 3 + 2 / 4) / 2])
    assert metrics.precision_at_k(scores, relevance, 3) == pytest.approx([1 / 3])
    assert metrics.recall_at_k(scores, relevance, 3) == pytest.approx([1 / 2])
    assert metrics.hit_rate_at_k(scores, relevance, 2) == pytest.approx([0])
    assert metrics.r_precision(scores, relevance) == pytest.approx([0])
    assert metrics.reciprocal_rank(scores, relevance) == pytest.approx([1 / 3])


def test_ties_by_hand():
    # scores 3 | 2 2 2 | 1, relevant: one of the three tied and the last.
    # AP, a threshold per tie: 1 of 4 at score 2, 2 of 5 at score 1.
    # By position the tied relevant item comes last of its tie: F F F T T.
    scores = [[2, 3, 2, 2, 1]]
    relevance = [[True, False, False, False, True]]
    assert metrics.average_precision(scores, relevance) == pytest.approx([(1 / 4 + 2 / 5) / 2])
    assert metrics.precision_at_k(scores, relevance, 3) == pytest.approx([0])
    assert metrics.precision_at_k(scores, relevance, 4) == pytest.approx([1 / 4])
    assert metrics.reciprocal_rank(scores, relevance) == pytest.approx([1 / 4])


def test_scores_are_compared_as_they_are():
    # the first two are one number in float32; minus an unsigned integer is no negative number
    assert metrics.reciprocal_rank([[0.1 + 1e-12, 0.1, 0]], [[True, False, False]]) == [1]
    assert metrics.reciprocal_rank(np.array([[3, 0, 1]], np.uint8), [[False, False, True]]) == [1 / 2]


def test_curves_by_hand():
    # relevant at positions 1, 3 and 6: precision 1 up to recall 1/3, 2/3 up to 2/3, 1/2 up to 1
    scores, relevance = [[6, 5, 4, 3, 2, 1]], [[True, False, True, False, False, True]]
    recall, precision = metrics.eleven_point(scores, relevance)
    assert recall == pytest.approx(np.linspace(0, 1, 11))
    assert precision == pytest.approx([1] * 4 + [2 / 3] * 3 + [1 / 2] * 4)
    recall, precision = metrics.precision_recall_curve(scores, relevance)
    assert recall == pytest.approx(np.linspace(0, 1, 101))
    assert precision == pytest.approx([1] * 34 + [2 / 3] * 33 + [1 / 2] * 34)


# ---- against loops and scikit-learn ----


@settings(deadline=None)
@given(rankings())
def test_evaluate_is_the_slow_loop(case):
    scores, relevance = case
    found = metrics.evaluate(scores, relevance, KS)
    assert list(found) == KEYS
    for query in range(len(scores)):
        expected = reference.evaluate(scores[query].tolist(), relevance[query].tolist(), KS)
        assert {key: values[query] for key, values in found.items()} == pytest.approx(expected)


@settings(deadline=None)
@given(rankings())
def test_single_metrics_are_those_of_evaluate(case):
    scores, relevance = case
    found = metrics.evaluate(scores, relevance, KS)
    assert all(values.dtype == np.float64 and values.shape == (len(scores),) for values in found.values())
    np.testing.assert_array_equal(metrics.average_precision(scores, relevance), found["map"])
    np.testing.assert_array_equal(metrics.r_precision(scores, relevance), found["r_precision"])
    np.testing.assert_array_equal(metrics.reciprocal_rank(scores, relevance), found["mrr"])
    for k in KS:
        np.testing.assert_array_equal(metrics.precision_at_k(scores, relevance, k), found[f"precision@{k}"])
        np.testing.assert_array_equal(metrics.recall_at_k(scores, relevance, k), found[f"recall@{k}"])
        np.testing.assert_array_equal(
            metrics.hit_rate_at_k(scores, relevance, k), found[f"precision@{k}"] > 0
        )


@settings(deadline=None)
@given(rankings(), st.sampled_from([(metrics.eleven_point, 10), (metrics.precision_recall_curve, 100)]))
def test_curves_are_the_slow_loop(case, curve):
    (scores, relevance), (function, steps) = case, curve
    rows = zip(scores.tolist(), relevance.tolist(), strict=True)
    expected = np.mean([reference.interpolated_precision(s, r, steps) for s, r in rows], axis=0)
    assert function(scores, relevance)[1] == pytest.approx(expected)


@pytest.mark.parametrize("n_scores", [None, 1, 2, 9, 50])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_average_precision_is_scikit_learns(n_scores, dtype):
    scores, relevance = many(n_scores=n_scores)
    scores = scores.astype(dtype)
    expected = [average_precision_score(r, s) for s, r in zip(scores, relevance, strict=True)]
    np.testing.assert_allclose(metrics.average_precision(scores, relevance), expected, rtol=0, atol=1e-9)


def test_many_queries_are_each_query_alone():
    # 3,000 × 83 is more than is sorted at a time
    scores, relevance = many(n_query=3000, n_scores=40)
    together = metrics.evaluate(scores, relevance)
    curve = metrics.eleven_point(scores, relevance)[1]
    picked = [0, 1203, 1204, 2999]
    for query in picked:
        alone = metrics.evaluate(scores[[query]], relevance[[query]])
        assert {key: values[query] for key, values in together.items()} == {k: v[0] for k, v in alone.items()}
    halves = [metrics.eleven_point(scores[part], relevance[part])[1] for part in np.split(np.arange(3000), 2)]
    assert curve == pytest.approx(np.mean(halves, axis=0))


def test_a_gallery_of_more_than_is_sorted_at_a_time():
    scores, relevance = -np.arange(100_001.0)[None], (np.arange(100_001) == 3)[None]
    assert metrics.reciprocal_rank(scores, relevance).tolist() == [1 / 4]


def test_torch_tensors_are_taken():
    scores, relevance = many()
    found = metrics.evaluate(torch.from_numpy(scores), torch.from_numpy(relevance))
    np.testing.assert_array_equal(found["map"], metrics.average_precision(scores, relevance))


# ---- invariances ----


@settings(deadline=None)
@given(rankings(), st.randoms(use_true_random=False))
def test_order_of_the_gallery_does_not_matter(case, random):
    scores, relevance = case
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    moved = metrics.evaluate(scores[:, order], relevance[:, order], KS)
    for key, values in metrics.evaluate(scores, relevance, KS).items():
        assert moved[key] == pytest.approx(values)


@settings(deadline=None)
@given(rankings(), st.sampled_from([np.exp, lambda s: 3 * s - 7, lambda s: s**3]))
def test_only_the_order_of_scores_matters(case, rescale):
    scores, relevance = case
    rescaled = metrics.evaluate(rescale(scores), relevance, KS)
    for key, values in metrics.evaluate(scores, relevance, KS).items():
        np.testing.assert_array_equal(rescaled[key], values)


@settings(deadline=None)
@given(rankings())
def test_values_are_fractions_and_curves_never_rise(case):
    for values in metrics.evaluate(*case, KS).values():
        assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(metrics.precision_recall_curve(*case)[1]) <= 1e-12).all()


def test_a_better_place_gives_a_better_value():
    # the sign test: a relevant item that scores more must not lower any metric, and raises some
    relevance = [[False, False, True, False, True]]
    low = metrics.evaluate([[5, 4, 3, 2, 1]], relevance, KS)
    high = metrics.evaluate([[5, 4, 6, 2, 1]], relevance, KS)
    assert all(high[key] >= low[key] for key in KEYS)
    assert all(high[key] > low[key] for key in ("map", "precision@1", "recall@2", "r_precision", "mrr"))


# ---- ties, extremes, chance ----


@settings(deadline=None)
@given(rankings())
def test_constant_scores_are_at_chance_or_below(case):
    _, relevance = case
    constant = metrics.evaluate(np.full(relevance.shape, 0.3), relevance, KS)
    for key, level in metrics.chance(relevance, KS).items():
        assert constant[key].mean() <= level + 1e-12


def test_collapsed_embeddings_do_not_look_good():
    # eight classes, every score equal: a stable sort would give whichever class comes first 100 %
    relevance = np.repeat(np.arange(8), 5)[:, None] == np.repeat(np.arange(8), 30)
    found = metrics.evaluate(np.ones(relevance.shape), relevance)
    assert found["map"] == pytest.approx(np.full(40, 1 / 8))
    assert not found["precision@5"].any()


def test_single_class_is_perfect_in_any_order():
    found = metrics.evaluate([[0.2, 0.1, 0.2]], np.ones((1, 3), bool), KS)
    assert {key: values[0] for key, values in found.items()} == pytest.approx(
        dict.fromkeys(KEYS, 1.0) | {"recall@1": 1 / 3, "recall@2": 2 / 3}
    )


def test_one_item_gallery():
    assert set(metrics.chance([[True]], (1,)).values()) == {1.0}
    assert all(values.tolist() == [1.0] for values in metrics.evaluate([[0.0]], [[True]], (1,)).values())


@pytest.mark.parametrize("n_gallery", [3, 4, 5, 6])
@pytest.mark.parametrize("n_relevant", [1, 2, 3])
def test_chance_is_the_mean_over_all_orders(n_gallery, n_relevant):
    orders = np.array(list(permutations(range(n_gallery))), dtype=float)
    relevance = np.broadcast_to(np.arange(n_gallery) < n_relevant, orders.shape)
    expected = {key: values.mean() for key, values in metrics.evaluate(orders, relevance, KS).items()}
    level = metrics.chance(relevance[:1], KS)
    assert list(level) == KEYS
    assert level == pytest.approx(expected, abs=1e-12)


def test_chance_is_meaned_over_queries():
    relevance = np.array([[True, False, False], [False, True, False], [True, True, False]])
    each = [metrics.chance(relevance[[query]], KS) for query in range(3)]
    assert metrics.chance(relevance, KS) == pytest.approx(
        {key: sum(level[key] for level in each) / 3 for key in KEYS}
    )


# ---- the seed group's number ----


def seed_groups_call(hits, labels):
    """The call in their code, with an (n_query, k) table of hits and an (n_query, 1) column of class ids."""
    return average_precision_score(hits, labels.reshape(-1, 1))


def test_seed_group_map_is_their_call_and_blind_after_neighbour_one():
    draw = np.random.default_rng(0)
    labels = draw.integers(8, size=404)
    first = draw.random(404) < 0.9
    ours = metrics.seed_group_map(first, labels)
    true_map = []
    for share in (0.05, 0.5, 0.99):  # of neighbours 2 to 13 that are right
        hits = np.column_stack([first, draw.random((404, 12)) < share])
        assert seed_groups_call(hits, labels) == pytest.approx(ours, abs=1e-12)
        kept = hits[hits.any(axis=1)]
        true_map.append(metrics.average_precision(np.tile(-np.arange(13), (len(kept), 1)), kept).mean())
    assert true_map[2] - true_map[0] > 0.05  # what a mean average precision would have seen


def test_seed_group_map_changes_with_the_numbering_of_the_classes():
    labels, correct = np.array([0, 0, 1, 1]), np.array([True, True, False, True])
    assert metrics.seed_group_map(correct, labels) == pytest.approx(1 / 3 * 1 / 2 + 2 / 3 * 3 / 4)
    assert metrics.seed_group_map(correct, 1 - labels) == pytest.approx(2 / 3 * 1 + 1 / 3 * 3 / 4)


def test_seed_group_map_without_a_hit_is_zero_and_wants_one_hit_per_query():
    assert metrics.seed_group_map([False, False], [0, 1]) == 0.0
    with pytest.raises(ValueError, match=r"got \(2,\) and \(3,\)"):
        metrics.seed_group_map([True, False], [0, 1, 2])
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(1, 2\)"):
        metrics.seed_group_map([[True, False]], [[0, 1]])


# ---- intervals ----


def test_bootstrap_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(0.5, 0.1, size=400)
    low, high = metrics.bootstrap_interval(values, resamples=2000, seed=0)
    error = values.std() / 20  # / sqrt(400)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=error / 5
    )


@pytest.mark.parametrize("at_once", [1, 50, 130])
def test_how_many_are_drawn_at_once_changes_no_bit(at_once, monkeypatch):
    values, groups = np.random.default_rng(0).random(50), np.arange(50) // 2
    whole = [metrics.bootstrap_interval(values, 101, 0, by) for by in (None, groups)]
    monkeypatch.setattr(metrics, "DRAWN_AT_ONCE", at_once)
    assert [metrics.bootstrap_interval(values, 101, 0, by) for by in (None, groups)] == whole


def test_bootstrap_repeats_with_its_seed():
    values = np.random.default_rng(1).random(50)
    assert metrics.bootstrap_interval(values, 200, seed=3) == metrics.bootstrap_interval(values, 200, seed=3)
    assert metrics.bootstrap_interval(values, 200, seed=3) != metrics.bootstrap_interval(values, 200, seed=4)
    assert metrics.bootstrap_interval([0.25] * 7, 10, seed=0) == (0.25, 0.25)


def test_paired_difference_sees_what_separate_intervals_hide():
    hard = np.random.default_rng(0).random(300)  # queries differ much more than the methods do
    mean, low, high = metrics.paired_difference(hard + 0.01, hard, 500, seed=0)
    assert (mean, low, high) == pytest.approx((0.01, 0.01, 0.01))
    assert metrics.bootstrap_interval(hard + 0.01, 500, 0)[0] < metrics.bootstrap_interval(hard, 500, 0)[1]
    assert metrics.paired_difference(hard, hard + 0.01, 500, seed=0)[0] == pytest.approx(-0.01)


def test_paired_difference_has_the_interval_of_the_differences():
    a, b = np.random.default_rng(0).random((2, 60))
    groups = np.arange(60) // 3
    found = metrics.paired_difference(a, b, 200, 7, groups)
    assert found[1:] == metrics.bootstrap_interval(a - b, 200, 7, groups)


# ---- what is not accepted ----

EVERY = [
    metrics.average_precision,
    metrics.r_precision,
    metrics.reciprocal_rank,
    metrics.precision_recall_curve,
    metrics.eleven_point,
    lambda scores, relevance: metrics.precision_at_k(scores, relevance, 1),
    lambda scores, relevance: metrics.recall_at_k(scores, relevance, 1),
    lambda scores, relevance: metrics.hit_rate_at_k(scores, relevance, 1),
    lambda scores, relevance: metrics.evaluate(scores, relevance, (1,)),
]


@pytest.mark.parametrize("metric", EVERY)
@pytest.mark.parametrize(
    ("scores", "relevance", "message"),
    [
        ([[1, 0], [1, 0]], [[True, False], [False, False]], "query 1 has no relevant item"),
        ([[1, 0], [np.nan, 0], [0, np.nan]], [[True, False]] * 3, r"query 1 hold NaN or Inf \(2 such"),
        ([[1, 0], [np.inf, 0]], [[True, False], [True, False]], "scores of query 1 hold NaN or Inf"),
        ([[1, 0, 0]], [[True, False]], r"shape \(1, 2\).*got \(1, 3\)"),
        ([1, 0], [True, False], r"got shape \(2,\)"),
        (np.empty((0, 3)), np.empty((0, 3), bool), "not empty"),
        (np.empty((3, 0)), np.empty((3, 0), bool), "not empty"),
        ([[1, 0]], [[1, 0]], "expected relevance of bool; got int"),
    ],
)
def test_bad_input_is_named(metric, scores, relevance, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, relevance)


@pytest.mark.parametrize("k", [0, -1, 4])
@pytest.mark.parametrize(
    "at_k",
    [
        metrics.precision_at_k,
        metrics.recall_at_k,
        metrics.hit_rate_at_k,
        lambda scores, relevance, k: metrics.evaluate(scores, relevance, (1, k)),
        lambda _, relevance, k: metrics.chance(relevance, (1, k)),
    ],
)
def test_k_beyond_the_gallery_names_both(at_k, k):
    with pytest.raises(ValueError, match=f"1 <= k <= 3, .*got k={k}"):
        at_k([[3, 2, 1]], [[True, False, False]], k)


def test_chance_wants_relevance_too():
    with pytest.raises(ValueError, match=r"query 0 has no relevant item .*\(1 such"):
        metrics.chance([[False, False]], (1,))


@pytest.mark.parametrize("values", [[], [[0.5]], [0.5, np.nan]])
def test_intervals_want_finite_values(values):
    with pytest.raises(ValueError, match="expected finite values"):
        metrics.bootstrap_interval(values, 10, 0)
    with pytest.raises(ValueError, match="expected finite values"):
        metrics.paired_difference(values, values, 10, 0)


def test_intervals_want_resamples_and_the_same_queries():
    with pytest.raises(ValueError, match="resamples >= 1; got 0"):
        metrics.bootstrap_interval([0.5], 0, 0)
    with pytest.raises(ValueError, match="got 1 and 2 values"):
        metrics.paired_difference([0.5], [0.5, 0.6], 10, 0)


def test_grouped_queries_are_drawn_together():
    # 40 groups of five equal values are 40 observations, not 200
    per_group = np.random.default_rng(0).normal(size=40)
    values, groups = np.repeat(per_group, 5), np.repeat(np.arange(40), 5)
    grouped = metrics.bootstrap_interval(values, 500, 0, groups)
    assert grouped == pytest.approx(metrics.bootstrap_interval(per_group, 500, 0))
    alone = metrics.bootstrap_interval(values, 500, 0)
    assert grouped[1] - grouped[0] > 1.8 * (alone[1] - alone[0])


def test_of_groups_of_different_sizes_every_query_counts_the_same():
    # 20 groups of three ones and 20 of a single zero: 0.75 over the queries, 0.5 over the groups
    groups = np.r_[np.repeat(np.arange(20), 3), np.arange(20, 40)]
    low, high = metrics.bootstrap_interval(groups < 20, 500, 0, groups)
    assert 0.5 < low < 0.75 < high < 1


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the group of each of 3 queries; got shape"):
        metrics.bootstrap_interval([1, 2, 3], 10, 0, [0, 1])
    with pytest.raises(ValueError, match="group 1 has no query"):
        metrics.bootstrap_interval([1, 2, 3], 10, 0, [0, 2, 2])


# ---- graded relevance ----


@given(rankings())
@settings(max_examples=60, deadline=None)
def test_ndcg_is_scikit_learns(ranking):
    scores, relevance = ranking
    gains = relevance * (1 + np.arange(scores.shape[1]) % 3) / 3
    expected = [ndcg_score(gain[None], score[None]) for gain, score in zip(gains, scores, strict=True)]
    np.testing.assert_allclose(metrics.ndcg(scores, gains), expected, rtol=1e-12)


def test_chance_of_ndcg_is_the_mean_over_all_orders():
    gains = np.array([[0.5, 0.0, 1.0, 0.2, 0.0]])
    of_orders = [metrics.ndcg([order], gains)[0] for order in permutations(range(5))]
    assert metrics.chance_ndcg(gains) == pytest.approx(np.mean(of_orders), rel=1e-12)
    assert metrics.chance_ndcg(np.vstack([gains, [[1, 1, 1, 1, 1]]])) == pytest.approx(
        (np.mean(of_orders) + 1) / 2
    )


def test_ndcg_of_constant_scores_is_chance():
    gains = np.array([[0.5, 0.0, 1.0, 0.2, 0.0]])
    assert metrics.ndcg(np.zeros((1, 5)), gains)[0] == pytest.approx(metrics.chance_ndcg(gains))


@pytest.mark.parametrize(
    ("scores", "gains", "words"),
    [
        ([[1, 2]], [[0, 0]], r"query 0 has no gain in the gallery \(1 such\)"),
        ([[1, 2]], [[1, -1]], "not below 0; got -1.0 to 1.0"),
        ([[1, 2]], [[1, np.nan]], "expected finite gains"),
        ([[1, np.inf]], [[1, 0]], "the scores of query 0 hold NaN or Inf"),
        ([[1, 2, 3]], [[1, 0]], r"expected scores of shape \(1, 2\), as relevance; got \(1, 3\)"),
        ([1, 2], [1, 0], r"expected gains \(n_query, n_gallery\), not empty; got shape \(2,\)"),
    ],
)
def test_what_has_no_ndcg_is_refused(scores, gains, words):
    with pytest.raises(ValueError, match=words):
        metrics.ndcg(scores, gains)
