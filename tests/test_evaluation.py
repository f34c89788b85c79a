"""Judging: hand-made scores, seeds, and a choice that cannot see the evaluation labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import evaluation, heads, losses, metrics, ranks, search, training
from m5utils.datasets.listed import LabelledImages
from m5utils.pairs import Pairs, PairTask


def listed(labels) -> LabelledImages:
    names = tuple(f"{i}.png" for i in range(len(labels)))
    return LabelledImages(Path("nowhere"), names, np.asarray(labels), ("a", "b", "c"))


def task_of(query_labels, gallery_labels) -> evaluation.Task:
    """Features in which the class is one of three directions, in noise."""
    query, gallery = listed(query_labels), listed(gallery_labels)
    vectors = [
        torch.eye(3)[images.labels].repeat(1, 4) + torch.randn(len(images), 12) for images in (query, gallery)
    ]
    return evaluation.Task(query, gallery, *vectors)


@pytest.fixture
def task():
    return task_of([0, 1, 2] * 5, [0, 1, 2] * 12)


def perfect(task, seed):  # noqa: ARG001
    return torch.from_numpy(task.relevance()).float()


def test_a_perfect_method_is_judged_perfect(task):
    judgement = evaluation.run(perfect, task, [0, 1])
    assert {
        metric: judgement.mean(metric) for metric in ("map", "precision@1", "precision@5", "mrr")
    } == dict.fromkeys(("map", "precision@1", "precision@5", "mrr"), 1.0)
    assert judgement.std("map") == 0.0


def test_cosine_is_the_similarity_of_the_features_as_they_are(task):
    assert torch.equal(evaluation.cosine(task, 0), search.scores(task.query, task.gallery, "cosine"))


def test_mean_and_deviation_are_over_seeds():
    values = {"map": np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])}
    judgement = evaluation.Judgement(values)
    assert judgement.mean("map") == pytest.approx(0.75)
    assert judgement.per_query("map").tolist() == [0.5, 1.0]
    assert judgement.std("map") == pytest.approx(0.25)  # of 0.5, 0.75, 1.0


def test_the_interval_is_of_the_mean_over_seeds_and_draws_groups_whole():
    values, groups = np.random.default_rng(0).random((2, 40)), np.arange(40) // 4
    judgement = evaluation.Judgement({"map": np.zeros((2, 40)), "mrr": values}, groups)
    low, high = metrics.bootstrap_interval(values.mean(axis=0), 100, 0, groups)
    assert judgement.interval("mrr", 100) == (low, high)
    rows = evaluation.table_of_intervals({"one": judgement}, 100, "mrr")
    assert rows.loc["one"].to_dict() == {"value": pytest.approx(values.mean()), "low": low, "high": high}


def test_numbers_hold_mean_std_and_interval(task):
    numbers = evaluation.run(evaluation.cosine, task, [0]).numbers("frozen", resamples=200)
    assert numbers["frozen/map/low"] <= numbers["frozen/map"] <= numbers["frozen/map/high"]
    assert numbers["frozen/map/std"] == 0.0
    assert {"frozen/precision@1", "frozen/precision@5/low"} <= set(numbers)


def test_a_task_may_depend_on_the_seed(task):
    seen, told = [], []
    judgement = evaluation.run(
        lambda of_seed, seed: told.append(seed) or perfect(of_seed, seed),
        lambda seed: seen.append(seed) or task,
        [3, 4],
    )
    assert seen == told == [3, 4]
    assert judgement.values["map"].shape == (2, 15)


def test_no_seed_is_refused(task):
    with pytest.raises(ValueError, match="at least one seed"):
        evaluation.run(perfect, task, [])


def test_the_validation_task_does_not_know_the_queries(task):
    held_out = task.held_out(np.arange(3, 36), np.arange(3))
    assert len(held_out.query_images) == 3
    assert len(held_out.gallery_images) == 33
    torch.testing.assert_close(held_out.query, task.gallery[:3])
    torch.testing.assert_close(held_out.gallery, task.gallery[3:])


def test_the_choice_is_the_same_whatever_the_evaluation_labels_say(task):
    """The whole way: train, judge and choose with true evaluation labels, then with shuffled ones."""
    rng = np.random.default_rng(0)
    shuffled = listed(rng.permutation(task.query_images.labels))
    other = evaluation.Task(shuffled, task.gallery_images, task.query, task.gallery)

    def with_epochs(epochs):
        def method(task, seed):
            labels, loss = task.gallery_images.labels, losses.supervised_contrastive()
            head, _ = training.fit_head(
                task.gallery, labels, loss, lambda f: heads.linear(f, 4), epochs, seed
            )
            return search.scores(head(task.query), head(task.gallery))

        return method

    chosen, scores = [], []
    for one in (task, other):
        held_out = one.held_out(np.arange(12, 36), np.arange(12))
        methods = {"frozen": evaluation.cosine, "one": with_epochs(1), "ten": with_epochs(10)}
        validation = {
            name: evaluation.run(method, held_out, [0]).mean("map") for name, method in methods.items()
        }
        chosen.append((evaluation.choose(validation), validation))
        scores.append(evaluation.run(methods[chosen[-1][0]], one, [0]).mean("map"))
    assert chosen[0] == chosen[1]
    assert scores[0] != scores[1]  # the labels were really others


def test_of_equal_rows_the_first_by_name_is_chosen():
    assert evaluation.choose({"b": 0.5, "a": 0.5, "c": 0.4}) == "a"
    with pytest.raises(ValueError, match="no row"):
        evaluation.choose({})


def test_the_table_states_what_it_must(task):
    judged = {
        "frozen": evaluation.run(evaluation.cosine, task, [0]),
        "perfect": evaluation.run(perfect, task, [0]),
    }
    chance = {"map": 0.3, "precision@1": 1 / 3, "precision@5": 1 / 3, "r_precision": 1 / 3, "mrr": 0.5}
    table = evaluation.table(judged, 50, chance)
    assert table.index.tolist() == ["perfect", "frozen", "chance"]
    assert table.loc["perfect", "MAP"] == "100.0 [100.0, 100.0]"
    assert table.loc["chance", "P@1"] == "33.3"
    caption = task.caption("test", seeds=3)
    for said in (
        "15 queries (test)",
        "gallery of 36, 3 classes",
        "3 seeds ± standard",
        "seeds [95 % bootstrap",
    ):
        assert said in caption


def test_a_task_equals_itself_alone_and_can_be_a_key():
    task, twin = task_of([0, 1], [0, 1, 1]), task_of([0, 1], [0, 1, 1])
    assert task == task  # noqa: PLR0124
    assert task != twin
    assert len({task, twin}) == 2


# ---- pairs of images and captions ----


def embeddings_of(n_images, per_image, noise, seed=0):
    images = torch.nn.functional.normalize(gaussian(n_images, 6, 5))
    captions = images.repeat_interleave(per_image, dim=0)
    return images, captions + noise * gaussian(len(captions), 6, 9 + seed)


def pair_task(n_images, image_of):
    """A task to rank; what a method embeds need not be its features."""
    ranked = Pairs(gaussian(n_images, 4), gaussian(len(image_of), 4, 1), image_of)
    return PairTask(ranked, ranked, "twelve drawings")


def test_pairs_are_judged_in_both_directions_over_seeds():
    image_of = np.repeat(np.arange(12), 3)
    task = pair_task(12, image_of)
    found = evaluation.run_pairs(lambda _, seed: embeddings_of(12, 3, 1.0, seed), task, range(2))
    there, back = found.image_to_text, found.text_to_image
    assert there.values["recall@1"].shape == (2, 12)
    assert back.values["recall@1"].shape == (2, 36)
    by_hand = ranks.of_pairs(*embeddings_of(12, 3, 1.0, 1), image_of)
    np.testing.assert_array_equal(back.values["rank"][1], ranks.text_to_image(by_hand)["rank"])
    sums = [each.mean(f"recall@{k}") for each in (there, back) for k in (1, 5, 10)]
    assert found.recall_sum() == pytest.approx(sum(sums))
    medians = [np.median(row) for row in back.values["rank"]]
    assert found.median_rank("text_to_image") == np.mean(medians)
    with pytest.raises(ValueError, match="at least one seed"):
        evaluation.run_pairs(lambda _, seed: embeddings_of(12, 3, 1.0, seed), task, [])


def test_captions_of_one_image_are_drawn_together():
    image_of = np.repeat([0, 2, 5], [4, 4, 4])
    task = pair_task(6, image_of)
    found = evaluation.run_pairs(lambda task, _: (task.ranked.images, task.ranked.captions), task, [0])
    assert found.text_to_image.groups.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert found.image_to_text.groups is None
    assert found.image_to_text.values["map"].shape == (1, 3)  # images 1, 3 and 4 are not described


def test_numbers_and_table_of_pairs():
    task = pair_task(12, np.repeat(np.arange(12), 3))
    judged = {
        "near": evaluation.run_pairs(lambda *_: embeddings_of(12, 3, 0.1), task, [0]),
        "far": evaluation.run_pairs(lambda _, seed: embeddings_of(12, 3, 3.0, seed), task, range(3)),
    }
    numbers = judged["far"].numbers("far", 50)
    for direction in ("image_to_text", "text_to_image"):
        for key in ("recall@1", "recall@5", "recall@10", "map", "map@5", "rank"):
            value = numbers[f"far/{direction}/{key}"]
            assert numbers[f"far/{direction}/{key}/low"] <= value <= numbers[f"far/{direction}/{key}/high"]
        assert numbers[f"far/{direction}/median_rank"] >= 1
    assert numbers["far/recall_sum"] == pytest.approx(judged["far"].recall_sum())
    chance = ranks.chance(task.ranked.image_of, 12)
    table = evaluation.pair_table(judged, 50, chance)
    assert table.index.tolist() == ["near", "far", "chance"]
    assert table.loc["near", "I2T R@1"].startswith("100.0 [100.0, 100.0")
    assert table.loc["near", ["I2T R@5", "I2T R@10", "T2I R@10"]].tolist() == ["100.0"] * 3
    assert " ± " in table.loc["far", "T2I R@1"]
    low, high = judged["far"].text_to_image.interval("recall@1", 50)
    assert table.loc["far", "T2I R@1"].endswith(f" [{100 * low:.1f}, {100 * high:.1f}]")
    assert table.loc["near", "rsum"] == "600.0"
    assert table.loc["chance", "T2I R@1"] == "8.3"
    assert table.loc["chance", "rsum"] == ""


def test_recall_by_gallery_size_ranks_each_part_with_its_captions():
    image_of = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 3))  # not sorted
    images, _ = embeddings_of(30, 3, 0)
    captions = images[image_of] + 0.5 * gaussian(90, 6, 1)
    found = evaluation.recall_by_gallery_size(images, captions, image_of, [30, 12, 1], draws=4)
    assert sorted(found) == [
        f"{way}/recall@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 10)
    ]
    whole = ranks.of_pairs(images, captions, image_of)
    rows = [np.random.default_rng([0, draw]).permutation(30)[:12] for draw in range(4)]
    for name, (sizes, mean, low, high) in found.items():
        assert sizes.tolist() == [1, 12, 30]
        assert mean[0] == low[0] == high[0] == 1  # one image and its captions
        way, metric = name.split("/")
        assert mean[2] == pytest.approx(getattr(ranks, way)(whole)[metric].mean())
        assert low[2] == high[2]
        by_hand = []
        for part in rows:
            kept = np.flatnonzero(np.isin(image_of, part))
            place = np.array([part.tolist().index(image) for image in image_of[kept]])
            counts = ranks.of_pairs(images[part], captions[kept], place)
            by_hand.append(getattr(ranks, way)(counts)[metric].mean())
        np.testing.assert_allclose([mean[1], low[1], high[1]], [np.mean(by_hand), min(by_hand), max(by_hand)])
    assert found["text_to_image/recall@1"][2][1] < found["text_to_image/recall@1"][3][1]


@pytest.mark.parametrize(("sizes", "draws"), [([], 5), ([0], 5), ([13], 5), ([3], 0)])
def test_galleries_that_cannot_be_drawn_are_named(sizes, draws):
    with pytest.raises(ValueError, match=r"sizes from 1 to 12, the images; got"):
        evaluation.recall_by_gallery_size(*embeddings_of(12, 3, 1), np.repeat(np.arange(12), 3), sizes, draws)
