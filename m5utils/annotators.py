"""Simulated people who judge which of two scenes is more like a third: by what is in them, with mistakes.

Knows facts about scenes, as counts by kind. Must not know captions, words, pictures or a method that is
judged: whoever agreed with a proxy because both read the captions would prove nothing.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

Scene = Sequence[Counter]
"""A counter for each kind of fact, the kinds in one order: objects, attributes, relations, place."""

IMPORTANCE = (4.0, 2.0, 1.0, 2.0)  # of the kinds, to people on average
SPREAD = 12.0  # how much they agree on that: the sum of the Dirichlet distribution's parameters


def overlap(one: Counter, other: Counter) -> float | None:
    """Σ min / Σ max of two counters, the weighted Jaccard index; None if both are empty.

    Example:
        >>> overlap(Counter(dog=2, cat=1), Counter(dog=1))
        0.3333333333333333
    """
    both = (one | other).total()
    return (one & other).total() / both if both else None


def similarity(one: Scene, other: Scene, weights: Sequence[float]) -> float:
    """How alike two scenes are, in [0, 1]: the weighted mean of `overlap` over the kinds that one has."""
    overlaps = [overlap(*pair) for pair in zip(one, other, strict=True)]
    said = [(weight, value) for weight, value in zip(weights, overlaps, strict=True) if value is not None]
    total = sum(weight for weight, _ in said)
    return sum(weight * value for weight, value in said) / total if total else 0.0


def choices(
    scenes: Sequence[Scene], triplets: np.ndarray, annotators: int = 5, noise: float = 0.05, seed: int = 0
) -> np.ndarray:
    """What they answer.

    Each finds the kinds of facts important in a measure of its own, drawn once around `IMPORTANCE`, and
    chooses the scene that is more like the query by that; where both are equally like it, by chance. In a
    share `noise` of the cases the hand slips, and it is the other one. Two who agreed on what is important
    would agree in (1 - noise)² + noise² of the triplets without a tie.

    Args:
        scenes: n scenes.
        triplets: (n_triplets, 3) of query, left, right: numbers of scenes.
        annotators: How many.
        noise: From 0 to 0.5, where answers are no better than chance.
        seed: Of the importance, the ties and the slips.

    Returns:
        (annotators, n_triplets) int8: 1 left, -1 right.

    Raises:
        ValueError: If there is nobody, or noise is out of range.
    """
    if annotators < 1 or not 0 <= noise <= 0.5:
        raise ValueError(f"expected annotators >= 1 and noise from 0 to 0.5; got {annotators} and {noise}")
    rng, found = np.random.default_rng(seed), []
    mean = np.array(IMPORTANCE) / sum(IMPORTANCE)
    for _ in range(annotators):
        weights = rng.dirichlet(SPREAD * mean)
        left, right = (
            np.array([similarity(scenes[row[0]], scenes[row[side]], weights) for row in triplets])
            for side in (1, 2)
        )
        tied = np.where(rng.random(len(triplets)) < 0.5, 1, -1)
        better = np.where(np.isclose(left, right), tied, np.sign(left - right))
        found.append(np.where(rng.random(len(triplets)) < noise, -better, better))
    return np.array(found, dtype=np.int8)
