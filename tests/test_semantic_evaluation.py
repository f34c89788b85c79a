"""Judging a search by meaning: who knows all, who knows nothing, blocks, and what is not defined."""

import numpy as np
import pytest
import torch
from reference import gaussian
from test_semantic_heads import drawn

from m5utils import graded, semantic_evaluation, semantic_heads
from m5utils.semantic_evaluation import SemanticTask
from m5utils.semantic_heads import Recipe
from m5utils.semantic_triplets import Described


@pytest.fixture(scope="module")
def task():
    return SemanticTask(drawn(60), drawn(40, seed=1), "drawn things")


def test_the_text_oracle_is_perfect_and_random_is_at_chance(task):
    oracle = semantic_evaluation.judge(semantic_evaluation.text_oracle, task, [0], most=20)
    assert oracle.judged.mean("ndcg_auc") == pytest.approx(1, abs=1e-12)
    assert oracle.judged.mean("pcc_auc") == pytest.approx(1, abs=1e-9)
    random = semantic_evaluation.judge(semantic_evaluation.at_random, task, range(8), most=20)
    expected = semantic_evaluation.chance(task, most=20)
    np.testing.assert_allclose(random.ndcg, expected, atol=0.05)
    assert random.judged.mean("pcc_auc") == pytest.approx(0, abs=0.1)


def test_training_helps_and_so_does_a_text_beside_the_picture(task):
    recipe = Recipe("joint", dim=8, near=6, hardest=4, epochs=12, batch=20, rate=1e-2)
    methods = {
        "visual": semantic_evaluation.as_they_are,
        "v": semantic_evaluation.trained(recipe),
        "vt": semantic_evaluation.trained(recipe, with_text=True),
    }
    found = {
        name: semantic_evaluation.judge(method, task, [0], 20).judged.mean("ndcg_auc")
        for name, method in methods.items()
    }
    assert found["visual"] < found["v"] < found["vt"]


def test_curves_are_those_of_the_whole_matrix(task, monkeypatch):
    scores = task.ranked.features.double() @ task.ranked.features.double().T
    scores = graded.without(scores.numpy(), np.arange(40))
    gains = graded.without(task.gains(slice(0, 40)), np.arange(40))
    monkeypatch.setattr(semantic_evaluation, "ROWS", 7)
    features = task.ranked.features
    plain = lambda *_: semantic_evaluation.by_inner_product(features, features)  # noqa: E731
    found = semantic_evaluation.judge(plain, task, [0], most=15)
    np.testing.assert_allclose(found.ndcg, graded.ndcg_at(scores, gains, 15).mean(axis=0))
    pearson = graded.pearson_at(scores, gains, 15)
    np.testing.assert_allclose(found.pcc, np.nanmean(pearson, axis=0))
    assert found.undefined == pytest.approx(np.isnan(pearson).mean())
    np.testing.assert_allclose(
        semantic_evaluation.chance(task, 15), graded.chance_ndcg_at(gains, 15), rtol=1e-12
    )


def test_a_constant_similarity_has_no_correlation_and_is_counted(task):
    constant = lambda *_: lambda rows: np.zeros((len(range(40)[rows]), 40))  # noqa: E731
    found = semantic_evaluation.judge(constant, task, [0], most=10)
    assert found.undefined == 1
    assert found.judged.values["pcc_auc"].shape == (1, 0)
    np.testing.assert_allclose(found.ndcg, semantic_evaluation.chance(task, 10))
    numbers = semantic_evaluation.numbers(found, "constant", 10)
    assert "constant/pcc_auc" not in numbers
    assert numbers["constant/pcc_undefined"] == 1
    table = semantic_evaluation.table({"constant": found}, resamples=10)
    assert table.loc["constant", "PCC AUC"] == "undefined"


def test_numbers_and_table_say_all(task):
    found = semantic_evaluation.judge(semantic_evaluation.as_they_are, task, [0], most=10)
    numbers = semantic_evaluation.numbers(found, "visual_baseline", 10)
    assert {f"visual_baseline/{one}" for one in ("ndcg_auc", "ndcg_auc/low", "pcc_auc", "pcc_auc/std")} < set(
        numbers
    )
    table = semantic_evaluation.table({"visual": found}, 10, {"visual": "64.0"})
    assert table.loc["visual", "US"] == "64.0"
    assert table.loc["visual", "NDCG AUC"].startswith(f"{100 * numbers['visual_baseline/ndcg_auc']:.1f} [")
    assert "40 queries, each with the other 39 images" in task.caption(1, 10)


def test_the_task_to_choose_by_never_sees_what_is_ranked(task):
    held_out = task.held_out(np.arange(50), np.arange(50, 60))
    assert (len(held_out.train), len(held_out.ranked)) == (50, 10)
    assert torch.equal(held_out.ranked.features, task.train.features[50:])
    shuffled = SemanticTask(task.train, drawn(40, seed=9), task.setting)
    assert shuffled.held_out(np.arange(50), np.arange(50, 60)).train.key == held_out.train.key


def test_more_retrieved_than_there_are_is_refused(task):
    with pytest.raises(ValueError, match="1 <= R <= 39, the gallery without the query"):
        semantic_evaluation.judge(semantic_evaluation.as_they_are, task, [0], most=40)


def test_a_query_of_unknown_words_is_named(task):
    rows = task.ranked.texts.toarray()
    rows[5] = 0
    silent = Described(task.ranked.features, type(task.ranked.texts)(rows))
    with pytest.raises(ValueError, match="query 5 has no relevant item at all"):
        semantic_evaluation.judge(
            semantic_evaluation.as_they_are, SemanticTask(task.train, silent, ""), [0], most=10
        )


def test_without_a_seed_there_is_nothing_to_judge(task):
    with pytest.raises(ValueError, match="at least one seed"):
        semantic_evaluation.judge(semantic_evaluation.as_they_are, task, [])


def test_pairs_for_the_drawing_are_pairs_of_two(task, monkeypatch):
    monkeypatch.setattr(semantic_evaluation, "ROWS", 9)
    scores, gains = semantic_evaluation.similarities(task.gains, task, 500)
    np.testing.assert_array_equal(scores, gains)
    assert (gains < 0.9999).any()
    every = task.gains(slice(0, 40))
    mean = (every.sum() - np.trace(every)) / (40 * 39)
    assert gains.mean() == pytest.approx(mean, abs=0.05)  # an image and itself would lift it


def test_nearest_leaves_the_query_out(task, monkeypatch):
    monkeypatch.setattr(semantic_evaluation, "ROWS", 9)
    scorer = semantic_evaluation.as_they_are(task, 0)
    found = semantic_evaluation.nearest(scorer, 40, 3)
    every = scorer(slice(0, 40)).copy()
    np.fill_diagonal(every, -np.inf)
    np.testing.assert_array_equal(found, np.argsort(-every, axis=1)[:, :3])


def test_an_edited_query_moves_towards_the_word():
    images, words = torch.eye(3)[:1], torch.eye(3)[1:]
    found = semantic_evaluation.edited(images, words, torch.tensor([[1, -1]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, -1.0]]) / 3**0.5)


def test_models_are_fitted_on_train_alone(task, monkeypatch):
    seen, really = [], semantic_heads.fit
    monkeypatch.setattr(
        semantic_heads, "fit", lambda train, *given: seen.append(train.key) or really(train, *given)
    )
    recipe = Recipe(dim=4, near=3, hardest=2, epochs=1, batch=30)
    semantic_evaluation.judge(semantic_evaluation.trained(recipe), task, [0, 1], most=5)
    assert seen == [task.train.key] * 2


def test_any_features_can_be_ranked_by():
    features = gaussian(4, 3)
    scorer = semantic_evaluation.by_inner_product(features, features)
    np.testing.assert_allclose(scorer(slice(1, 3)), (features.double() @ features.double().T)[1:3])
