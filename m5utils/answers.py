"""The first answers to many queries, and where the first right one stands: what one looks at, not a metric.

Knows embeddings and groups of items that belong together. Must not know files or pages.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from m5utils import search

TOP = 10  # answers that are kept of a query
# Comparisons on which the time depends: more queries than this allows are answered for a random part.
COMPARISONS = 400_000_000
AT_A_TIME = 30_000_000  # scores in memory


@dataclass(frozen=True)
class Answers:
    """Of n queries.

    Attributes:
        rows: (n,) which queries these are.
        found: (n, k) gallery items, best first.
        scores: (n, k) float32, larger = more similar.
        ranks: (n,) of the first right answer, from 1, wrong ones of a tie before it; 0 if there is none.
    """

    rows: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray


def first_answers(
    query: Tensor,
    query_group: np.ndarray,
    gallery: Tensor,
    gallery_group: np.ndarray,
    distance: str = "cosine",
    own: np.ndarray | None = None,
) -> Answers:
    """The answers of queries from a gallery; right are those of the query's group.

    Args:
        query: Embeddings (n_query, dim).
        query_group: (n_query,) whole numbers.
        gallery: Embeddings (n_gallery, dim).
        gallery_group: (n_gallery,) whole numbers.
        distance: One of `search.DISTANCES`.
        own: (n_query,) where in the gallery the query itself lies, -1 if nowhere; it is no answer.

    Returns:
        All queries, or a random part of them (seed 0) that takes `COMPARISONS`.

    Raises:
        ValueError: As `search.nearest`.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
        >>> first_answers(rows, np.array([0, 0, 1]), rows, np.array([0, 0, 1]), own=np.arange(3)).ranks
        array([1, 1, 0])
    """
    rows = np.arange(len(query))
    most = max(1, COMPARISONS // len(gallery))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))
    query, query_group = query[rows], query_group[rows]
    own = np.full(len(rows), -1) if own is None else own[rows]
    without_own = int((own >= 0).any())
    k = min(TOP, len(gallery) - without_own)
    scores, found = search.nearest(query, gallery, k + without_own, distance=distance)
    scores, found = scores.cpu().numpy(), found.cpu().numpy()
    if without_own:
        keep = found != own[:, None]
        keep &= np.cumsum(keep, axis=1) <= k
        scores, found = scores[keep].reshape(len(rows), k), found[keep].reshape(len(rows), k)
    ranks = _ranks(query, query_group, gallery, gallery_group, own, distance)
    return Answers(rows, found, scores, ranks)


def _ranks(
    query: Tensor,
    query_group: np.ndarray,
    gallery: Tensor,
    gallery_group: np.ndarray,
    own: np.ndarray,
    distance: str,
) -> np.ndarray:
    """(n_query,) the rank of the first right answer, see `Answers`."""
    ranks, step = np.zeros(len(query), dtype=np.int64), max(1, AT_A_TIME // len(gallery))
    by_group = np.argsort(gallery_group, kind="stable")
    firsts, ends = (np.searchsorted(gallery_group[by_group], query_group, side) for side in ("left", "right"))
    for first in range(0, len(query), step):
        scores = search.scores(query[first : first + step], gallery, distance).cpu().numpy()
        for row, of_row in enumerate(scores, start=first):
            right = by_group[firsts[row] : ends[row]]
            right = right[right != own[row]]
            if own[row] >= 0:
                of_row[own[row]] = -np.inf
            if len(right):
                best = of_row[right].max()
                ranks[row] = 1 + (of_row >= best).sum() - (of_row[right] >= best).sum()
    return ranks
