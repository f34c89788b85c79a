"""How well a ranking follows relevance that has degrees, at every number R of retrieved items at once.

Knows scores (larger = better) and gains, as arrays of queries × gallery. Must not know what a gain was
computed from, embeddings or files.

`metrics.ndcg` speaks of the whole gallery and is the last point of `ndcg_at` where R is its size; a curve
over R needs the order once for all R, hence a module of its own. Everything is in float64, some queries at a
time: beside what is given and returned, memory does not grow with the number of queries.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

MOST = 128  # retrieved items, at most, in the curves of the notebooks
QUERIES = 256  # that are sorted at a time


def ndcg_at(scores: ArrayLike, gains: ArrayLike, most: int) -> np.ndarray:
    """Normalised discounted cumulative gain of the first R items, for R = 1, …, `most`.

    DCG@R = Σ over the positions p <= R of gain / log₂(1 + p), divided by that of the best R items of the
    gallery. Tied items share the mean of their gains, so constant scores are at chance.

    Args:
        scores: (n_query, n_gallery), larger = better.
        gains: (n_query, n_gallery), how relevant: finite, not negative, above 0 at least once per query.
        most: The largest R, 1 <= most <= n_gallery.

    Returns:
        (n_query, most) float64 in [0, 1], equal to `sklearn.metrics.ndcg_score` with k = R.

    Raises:
        ValueError: If shapes differ, a score is not finite, gains are not as above or `most` is out of range.

    Example:
        >>> ndcg_at([[0.9, 0.8, 0.7]], [[0.0, 0.5, 0.5]], most=2)  # nothing, then 0.63 of 1 + 0.63
        array([[0.        , 0.38685281]])

    Reference: Järvelin, Kekäläinen, ACM TOIS 2002.
    """

    def of_one(score: np.ndarray, gain: np.ndarray) -> np.ndarray:
        order = np.argsort(-score, kind="stable")
        begins = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])  # of each tie
        sizes = np.diff(begins, append=len(score))
        shared = np.repeat(np.add.reduceat(gain[order], begins) / sizes, sizes)
        return np.cumsum(shared[:most] * _discounts(most))

    reached = _each(scores, gains, most, most, of_one)
    return np.minimum(reached / _ideal(np.asarray(gains, dtype=np.float64), most), 1.0)


def pearson_at(scores: ArrayLike, gains: ArrayLike, most: int) -> np.ndarray:
    """Pearson's correlation of score and gain over the first R items, for R = 2, …, `most` ("PCC").

    Of one item there is no correlation, so curves begin at R = 2. Where all R scores or all R gains are the
    same it is undefined: NaN, which `area` leaves out. Of tied scores the lower gallery index comes first.

    Args:
        scores: As `ndcg_at`.
        gains: As `ndcg_at`.
        most: The largest R, 2 <= most <= n_gallery.

    Returns:
        (n_query, most - 1) float64 in [-1, 1], or NaN.

    Raises:
        ValueError: As `ndcg_at`.

    Example:
        >>> pearson_at([[3.0, 2.0, 1.0]], [[0.1, 0.1, 0.0]], most=3).round(3)
        array([[  nan, 0.866]])

    Slides: "Experiments: Implementation": "PCC measures the correlation between ground-truth and predicted
    ranking scores". They do not say over which items, nor from which R to which R the area is taken.
    """
    if most < 2:
        raise ValueError(f"expected most >= 2: of a single item there is no correlation; got {most}")

    def of_one(score: np.ndarray, gain: np.ndarray) -> np.ndarray:
        first = np.argsort(-score, kind="stable")[:most]
        x, y, n = score[first], gain[first], np.arange(1, most + 1)
        x, y = x - x.mean(), y - y.mean()  # sums of what is near 0 lose no digits
        products = np.cumsum(x * y) - np.cumsum(x) * np.cumsum(y) / n
        spreads = [np.cumsum(z * z) - np.cumsum(z) ** 2 / n for z in (x, y)]
        same = [np.maximum.accumulate(z) == np.minimum.accumulate(z) for z in (x, y)]
        defined = ~(same[0] | same[1]) & (spreads[0] > 0) & (spreads[1] > 0)
        found = np.full(most, np.nan)
        np.divide(
            products, np.sqrt(spreads[0] * spreads[1], where=defined, out=np.ones(most)), found, where=defined
        )
        return np.clip(found, -1, 1)[1:]

    return _each(scores, gains, most, most - 1, of_one)


def area(curve: ArrayLike) -> np.ndarray:
    """Area under each query's curve over R, as a fraction: the mean of its defined points.

    Returns:
        (n_query,) float64; NaN for a query whose curve is nowhere defined.

    Example:
        >>> area([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan]])
        array([0.75,  nan])
    """
    curve = np.asarray(curve, dtype=np.float64)
    defined = ~np.isnan(curve)
    n = defined.sum(axis=1)
    total = np.where(defined, curve, 0.0).sum(axis=1)
    return np.divide(total, n, out=np.full(len(curve), np.nan), where=n > 0)


def chance_ndcg_at(gains: ArrayLike, most: int) -> np.ndarray:
    """What `ndcg_at` gives on average over all orders of the gallery, exactly, meaned over queries.

    E[DCG@R] = mean gain × Σ 1 / log₂(1 + p). (`pearson_at` gives 0 on average: every order has its mirror.)

    Returns:
        (most,) float64.

    Example:
        >>> chance_ndcg_at([[1.0, 0.0]], most=2)
        array([0.5       , 0.81546488])
    """
    gains = _checked_gains(gains, most)
    expected = gains.mean(axis=1, keepdims=True) * np.cumsum(_discounts(most))
    return (expected / _ideal(gains, most)).mean(axis=0)


def without(matrix: np.ndarray, columns: ArrayLike) -> np.ndarray:
    """Leave one column out of each row: a query that is itself in the gallery does not answer itself.

    Args:
        matrix: (n_query, n_gallery).
        columns: (n_query,) the gallery index to leave out.

    Returns:
        (n_query, n_gallery - 1).

    Example:
        >>> without(np.array([[1, 2, 3], [4, 5, 6]]), [0, 2])
        array([[2, 3],
               [4, 5]])
    """
    keep = np.ones(matrix.shape, dtype=bool)
    keep[np.arange(len(matrix)), np.asarray(columns)] = False
    return matrix[keep].reshape(len(matrix), -1)


def _each(scores: ArrayLike, gains: ArrayLike, most: int, width: int, of_one: Callable) -> np.ndarray:
    """(n_query, width): what `of_one` makes of every query's scores and gains."""
    scores, gains = np.asarray(scores), np.asarray(gains)
    if scores.shape != gains.shape or scores.ndim != 2:
        raise ValueError(f"expected a gain for every score; got shapes {scores.shape} and {gains.shape}")
    found = np.empty((len(scores), width))
    for first in range(0, len(scores), QUERIES):
        rows = slice(first, first + QUERIES)
        score, gain = scores[rows].astype(np.float64), _checked_gains(gains[rows], most, first)
        if not np.isfinite(score).all():
            bad = first + int(np.flatnonzero(~np.isfinite(score).all(axis=1))[0])
            raise ValueError(f"scores must be finite; those of query {bad} are not")
        found[rows] = [of_one(*pair) for pair in zip(score, gain, strict=True)]
    return found


def _checked_gains(gains: ArrayLike, most: int, first: int = 0) -> np.ndarray:
    gains = np.asarray(gains, dtype=np.float64)
    if gains.ndim != 2:
        raise ValueError(f"expected gains (n_query, n_gallery); got shape {gains.shape}")
    if not 1 <= most <= gains.shape[1]:
        raise ValueError(
            f"expected 1 <= R <= {gains.shape[1]}, the gallery without the query; got up to R = {most}. "
            "Retrieve fewer, or search a larger gallery."
        )
    if not (np.isfinite(gains).all() and (gains >= 0).all()):
        raise ValueError("gains must be finite and not negative")
    nothing = ~gains.any(axis=1)
    if nothing.any():
        raise ValueError(
            f"query {first + int(nothing.argmax())} has no relevant item at all ({int(nothing.sum())} such "
            "queries): no order of the gallery is better than another. Leave these queries out."
        )
    return gains


def _discounts(n: int) -> np.ndarray:
    return 1 / np.log2(np.arange(2, n + 2))


def _ideal(gains: np.ndarray, most: int) -> np.ndarray:
    """(n_query, most) the best DCG@R."""
    found = np.empty((len(gains), most))
    for first in range(0, len(gains), QUERIES):
        rows = slice(first, first + QUERIES)
        found[rows] = np.cumsum(-np.sort(-gains[rows], axis=1)[:, :most] * _discounts(most), axis=1)
    return found
