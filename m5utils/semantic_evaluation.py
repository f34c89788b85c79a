"""Judge a search for images that mean the same: NDCG and Pearson's correlation over R, by the texts' proxy.

Knows scores, sparse rows of words and metrics. Must not know files, notebooks or plots.
Slides: Gordo and Larlus, CVPR 2017, "Experiments", Table 2 and Figure 2.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m5utils import graded, metrics, search, semantic_heads
from m5utils.evaluation import Judgement
from m5utils.semantic_heads import Recipe
from m5utils.semantic_triplets import Described

ROWS = 256  # queries whose scores are held at a time

Scorer = Callable[[slice], np.ndarray]
"""From some queries to (n, n_gallery) float64 scores, larger = better."""


@dataclass(frozen=True, eq=False)
class SemanticTask:
    """Images to learn from, and others that are searched for one another.

    Attributes:
        train: What is learned from.
        ranked: Each is a query, and all others are its gallery; gains are the products of their texts.
        setting: What was taken out of which dataset; every table prints it.
    """

    train: Described
    ranked: Described
    setting: str

    def gains(self, rows: slice) -> np.ndarray:
        """(n, n_gallery) float64: how alike the texts of some queries are to all."""
        texts = self.ranked.texts.astype(np.float64)
        return (texts[rows] @ texts.T).toarray()

    def held_out(self, fit_rows: np.ndarray, validation_rows: np.ndarray) -> "SemanticTask":
        """The task to choose by: some images of train are learned from, others are searched."""
        fit, validation = self.train.take(fit_rows), self.train.take(validation_rows)
        return replace(self, train=fit, ranked=validation, setting="validation part of train")

    def caption(self, seeds: int, most: int = graded.MOST) -> str:
        """What every table must state: setting, sizes, R, seeds, interval."""
        n = len(self.ranked)
        return (
            f"{self.setting}: {n:,} queries, each with the other {n - 1:,} images as gallery. Area under "
            f"NDCG (R = 1 to {most}) and PCC (R = 2 to {most}) in percent; gains are tf-idf similarities of "
            f"the captions. Mean over queries and {metrics.over_seeds(seeds)} [95 % "
            "bootstrap interval over queries]."
        )


Method = Callable[[SemanticTask, int], Scorer]
"""What is judged: from a task and a seed to scores."""


def by_inner_product(query: Tensor, gallery: Tensor) -> Scorer:
    """Scores of embeddings."""
    left, right = query.double(), gallery.double()
    return lambda rows: (left[rows] @ right.T).numpy()


def as_they_are(task: SemanticTask, seed: int) -> Scorer:  # noqa: ARG001 - nothing is random
    """The visual baseline: cosine of the features."""
    features = search.unit(task.ranked.features)
    return by_inner_product(features, features)


def text_oracle(task: SemanticTask, seed: int) -> Scorer:  # noqa: ARG001
    """Who ranks by the very proxy that is the truth."""
    return task.gains


def at_random(task: SemanticTask, seed: int) -> Scorer:
    """Any order."""
    n = len(task.ranked)
    return lambda rows: np.random.default_rng([seed, rows.start]).random((min(rows.stop, n) - rows.start, n))


def trained(recipe: Recipe, with_text: bool = False) -> Method:
    """The method that fits a model on the task's train images.

    Args:
        recipe: How.
        with_text: Whether the query's own text asks along with its picture ("V+T" at test time). The gallery
            is pictures alone.
    """

    def method(task: SemanticTask, seed: int) -> Scorer:
        images, texts = semantic_heads.fit(task.train, recipe, seed)[0].embed(task.ranked)
        asked = semantic_heads.image_and_text(images, texts) if with_text else images
        return by_inner_product(asked, images)

    return method


@dataclass(frozen=True)
class Curves:
    """How well a method does at every R, meaned over queries and seeds.

    Attributes:
        judged: Areas of every query, "ndcg_auc" and "pcc_auc"; the latter without the queries of which no
            point is defined.
        ndcg: (most,) for R = 1, ….
        pcc: (most - 1,) for R = 2, …, each over the queries for which it is defined.
        undefined: Share of the points of PCC that are not defined: constant scores or constant gains.
    """

    judged: Judgement
    ndcg: np.ndarray
    pcc: np.ndarray
    undefined: float


def judge(method: Method, task: SemanticTask, seeds: Iterable[int], most: int = graded.MOST) -> Curves:
    """Run a method once per seed, and judge its order of the gallery.

    Some queries at a time: scores and gains of all are never held together.

    Args:
        method: From a task and a seed to scores.
        task: What to learn from, and what to search.
        seeds: At least one.
        most: The largest R, see `graded`.

    Raises:
        ValueError: If there is no seed, R is larger than the gallery, or a query has nothing in common with
            any image.
    """
    curves = [_curves(method(task, seed), task, most) for seed in seeds]
    if not curves:
        raise ValueError("nothing to judge: expected at least one seed, got none.")
    ndcg, pcc = (np.stack(of_each) for of_each in zip(*curves, strict=True))  # (seed, query, R)
    areas = {"ndcg_auc": np.stack([graded.area(one) for one in ndcg])}
    correlation = np.stack([graded.area(one) for one in pcc])
    areas["pcc_auc"] = correlation[:, ~np.isnan(correlation).any(axis=0)]
    defined = ~np.isnan(pcc)
    mean = np.where(defined, pcc, 0).sum(axis=(0, 1)) / np.maximum(defined.sum(axis=(0, 1)), 1)
    return Curves(Judgement(areas), ndcg.mean(axis=(0, 1)), mean, float(1 - defined.mean()))


def _curves(scorer: Scorer, task: SemanticTask, most: int) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for first in range(0, len(task.ranked), ROWS):
        rows = slice(first, first + ROWS)
        itself = np.arange(len(task.ranked))[rows]
        scores, gains = (graded.without(of(rows), itself) for of in (scorer, task.gains))
        found.append((graded.ndcg_at(scores, gains, most), graded.pearson_at(scores, gains, most)))
    ndcg, pcc = (np.concatenate(of_each) for of_each in zip(*found, strict=True))
    return ndcg, pcc


def chance(task: SemanticTask, most: int = graded.MOST) -> np.ndarray:
    """(most,) what NDCG is on average over all orders, exactly; of PCC it is 0."""
    found = []
    for first in range(0, len(task.ranked), ROWS):
        rows = slice(first, first + ROWS)
        itself = np.arange(len(task.ranked))[rows]
        of_rows = graded.chance_ndcg_at(graded.without(task.gains(rows), itself), most)
        found.append(len(itself) * of_rows)
    return np.sum(found, axis=0) / len(task.ranked)


def similarities(scorer: Scorer, task: SemanticTask, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and gains of pairs of images drawn by chance, for the drawing of one against the other.

    Args:
        scorer: Of a method.
        task: Whose images.
        n: How many pairs.
        seed: Of the draw.

    Returns:
        Two (n,) float64.
    """
    rng, size = np.random.default_rng(seed), len(task.ranked)
    query = rng.integers(size, size=n)
    other = (query + rng.integers(1, size, size=n)) % size
    found = np.empty((2, n))
    for first in range(0, size, ROWS):
        rows = slice(first, first + ROWS)
        mine = np.flatnonzero((query >= first) & (query < first + ROWS))
        for values, of in zip(found, (scorer, task.gains), strict=True):
            values[mine] = of(rows)[query[mine] - first, other[mine]]
    return found[0], found[1]


def nearest(scorer: Scorer, n_query: int, k: int) -> np.ndarray:
    """(n_query, k) int64: the other images that a method finds first."""
    found = []
    for first in range(0, n_query, ROWS):
        scores = scorer(slice(first, first + ROWS)).copy()
        scores[np.arange(len(scores)), np.arange(first, first + len(scores))] = -np.inf
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


@torch.no_grad()
def edited(images: Tensor, words: Tensor, counts: Tensor) -> Tensor:
    """Queries that are changed by words: φ + Σ ± θ(word), of length 1.

    Args:
        images: (n, dim) φ.
        words: (n_words, dim) θ of single words.
        counts: (n, n_words) what each word counts in each query: 1, -1 or 0.
    """
    return torch.nn.functional.normalize(images + counts.to(words) @ words)


def numbers(curves: Curves, prefix: str, resamples: int) -> dict[str, float]:
    """The keys of DESIGN.md: `prefix/ndcg_auc`, `prefix/pcc_auc` and their like, `prefix/pcc_undefined`.

    A correlation that is defined for no query at all has no key.
    """
    values = {name: of_name for name, of_name in curves.judged.values.items() if of_name.size}
    return Judgement(values).numbers(prefix, resamples) | {f"{prefix}/pcc_undefined": curves.undefined}


def table(judged: dict[str, Curves], resamples: int, agreement: dict[str, str] | None = None) -> pd.DataFrame:
    """Rows for reading, in the order given, in percent.

    Args:
        judged: Method name to curves.
        resamples: Of the bootstrap.
        agreement: Method name to its agreement with a user study, for a column of its own.
    """
    rows = {}
    for name, curves in judged.items():
        rows[name] = {
            title: curves.judged.cell(metric, resamples) if curves.judged.values[metric].size else "undefined"
            for metric, title in (("ndcg_auc", "NDCG AUC"), ("pcc_auc", "PCC AUC"))
        }
        if agreement is not None:
            rows[name]["US"] = agreement.get(name, "–")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
