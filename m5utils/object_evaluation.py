"""Judge a search for pictures by the objects in them, under every rule and by both labels.

Knows scores, counts and metrics. Must not know files, notebooks or plots. Slides: P4 (e).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from m5utils import heads, metrics, object_heads, search
from m5utils.evaluation import Judgement
from m5utils.object_tasks import LABELS, ObjectTask
from m5utils.relevance import RULES

Method = Callable[[ObjectTask, int], Tensor]
"""What is judged: from a task and a seed to (n_query, n_gallery) scores, larger = better."""


def cosine(task: ObjectTask, seed: int) -> Tensor:  # noqa: ARG001 - nothing is random
    """The method that learns nothing: cosine similarity of the features as they are."""
    return search.scores(task.query.features, task.gallery.features)


def triplet(rule: str, epochs: int) -> Method:
    """The method that fits a head on the task's train pictures by triplets of this rule."""

    def method(task: ObjectTask, seed: int) -> Tensor:
        head: heads.Head = object_heads.fit(task.train, rule, epochs=epochs, seed=seed)[0]
        return search.scores(head(task.query.features), head(task.gallery.features))

    return method


def settings() -> list[tuple[str, str, str]]:
    """Every rule by every label: (key, rule, labels); the file does not count objects, so nothing to weigh.

    Example:
        >>> [key for key, *_ in settings()][:3]
        ['selection_full', 'selection_file', 'aggregation_full']
    """
    every = [(f"{rule}_{labels}", rule, labels) for rule in RULES for labels in LABELS]
    return [one for one in every if one[0] != "weighted_file"]


def judge(method: Method, task: ObjectTask, seeds: Iterable[int]) -> dict[str, Judgement]:
    """Run a method once per seed, and judge its scores under every rule and by both labels.

    Args:
        method: From a task and a seed to scores.
        task: What to learn from, and what to search.
        seeds: At least one.

    Returns:
        Key of `settings` to the metrics of `metrics.evaluate`, of the queries that have an answer, and
        "ndcg", of those that any picture of the gallery has something in common with.

    Raises:
        ValueError: If there is no seed, or under some rule no query has an answer.
    """
    of_seeds = [method(task, seed).cpu().numpy() for seed in seeds]
    if not of_seeds:
        raise ValueError("nothing to judge: expected at least one seed, got none.")
    judged = {}
    for key, relevant, answered, gains, shared in _asked(task):
        per_seed = [
            metrics.evaluate(scores[answered], relevant) | {"ndcg": metrics.ndcg(scores[shared], gains)}
            for scores in of_seeds
        ]
        judged[key] = Judgement(
            {metric: np.stack([values[metric] for values in per_seed]) for metric in per_seed[0]}
        )
    return judged


def chance(task: ObjectTask) -> dict[str, dict[str, float]]:
    """What a random order of the gallery gives, exactly: key of `settings` to metric to level."""
    return {
        key: metrics.chance(relevant) | {"ndcg": metrics.chance_ndcg(gains)}
        for key, relevant, _, gains, _ in _asked(task)
    }


def _asked(task: ObjectTask) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Per setting: its key, the relevance of the queries with an answer, which these are; gains likewise."""
    for key, rule, labels in settings():
        relevant, gains = task.relevance(rule, labels), task.gains(rule, labels)
        answered, shared = _answered(relevant, key), gains.any(axis=1)
        yield key, relevant[answered], answered, gains[shared], shared


def unanswered(task: ObjectTask) -> dict[str, int]:
    """How many queries have no answer in the gallery, and count nowhere: key of `settings` to number."""
    return {key: int((~task.relevance(rule, labels).any(axis=1)).sum()) for key, rule, labels in settings()}


def by_category(
    values: np.ndarray, counts: np.ndarray, categories: Sequence[str]
) -> dict[str, tuple[float, int]]:
    """Mean of a metric over the queries that have an object of a category, and how many these are.

    Args:
        values: (n_query,) of a metric.
        counts: (n_query, n_categories) of the same queries.
        categories: Their names.

    Returns:
        Name to mean and number, best first; categories that no query has are left out.
    """
    has = counts > 0
    means = {
        name: (float(values[has[:, place]].mean()), int(has[:, place].sum()))
        for place, name in enumerate(categories)
        if has[:, place].any()
    }
    return dict(sorted(means.items(), key=lambda item: (-item[1][0], item[0])))


def map_among(scores: Tensor, relevant: np.ndarray, rows: np.ndarray) -> float:
    """MAP among some of the gallery, over the queries that have an answer there.

    Args:
        scores: (n_query, n_gallery), larger = better.
        relevant: (n_query, n_gallery) bool.
        rows: (n,) the rows of the gallery that are searched.
    """
    relevant = relevant[:, rows]
    answered = _answered(relevant, f"a gallery of {len(rows)}")
    return float(
        metrics.average_precision(scores.cpu().numpy()[answered][:, rows], relevant[answered]).mean()
    )


def _answered(relevant: np.ndarray, key: str) -> np.ndarray:
    answered = relevant.any(axis=1)
    if not answered.any():
        raise ValueError(f"{key}: none of {len(relevant)} queries has an answer in the gallery.")
    return answered
