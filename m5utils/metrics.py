"""How good a ranking is: average precision and its relatives, chance levels, intervals.

Knows scores (larger = better) and relevance, as arrays of queries × gallery. Must not know embeddings,
classes, captions or files.

Ties. Average precision and the precision-recall curves put one threshold on each group of equal scores,
as scikit-learn does. All other metrics look at positions, and there tied non-relevant items come *before*
the relevant ones. So constant scores are at chance level or below by every metric, never at 100 %.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DRAWN_AT_ONCE = 2**18  # queries of the bootstrap


def average_precision(scores: ArrayLike, relevance: ArrayLike) -> np.ndarray:
    """Area under each query's precision-recall steps, over the whole gallery; its mean is MAP.

    AP = Σ over the relevant items of (precision down to the item's score) / (number of relevant items).

    Args:
        scores: (n_query, n_gallery), larger = better.
        relevance: (n_query, n_gallery) bool, at least one True per query.

    Returns:
        (n_query,) float64 in (0, 1], equal to `sklearn.metrics.average_precision_score` of each query.

    Raises:
        ValueError: If the shapes differ, a score is NaN or Inf, or a query has no relevant item; the
            first such query is named.

    Example:
        >>> average_precision([[0.9, 0.8, 0.7]], [[True, False, True]])  # (1/1 + 2/3) / 2
        array([0.83333333])

    Reference: Manning, Raghavan, Schütze, "Introduction to Information Retrieval", ch. 8.
    """
    return _measure(scores, relevance, {"map": _average_precision})["map"]


def precision_at_k(scores: ArrayLike, relevance: ArrayLike, k: int) -> np.ndarray:
    """Fraction of each query's first k items that are relevant.

    Args and errors as `average_precision`; also ValueError unless 1 <= k <= n_gallery.

    Example:
        >>> precision_at_k([[0.9, 0.8, 0.7]], [[True, False, True]], k=2)
        array([0.5])
    """
    return _measure(scores, relevance, {"": lambda ranked: _hits(ranked, k) / k}, [k])[""]


def recall_at_k(scores: ArrayLike, relevance: ArrayLike, k: int) -> np.ndarray:
    """Fraction of each query's relevant items that are among its first k.

    Papers on captions print `hit_rate_at_k` under the name "R@k". Args and errors as `precision_at_k`.

    Example:
        >>> recall_at_k([[0.9, 0.8, 0.7]], [[True, False, True]], k=1)
        array([0.5])
    """
    return _measure(scores, relevance, {"": lambda ranked: _recall(ranked, k)}, [k])[""]


def hit_rate_at_k(scores: ArrayLike, relevance: ArrayLike, k: int) -> np.ndarray:
    """1.0 where at least one relevant item is among a query's first k, else 0.0.

    Args and errors as `precision_at_k`.

    Example:
        >>> hit_rate_at_k([[0.9, 0.8, 0.7]], [[False, False, True]], k=2)
        array([0.])
    """
    return _measure(scores, relevance, {"": lambda ranked: np.minimum(_hits(ranked, k), 1.0)}, [k])[""]


def r_precision(scores: ArrayLike, relevance: ArrayLike) -> np.ndarray:
    """Precision of each query's first R items, R being its number of relevant items.

    Args and errors as `average_precision`.

    Example:
        >>> r_precision([[0.9, 0.8, 0.7]], [[True, False, True]])
        array([0.5])
    """
    return _measure(scores, relevance, {"": _r_precision})[""]


def reciprocal_rank(scores: ArrayLike, relevance: ArrayLike) -> np.ndarray:
    """1 / position (from 1) of each query's first relevant item; its mean is MRR.

    Args and errors as `average_precision`.

    Example:
        >>> reciprocal_rank([[0.9, 0.8, 0.7]], [[False, True, True]])
        array([0.5])
    """
    return _measure(scores, relevance, {"": _reciprocal_rank})[""]


def evaluate(scores: ArrayLike, relevance: ArrayLike, ks: Sequence[int] = (1, 5)) -> dict[str, np.ndarray]:
    """Every metric of every query, from one ranking.

    Args:
        scores: (n_query, n_gallery), larger = better.
        relevance: (n_query, n_gallery) bool, at least one True per query.
        ks: Cut-offs, each 1 <= k <= n_gallery.

    Returns:
        "map", "precision@k" and "recall@k" of every k, "r_precision", "mrr" → (n_query,) float64.

    Raises:
        ValueError: As `precision_at_k`.
    """
    formulas: dict[str, Callable] = {"map": _average_precision}
    formulas |= {f"precision@{k}": lambda ranked, k=k: _hits(ranked, k) / k for k in ks}
    formulas |= {f"recall@{k}": lambda ranked, k=k: _recall(ranked, k) for k in ks}
    formulas |= {"r_precision": _r_precision, "mrr": _reciprocal_rank}
    return _measure(scores, relevance, formulas, ks)


def chance(relevance: ArrayLike, ks: Sequence[int] = (1, 5)) -> dict[str, float]:
    """What `evaluate` gives on average over all orders of the gallery, exactly, meaned over queries.

    With R relevant items out of N: E[AP] = (H_N + (R-1)/(N-1) (N - H_N)) / N with H_N = Σ 1/i,
    E[P@k] = E[R-precision] = R/N, E[R@k] = k/N, E[1/rank] = Σ_r C(N-r, R-1) / C(N, R) / r.

    Args:
        relevance: (n_query, n_gallery) bool, at least one True per query.
        ks: Cut-offs, each 1 <= k <= n_gallery.

    Returns:
        The keys of `evaluate` → fraction.

    Example:
        >>> chance([[True, False]], ks=(1,))
        {'map': 0.75, 'precision@1': 0.5, 'recall@1': 0.5, 'r_precision': 0.5, 'mrr': 0.75}

    Reference: Bestgen, "Exact expected average precision of the random baseline for system evaluation", 2015.
    """
    relevance = _relevance(relevance)
    n_gallery = relevance.shape[1]
    _check_ks(ks, n_gallery)
    n_relevant = relevance.sum(axis=1)
    base = float(n_relevant.mean() / n_gallery)
    harmonic = (1 / np.arange(1, n_gallery + 1)).sum()
    share = (n_relevant - 1) / max(n_gallery - 1, 1)
    levels = {"map": float(((harmonic + share * (n_gallery - harmonic)) / n_gallery).mean())}
    levels |= {f"precision@{k}": base for k in ks}
    levels |= {f"recall@{k}": k / n_gallery for k in ks}
    distinct, which = np.unique(n_relevant, return_inverse=True)
    first_rank = np.array([_expected_reciprocal_rank(n_gallery, int(r)) for r in distinct])
    return levels | {"r_precision": base, "mrr": float(first_rank[which].mean())}


def ndcg(scores: ArrayLike, gains: ArrayLike) -> np.ndarray:
    """Normalised discounted cumulative gain over the whole gallery, for relevance that has degrees.

    DCG = Σ over the positions p of gain / log₂(1 + p), divided by that of the best order. Tied items share
    the mean of their discounts.

    Args:
        scores: (n_query, n_gallery), larger = better.
        gains: (n_query, n_gallery), how relevant: finite, not negative, above 0 at least once per query.

    Returns:
        (n_query,) float64 in (0, 1], equal to `sklearn.metrics.ndcg_score` of each query.

    Raises:
        ValueError: If the shapes differ, a score is NaN or Inf, or gains are not as above.

    Example:
        >>> ndcg([[0.9, 0.8, 0.7]], [[0.0, 0.0, 0.5]])  # the only answer stands third: 1 / log2(4)
        array([0.5])

    Reference: Järvelin, Kekäläinen, ACM TOIS 2002.
    """
    gains = _gains(gains)
    scores = _checked_scores(scores, gains.shape)
    reached = np.empty(len(scores))
    for query, (score, gain) in enumerate(zip(scores, gains, strict=True)):
        order = np.argsort(-score)
        place = np.flatnonzero(np.r_[True, score[order][1:] != score[order][:-1]])  # where each tie begins
        of_tie = np.add.reduceat(gain[order], place)
        sizes = np.diff(place, append=len(score))
        reached[query] = (of_tie * np.add.reduceat(_discounts(len(score)), place) / sizes).sum()
    return reached / _ideal(gains)


def chance_ndcg(gains: ArrayLike) -> float:
    """What `ndcg` gives on average over all orders of the gallery, exactly, meaned over queries.

    E[DCG] = mean gain × Σ 1 / log₂(1 + p). Args and errors as `ndcg`.

    Example:
        >>> chance_ndcg([[1.0, 0.0]])  # first or second: (1 + 1 / log2(3)) / 2
        0.8154648767857288
    """
    gains = _gains(gains)
    return float((gains.mean(axis=1) * _discounts(gains.shape[1]).sum() / _ideal(gains)).mean())


def precision_recall_curve(scores: ArrayLike, relevance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision at recall 0, 0.01, …, 1, meaned over queries.

    Interpolated precision at recall r is the best precision at any recall >= r.
    Args and errors as `average_precision`.

    Returns:
        Recall (101,) and mean precision (101,), which never rises.

    Example:
        >>> recall, precision = precision_recall_curve([[0.9, 0.8, 0.7]], [[True, False, True]])
        >>> precision[[0, 50, 51, 100]]
        array([1.        , 1.        , 0.66666667, 0.66666667])
    """
    return _interpolated(scores, relevance, steps=100)


def eleven_point(scores: ArrayLike, relevance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision at recall 0, 0.1, …, 1, meaned over queries: the classic 11-point curve.

    Args, errors and returns as `precision_recall_curve`, with (11,) arrays.

    Reference: Manning, Raghavan, Schütze, "Introduction to Information Retrieval", ch. 8.
    """
    return _interpolated(scores, relevance, steps=10)


def seed_group_map(first_neighbour_correct: ArrayLike, query_labels: ArrayLike) -> float:
    """What group G7's slides print as "MAP". It is NOT a mean average precision.

    Their call hands scikit-learn the (query × k) hits as truth and the query's *class id* as score, and
    scikit-learn then reads the first column only. So it is one average precision over the queries,
    sorted by class id, of "is neighbour 1 right?": near P@1, blind to neighbours 2, 3, …, and different
    when the classes are numbered differently. Printed beside the true MAP so that 0.9545 can be compared.

    Args:
        first_neighbour_correct: Whether each query's first neighbour is relevant (n_query,) bool.
        query_labels: Class id of each query (n_query,).

    Returns:
        A fraction; 0.0 if no first neighbour is correct, as scikit-learn says.

    Reference: PEERS.md §1a, inakiLakunza/MCV-C5-G7, W3/tasks_a_b_c_d/model_classes.py, line 201.
    """
    correct, labels = np.asarray(first_neighbour_correct), np.asarray(query_labels)
    if correct.ndim != 1 or correct.shape != labels.shape:
        raise ValueError(f"expected one hit and one label per query; got {correct.shape} and {labels.shape}")
    return float(average_precision(labels[None], correct[None])[0]) if correct.any() else 0.0


def bootstrap_interval(
    values: ArrayLike, resamples: int, seed: int, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean over queries.

    Args:
        values: One metric of every query (n_query,).
        resamples: How many times the queries are drawn again, with replacement.
        seed: Of the draws.
        groups: (n_query,) the number of each query's group, from 0 without a gap: the captions of
            one image are not independent, so images are drawn, each with all its captions.

    Returns:
        Low and high: the 2.5 and 97.5 percentiles of the resamples' means.

    Raises:
        ValueError: If values are not (n_query,) finite numbers, groups do not fit, or resamples < 1.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", ch. 13.
    """
    values = _values(values)
    if resamples < 1:
        raise ValueError(f"expected resamples >= 1; got {resamples}")
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if groups.shape != values.shape:
        raise ValueError(f"expected the group of each of {len(values)} queries; got shape {groups.shape}")
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    if not sizes.all():
        raise ValueError(f"group {int(sizes.argmin())} has no query: number the groups without a gap")
    draw, means = np.random.default_rng(seed), []
    some = max(1, DRAWN_AT_ONCE // len(sums))  # a table of all indices is 1 GB at 1,000 × 125,000
    for first in range(0, resamples, some):
        drawn = draw.integers(len(sums), size=(min(some, resamples - first), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def over_seeds(n_seeds: int) -> str:
    """What a table's caption says of its repetitions: "1 seed", or how many and that ± is their deviation."""
    return "1 seed" if n_seeds == 1 else f"{n_seeds} seeds ± standard deviation over seeds"


def in_percent(mean: float, std: float | None, low: float, high: float) -> str:
    """A table's cell: mean ± standard deviation (None: there was one seed) [interval].

    Example:
        >>> in_percent(0.973, 0.002, 0.96, 0.984)
        '97.3 ± 0.2 [96.0, 98.4]'
    """
    spread = "" if std is None else f" ± {100 * std:.1f}"
    return f"{100 * mean:.1f}{spread} [{100 * low:.1f}, {100 * high:.1f}]"


def paired_difference(
    values_a: ArrayLike, values_b: ArrayLike, resamples: int, seed: int, groups: ArrayLike | None = None
) -> tuple[float, float, float]:
    """Mean of a - b over the same queries, with its 95 % bootstrap interval.

    Args:
        values_a: One metric of every query by method a (n_query,).
        values_b: The same of method b, in the same order.
        resamples: As `bootstrap_interval`.
        seed: As `bootstrap_interval`.
        groups: As `bootstrap_interval`.

    Returns:
        Mean difference, low, high: the methods differ where the interval excludes 0.
    """
    a, b = _values(values_a), _values(values_b)
    if a.shape != b.shape:
        raise ValueError(f"expected the same queries; got {len(a)} and {len(b)} values")
    return float((a - b).mean()), *bootstrap_interval(a - b, resamples, seed, groups)


# ---- graded relevance ----


def _discounts(n: int) -> np.ndarray:
    return 1 / np.log2(np.arange(2, n + 2))


def _ideal(gains: np.ndarray) -> np.ndarray:
    return -np.sort(-gains, axis=1) @ _discounts(gains.shape[1])


# ---- one query's ranking, and the formulas on it ----


class _Ranked(NamedTuple):
    """Queries × positions, best first.

    Attributes:
        relevant: bool, tied non-relevant items before the relevant ones.
        precision: float64, down to and including all items that tie with this position.
    """

    relevant: np.ndarray
    precision: np.ndarray


def _average_precision(ranked: _Ranked) -> np.ndarray:
    return np.einsum("qp,qp->q", ranked.relevant, ranked.precision) / ranked.relevant.sum(axis=1)


def _hits(ranked: _Ranked, k: int) -> np.ndarray:
    return ranked.relevant[:, :k].sum(axis=1)


def _recall(ranked: _Ranked, k: int) -> np.ndarray:
    return _hits(ranked, k) / ranked.relevant.sum(axis=1)


def _r_precision(ranked: _Ranked) -> np.ndarray:
    n_relevant = ranked.relevant.sum(axis=1)
    return np.array([row[:r].sum() / r for row, r in zip(ranked.relevant, n_relevant, strict=True)])


def _reciprocal_rank(ranked: _Ranked) -> np.ndarray:
    return 1 / (1 + ranked.relevant.argmax(axis=1))


def _measure(
    scores: ArrayLike, relevance: ArrayLike, formulas: dict[str, Callable], ks: Sequence[int] = ()
) -> dict[str, np.ndarray]:
    """Every formula's value of every query."""
    scores, relevance = _checked(scores, relevance)
    _check_ks(ks, relevance.shape[1])
    parts = [[formula(ranked) for formula in formulas.values()] for ranked in _ranked(scores, relevance)]
    columns = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    return dict(zip(formulas, columns, strict=True))


def _ranked(scores: np.ndarray, relevance: np.ndarray) -> Iterator[_Ranked]:
    """Sort some queries at a time: what is in work fits the processor's cache, and memory is bounded."""
    n_query, n_gallery = scores.shape
    position = np.arange(1, n_gallery + 1)
    rows = max(1, 100_000 // n_gallery)
    for first in range(0, n_query, rows):
        part = scores[first : first + rows]
        order = np.argsort(-part, axis=1)  # in any order among ties: both outputs are the same then
        relevant = np.take_along_axis(relevance[first : first + rows], order, axis=1)
        found = np.cumsum(relevant, axis=1)
        ordered = np.take_along_axis(part, order, axis=1)
        is_last = np.ones_like(relevant)
        is_last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
        if is_last.all():
            yield _Ranked(relevant, found / position)
            continue
        # `last` is the position at which a position's tie ends. The r relevant items of a tie go to its
        # end: a position is relevant if fewer than r follow it there.
        last = np.minimum.accumulate(np.where(is_last, position, n_gallery)[:, ::-1], axis=1)[:, ::-1]
        found_by_last = np.take_along_axis(found, last - 1, axis=1)
        is_first = np.roll(is_last, 1, axis=1)  # the last position is always the end of a tie
        found_before = np.maximum.accumulate(np.where(is_first, found - relevant, 0), axis=1)
        yield _Ranked(last - position < found_by_last - found_before, found_by_last / last)


def _interpolated(scores: ArrayLike, relevance: ArrayLike, steps: int) -> tuple[np.ndarray, np.ndarray]:
    scores, relevance = _checked(scores, relevance)
    total = np.zeros(steps + 1)
    for ranked in _ranked(scores, relevance):
        best = np.maximum.accumulate(ranked.precision[:, ::-1], axis=1)[:, ::-1]
        for relevant, precision in zip(ranked.relevant, best, strict=True):
            at_relevant = precision[relevant]
            # Recall i/steps is reached at relevant item number ceil(R i / steps), in whole numbers.
            number = -(-len(at_relevant) * np.arange(steps + 1) // steps)
            total += at_relevant[np.maximum(number, 1) - 1]
    return np.arange(steps + 1) / steps, total / len(scores)


def _expected_reciprocal_rank(n_gallery: int, n_relevant: int) -> float:
    """Σ_r P(first relevant item at position r) / r, with P(r) = P(none before) R / (N - r + 1)."""
    position = np.arange(1, n_gallery - n_relevant + 2)
    left = n_gallery - position + 1
    none_before = np.concatenate([[1.0], np.cumprod(1 - n_relevant / left[:-1])])
    return float((none_before * n_relevant / left / position).sum())


# ---- what is not accepted ----


def _checked(scores: ArrayLike, relevance: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    relevance = _relevance(relevance)
    return _checked_scores(scores, relevance.shape), relevance


def _checked_scores(scores: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.shape != shape:
        raise ValueError(f"expected scores of shape {shape}, as relevance; got {scores.shape}")
    if scores.dtype != np.float32:  # float32 sorts twice as fast, to the same ranking
        scores = scores.astype(np.float64)
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        query = int(finite.argmin())
        raise ValueError(f"the scores of query {query} hold NaN or Inf ({int((~finite).sum())} such queries)")
    return scores


def _gains(gains: ArrayLike) -> np.ndarray:
    gains = np.asarray(gains, dtype=np.float64)
    if gains.ndim != 2 or not gains.size:
        raise ValueError(f"expected gains (n_query, n_gallery), not empty; got shape {gains.shape}")
    if not np.isfinite(gains).all() or (gains < 0).any():
        raise ValueError(f"expected finite gains, not below 0; got {gains.min()} to {gains.max()}")
    answered = gains.any(axis=1)
    if not answered.all():
        query, missing = int(answered.argmin()), int((~answered).sum())
        raise ValueError(f"query {query} has no gain in the gallery ({missing} such): leave these out")
    return gains


def _relevance(relevance: ArrayLike) -> np.ndarray:
    relevance = np.asarray(relevance)
    if relevance.ndim != 2 or not relevance.size:
        raise ValueError(f"expected relevance (n_query, n_gallery), not empty; got shape {relevance.shape}")
    if relevance.dtype != bool:
        raise ValueError(f"expected relevance of bool; got {relevance.dtype}")
    answered = relevance.any(axis=1)
    if not answered.all():
        query, missing = int(answered.argmin()), int((~answered).sum())
        raise ValueError(
            f"query {query} has no relevant item in the gallery ({missing} such queries): leave these out"
        )
    return relevance


def _check_ks(ks: Sequence[int], n_gallery: int) -> None:
    for k in ks:
        if not 1 <= k <= n_gallery:
            raise ValueError(f"expected 1 <= k <= {n_gallery}, the size of the gallery; got k={k}")


def _values(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"expected finite values (n_query,), at least one; got {values!r}")
    return values
