"""A search for pictures by their objects, judged under every rule: against loops and random orders."""

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from m5utils import object_evaluation
from m5utils.object_tasks import ObjectTask, Pictures
from tests import reference


def pictures(n: int, first: int) -> Pictures:
    """Some without objects, the file silent about the last category."""
    random = np.random.default_rng(first)
    counts = random.poisson(0.6, (n, 5))
    listed = (counts > 0).astype(np.int64)
    listed[:, -1] = 0
    features = torch.from_numpy(counts + random.normal(size=counts.shape)).float()
    return Pictures(features, counts, listed, first + np.arange(n))


TASK = ObjectTask(pictures(30, 0), pictures(25, 100), pictures(40, 200), "drawn")


def test_every_rule_is_judged_by_both_labels_but_nothing_is_weighed_without_counts():
    keys = [key for key, *_ in object_evaluation.settings()]
    assert keys == [
        "selection_full",
        "selection_file",
        "aggregation_full",
        "aggregation_file",
        "aggregation_strict_full",
        "aggregation_strict_file",
        "weighted_full",
    ]
    assert set(object_evaluation.judge(object_evaluation.cosine, TASK, [0])) == set(keys)


@pytest.mark.parametrize(("key", "rule", "labels"), object_evaluation.settings())
def test_judged_as_by_loops_over_queries(key, rule, labels):
    judged = object_evaluation.judge(object_evaluation.cosine, TASK, [0])[key]
    scores = object_evaluation.cosine(TASK, 0).numpy()
    relevant, gains = TASK.relevance(rule, labels), TASK.gains(rule, labels)
    asked = [row for row in range(25) if relevant[row].any()]
    expected = [reference.evaluate(scores[row].tolist(), relevant[row].tolist(), (1, 5)) for row in asked]
    for metric in expected[0]:
        np.testing.assert_allclose(judged.values[metric][0], [one[metric] for one in expected], atol=1e-9)
    shared = [row for row in range(25) if gains[row].any()]
    ndcg = [ndcg_score(gains[row : row + 1], scores[row : row + 1]) for row in shared]
    np.testing.assert_allclose(judged.values["ndcg"][0], ndcg, atol=1e-9)
    assert object_evaluation.unanswered(TASK)[key] == 25 - len(asked)


def test_some_queries_have_no_answer_and_count_nowhere():
    none = object_evaluation.unanswered(TASK)
    assert none["selection_full"] > 0
    assert none["aggregation_full"] < none["aggregation_strict_full"]


@pytest.mark.slow
def test_chance_is_the_mean_of_random_orders():
    random = np.random.default_rng(0)
    seeds = range(400)  # of 25 queries each: 10,000 draws
    orders = {seed: torch.from_numpy(random.random((25, 40))) for seed in seeds}
    judged = object_evaluation.judge(lambda _, seed: orders[seed], TASK, seeds)
    levels = object_evaluation.chance(TASK)
    for key, of_rule in judged.items():
        assert set(levels[key]) == set(of_rule.values)
        for metric, level in levels[key].items():
            per_seed = of_rule.values[metric].mean(axis=1)
            assert abs(per_seed.mean() - level) < 4 * per_seed.std() / len(seeds) ** 0.5 + 1e-12, (
                key,
                metric,
            )


def test_each_seed_has_a_row():
    judged = object_evaluation.judge(object_evaluation.triplet("selection", epochs=1), TASK, [0, 1, 2])
    values = judged["selection_full"].values["map"]
    assert values.shape[0] == 3
    assert len(np.unique(values.mean(axis=1))) == 3


def test_a_search_that_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="at least one seed"):
        object_evaluation.judge(object_evaluation.cosine, TASK, [])
    empty = Pictures(TASK.gallery.features, 0 * TASK.gallery.counts, TASK.gallery.listed, TASK.gallery.ids)
    nobody = ObjectTask(TASK.train, TASK.query, empty, "drawn")
    with pytest.raises(ValueError, match="selection_full: none of 25 queries has an answer"):
        object_evaluation.judge(object_evaluation.cosine, nobody, [0])
    with pytest.raises(ValueError, match="selection_full: none of 25 queries"):
        object_evaluation.chance(nobody)


def test_map_among_some_of_the_gallery_is_that_of_the_gallery_cut_down():
    scores, relevant = object_evaluation.cosine(TASK, 0), TASK.relevance("selection")
    rows = np.arange(39, 0, -2)
    small = ObjectTask(TASK.train, TASK.query, TASK.gallery.take(rows), "drawn")
    expected = object_evaluation.judge(object_evaluation.cosine, small, [0])["selection_full"].mean("map")
    assert object_evaluation.map_among(scores, relevant, rows) == pytest.approx(expected)
    with pytest.raises(ValueError, match="a gallery of 1: none of 25"):
        object_evaluation.map_among(scores, np.zeros_like(relevant), rows[:1])


def test_by_category_by_hand():
    counts = np.array([[1, 0, 0, 0], [2, 1, 0, 0], [0, 3, 0, 1]])
    found = object_evaluation.by_category(np.array([0.5, 1.0, 0.0]), counts, ("dog", "cat", "kite", "bus"))
    assert list(found.items()) == [("dog", (0.75, 2)), ("cat", (0.5, 2)), ("bus", (0.0, 1))]
