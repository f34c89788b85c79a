"""Pictures and the objects in them, as features and counts: what is learned from, and what is searched.

Knows feature vectors and counts of categories. Must not know how either was made. Slides: P4 (e).
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from m5utils import metrics, products, relevance

LABELS = ("full", "file")
ALIKE = 0.5  # a weighted Jaccard index from which two pictures count as alike where yes or no is asked


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Pictures:
    """Features of n pictures and how many objects of each category are in them.

    Attributes:
        features: (n, dim) float32.
        counts: (n, n_categories) whole numbers: what all instance labels know, "full".
        listed: (n, n_categories), 1 where the protocol's file lists the picture, "file".
        ids: (n,) int64, what tells a picture from all others.
    """

    features: Tensor
    counts: np.ndarray
    listed: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        """Refuse features that are not finite, and counts of other pictures."""
        products.check_finite(self.features, "features")
        sizes = {len(self.features), len(self.counts), len(self.listed), len(self.ids)}
        if len(sizes) > 1 or self.counts.shape != self.listed.shape:
            raise ValueError(
                f"expected as many counts, listed categories and ids as features, {len(self.features)}; got "
                f"{self.counts.shape}, {self.listed.shape} and {len(self.ids)}"
            )

    def take(self, rows: np.ndarray) -> "Pictures":
        """The pictures in these rows, in this order."""
        return Pictures(self.features[rows], self.counts[rows], self.listed[rows], self.ids[rows])

    def labelled(self, labels: str) -> np.ndarray:
        """(n, n_categories) counts, by one of `LABELS`.

        Raises:
            ValueError: If there are no such labels.
        """
        if labels not in LABELS:
            raise ValueError(f"expected labels out of {', '.join(LABELS)}; got {labels!r}")
        return self.counts if labels == "full" else self.listed


@dataclass(frozen=True, eq=False)
class ObjectTask:
    """Pictures to learn from, and queries to answer from a gallery.

    Attributes:
        train: What is learned from; the gallery may lie inside, queries may not.
        query: n_query pictures; only the metrics look at their counts.
        gallery: n_gallery pictures.
        setting: What was taken out of which files; every table prints it.
    """

    train: Pictures
    query: Pictures
    gallery: Pictures
    setting: str

    def __post_init__(self) -> None:
        """Refuse queries that could find themselves, or were learned from."""
        for name, others in (("gallery", self.gallery), ("train set", self.train)):
            inside = np.isin(self.query.ids, others.ids)
            if inside.any():
                raise ValueError(
                    f"picture {self.query.ids[inside][0]} is a query and in the {name} ({int(inside.sum())} "
                    "such): it would find itself. Leave it out of one of them."
                )

    def gains(self, rule: str, labels: str = "full") -> np.ndarray:
        """(n_query, n_gallery) float64 in [0, 1], how relevant, see `relevance.shared_objects`."""
        counts = self.query.labelled(labels), self.gallery.labelled(labels)
        return relevance.shared_objects(*counts, rule).astype(np.float64)

    def relevance(self, rule: str, labels: str = "full") -> np.ndarray:
        """(n_query, n_gallery) bool: relevant or not, see `answers`."""
        return answers(self.query.labelled(labels), self.gallery.labelled(labels), rule)

    def held_out(self, fit_rows: np.ndarray, validation_rows: np.ndarray) -> "ObjectTask":
        """The task to choose by: some pictures of train are the queries, the others train and gallery."""
        fit, validation = self.train.take(fit_rows), self.train.take(validation_rows)
        return replace(self, train=fit, query=validation, gallery=fit, setting="validation part of train")

    def caption(self, seeds: int = 1) -> str:
        """What every table must state: setting, sizes, seeds, interval."""
        return (
            f"{self.setting}: {len(self.query.ids):,} queries, gallery of {len(self.gallery.ids):,}. "
            f"Percent: mean over the queries that have an answer and {metrics.over_seeds(seeds)} "
            "[95 % bootstrap interval over queries]."
        )


def answers(query_counts: np.ndarray, gallery_counts: np.ndarray, rule: str) -> np.ndarray:
    """Relevant or not, (n_query, n_gallery) bool: a rule of `relevance.shared_objects`.

    "weighted" has degrees; from `ALIKE` on the answer is yes.

    Example:
        >>> answers(np.array([[1, 1]]), np.array([[2, 0], [2, 1]]), "weighted")  # 1/3 and 2/3
        array([[False,  True]])
    """
    degrees = relevance.shared_objects(query_counts, gallery_counts, rule)
    return degrees >= ALIKE if rule == "weighted" else degrees
