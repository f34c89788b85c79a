"""Judge a method: its rows with intervals, over seeds, on validation and on evaluation queries.

Knows embeddings, labels, search and metrics. Must not know files, notebooks or plots.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from m5utils import metrics, ranks, relevance, search
from m5utils.datasets.listed import LabelledImages
from m5utils.pairs import PairTask


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Task:
    """Queries to answer from a gallery, with the features of one frozen network, and who answers whom.

    Attributes:
        query_images: n_query images and their classes; only the metrics look at these classes.
        gallery_images: n_gallery images and their classes; training sees these and nothing else.
        query: (n_query, dim) float32 features.
        gallery: (n_gallery, dim) float32 features.
    """

    query_images: LabelledImages
    gallery_images: LabelledImages
    query: Tensor
    gallery: Tensor

    def relevance(self) -> np.ndarray:
        """(n_query, n_gallery) bool: the same class."""
        return relevance.same_class(self.query_images.labels, self.gallery_images.labels)

    def held_out(self, fit_rows: np.ndarray, validation_rows: np.ndarray) -> "Task":
        """The task to choose by: some rows of the gallery are the queries, others the gallery.

        The queries of this task do not enter it.
        """
        return Task(
            self.gallery_images.take(validation_rows),
            self.gallery_images.take(fit_rows),
            self.gallery[validation_rows],
            self.gallery[fit_rows],
        )

    def caption(self, split: str, seeds: int = 1) -> str:
        """What every table must state: split, numbers of queries and gallery images, seeds, interval."""
        return (
            f"{len(self.query_images):,} queries ({split}), gallery of {len(self.gallery_images):,}, "
            f"{len(self.gallery_images.classes)} classes. Percent: mean over queries and "
            f"{metrics.over_seeds(seeds)} [95 % bootstrap interval over queries]."
        )


Method = Callable[[Task, int], Tensor]
"""What is judged: from a task and a seed to (n_query, n_gallery) scores, larger = better."""


@dataclass(frozen=True)
class Judgement:
    """Every metric of every query under every seed.

    Attributes:
        values: Metric name to (n_seed, n_query) float64.
        groups: (n_query,) which queries are drawn together when intervals are estimated, see
            `metrics.bootstrap_interval`; None if each is on its own.
    """

    values: dict[str, np.ndarray]
    groups: np.ndarray | None = None

    def mean(self, metric: str) -> float:
        """The mean over seeds and queries."""
        return float(self.values[metric].mean())

    def per_query(self, metric: str) -> np.ndarray:
        """(n_query,) the mean over seeds."""
        return self.values[metric].mean(axis=0)

    def std(self, metric: str) -> float:
        """The standard deviation over seeds of the mean over queries (n - 1; 0 for a single seed)."""
        per_seed = self.values[metric].mean(axis=1)
        return float(per_seed.std(ddof=1)) if len(per_seed) > 1 else 0.0

    def cell(self, metric: str, resamples: int) -> str:
        """For a table: mean ± standard deviation over seeds, if there are several [95 % interval]."""
        std = self.std(metric) if len(self.values[metric]) > 1 else None
        return metrics.in_percent(self.mean(metric), std, *self.interval(metric, resamples))

    def interval(self, metric: str, resamples: int) -> tuple[float, float]:
        """Low and high of the 95 % bootstrap interval of the mean over queries."""
        return metrics.bootstrap_interval(self.per_query(metric), resamples, seed=0, groups=self.groups)

    def numbers(self, prefix: str, resamples: int) -> dict[str, float]:
        """The keys of DESIGN.md: `prefix/metric`, and beside it `/std`, `/low` and `/high`."""
        keyed = {}
        for metric in self.values:
            low, high = self.interval(metric, resamples)
            key = f"{prefix}/{metric}"
            keyed |= {
                key: self.mean(metric),
                f"{key}/std": self.std(metric),
                f"{key}/low": low,
                f"{key}/high": high,
            }
        return keyed


def run(method: Method, task: Task | Callable[[int], Task], seeds: Iterable[int]) -> Judgement:
    """Run a method once per seed, and judge it.

    Args:
        method: From a task and a seed to scores.
        task: A task, or a function from a seed to one (where a network of its own is trained for every seed).
        seeds: At least one.
    """
    tasks = ((task(seed) if callable(task) else task, seed) for seed in seeds)
    per_seed = [metrics.evaluate(method(of_seed, seed), of_seed.relevance()) for of_seed, seed in tasks]
    if not per_seed:
        raise ValueError("nothing to judge: expected at least one seed, got none.")
    return Judgement(_stacked(per_seed))


@dataclass(frozen=True)
class PairJudgement:
    """Both directions between images and captions, see `ranks.image_to_text` for the metrics."""

    image_to_text: Judgement
    text_to_image: Judgement

    def directions(self) -> dict[str, Judgement]:
        """The two by name."""
        return {"image_to_text": self.image_to_text, "text_to_image": self.text_to_image}

    def recall_sum(self) -> float:
        """R@1 + R@5 + R@10 of both directions, from 0 to 6: what choices are made by."""
        return ranks.recall_sum(self.image_to_text.values, self.text_to_image.values)

    def median_rank(self, direction: str) -> float:
        """The median over queries of the first right answer's rank (from 1), meaned over seeds."""
        return float(np.median(self.directions()[direction].values["rank"], axis=1).mean())

    def numbers(self, prefix: str, resamples: int) -> dict[str, float]:
        """The keys of DESIGN.md: `prefix/direction/metric` and its like; `prefix/recall_sum`."""
        keyed = {f"{prefix}/recall_sum": self.recall_sum()}
        for direction, each in self.directions().items():
            keyed |= each.numbers(f"{prefix}/{direction}", resamples)
            keyed[f"{prefix}/{direction}/median_rank"] = self.median_rank(direction)
        return keyed


PairMethod = Callable[[PairTask, int], tuple[Tensor, Tensor]]
"""What is judged: from a task and a seed to embeddings of the ranked images and of their captions."""


def run_pairs(method: PairMethod, task: PairTask, seeds: Iterable[int]) -> PairJudgement:
    """Embed images and captions once per seed, and rank each for the other.

    Args:
        method: Gives embeddings (n_images, dim) and (n_captions, dim); scores are inner products.
        task: What to learn from, and what to rank.
        seeds: At least one.
    """
    image_of = task.ranked.image_of
    found = [ranks.of_pairs(*method(task, seed), image_of) for seed in seeds]
    if not found:
        raise ValueError("nothing to judge: expected at least one seed, got none.")
    there = [ranks.image_to_text(one) for one in found]
    back = [ranks.text_to_image(one) for one in found]
    images = np.unique(image_of, return_inverse=True)[1]
    return PairJudgement(Judgement(_stacked(there)), Judgement(_stacked(back), images))


def recall_by_gallery_size(
    images: Tensor,
    captions: Tensor,
    image_of: np.ndarray,
    sizes: Iterable[int],
    draws: int = 5,
    seed: int = 0,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """R@1 and R@10 among fewer images: random ones with all their captions, drawn several times.

    A draw is one order of all images; its smaller galleries are the beginnings of its larger ones. Results on
    1,000 images of COCO and on 5,000 are two points of such a line.

    Args:
        images: Embeddings (n_images, dim); scores are inner products.
        captions: Embeddings (n_captions, dim).
        image_of: (n_captions,) the image that each caption describes.
        sizes: Numbers of images, each from 1 to n_images.
        draws: How many random orders.
        seed: Of the orders.

    Returns:
        "direction/recall@k" to (sizes, mean, lowest, highest over draws), each (n_sizes,), for
        `plots_of_pairs.by_gallery_size`.

    Raises:
        ValueError: If a size is out of range or there is no draw, and as `ranks.of_pairs`.
    """
    sizes = np.array(sorted(sizes), dtype=np.int64)
    if draws < 1 or not len(sizes) or sizes[0] < 1 or sizes[-1] > len(images):
        raise ValueError(
            f"expected draws >= 1 and sizes from 1 to {len(images)}, the images; "
            f"got {draws} draws of {sizes.tolist()}"
        )
    order = np.argsort(image_of, kind="stable")
    captions, image_of = captions[order], image_of[order]
    orders = [np.random.default_rng([seed, draw]).permutation(len(images)) for draw in range(draws)]
    found = {}
    for size in sizes:
        for shuffled in orders:
            rows = np.sort(shuffled[:size])
            chosen, place = relevance.captions_of(image_of, rows)
            counts = ranks.of_pairs(images[rows], captions[chosen], place)
            both = {
                "image_to_text": ranks.image_to_text(counts),
                "text_to_image": ranks.text_to_image(counts),
            }
            for direction, values in both.items():
                for metric in ("recall@1", "recall@10"):
                    found.setdefault(f"{direction}/{metric}", []).append(values[metric].mean())
    tables = {name: np.reshape(values, (len(sizes), draws)) for name, values in found.items()}
    return {
        name: (sizes, table.mean(axis=1), table.min(axis=1), table.max(axis=1))
        for name, table in tables.items()
    }


def _stacked(per_seed: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {metric: np.stack([values[metric] for values in per_seed]) for metric in per_seed[0]}


def cosine(task: Task, seed: int) -> Tensor:  # noqa: ARG001 - nothing is random
    """The method that learns nothing: cosine similarity of the features as they are."""
    return search.scores(task.query, task.gallery)


def table_of_intervals(judged: dict[str, Judgement], resamples: int, metric: str = "map") -> pd.DataFrame:
    """Rows `value`, `low`, `high` of one metric, for `plots.intervals`."""
    rows = {}
    for name, judgement in judged.items():
        low, high = judgement.interval(metric, resamples)
        rows[name] = {"value": judgement.mean(metric), "low": low, "high": high}
    return pd.DataFrame.from_dict(rows, orient="index")


def candidates(numbers: dict[str, float], metric: str) -> dict[str, float]:
    """The rows that have a score on validation, by name; settings (`row/setting/...`) are none.

    Args:
        numbers: Of notebooks, by key.
        metric: "map" or "recall_sum".

    Example:
        >>> candidates({"a/validation/map": 0.5, "a/b/validation/map": 0.6, "c/map": 0.7}, "map")
        {'a': 0.5}
    """
    end = f"/validation/{metric}"
    found = {key.removesuffix(end): value for key, value in numbers.items() if key.endswith(end)}
    return {name: value for name, value in sorted(found.items()) if "/" not in name}


def choose(validation: dict[str, float]) -> str:
    """The name of the row with the highest validation score; of equals, the first by name.

    Evaluation scores are not an argument, and that is the point.
    """
    if not validation:
        raise ValueError("no row to choose from: expected at least one validation score.")
    return min(validation, key=lambda name: (-validation[name], name))


SHOWN = {"map": "MAP", "precision@1": "P@1", "precision@5": "P@5", "r_precision": "R-precision", "mrr": "MRR"}


def table(
    judged: dict[str, Judgement], resamples: int, chance: dict[str, float] | None = None
) -> pd.DataFrame:
    """Rows for reading, best MAP first: mean ± std over seeds and the 95 % interval over queries, in percent.

    Args:
        judged: Method name to judgement.
        resamples: Of the bootstrap.
        chance: Metric to chance level, for a last row.
    """
    rows = {}
    for name in sorted(judged, key=lambda name: -judged[name].mean("map")):
        rows[name] = {title: judged[name].cell(metric, resamples) for metric, title in SHOWN.items()}
    if chance is not None:
        rows["chance"] = {title: f"{100 * chance[metric]:.1f}" for metric, title in SHOWN.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def pair_table(
    judged: dict[str, PairJudgement], resamples: int, chance: dict[str, dict[str, float]] | None = None
) -> pd.DataFrame:
    """Rows for reading, best sum of recalls first, R@K in percent; with R@1 its interval over images.

    Args:
        judged: Method name to judgement.
        resamples: Of the bootstrap.
        chance: Of `ranks.chance`, for a last row.
    """
    rows = {}
    for name in sorted(judged, key=lambda name: -judged[name].recall_sum()):
        rows[name] = {}
        for direction, each in judged[name].directions().items():
            short = _SHORT[direction]
            rows[name][f"{short} R@1"] = each.cell("recall@1", resamples)
            rows[name] |= {f"{short} R@{k}": f"{100 * each.mean(f'recall@{k}'):.1f}" for k in (5, 10)}
            rows[name][f"{short} median"] = f"{judged[name].median_rank(direction):.0f}"
        rows[name]["rsum"] = f"{100 * judged[name].recall_sum():.1f}"
    if chance is not None:
        rows["chance"] = {
            f"{_SHORT[direction]} R@{k}": f"{100 * level[f'recall@{k}']:.1f}"
            for direction, level in chance.items()
            for k in (1, 5, 10)
        }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("").rename_axis("method")


_SHORT = {"image_to_text": "I2T", "text_to_image": "T2I"}
