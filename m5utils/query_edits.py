"""Words that change a query, "+ cat - dog", and which images answer the changed query.

Knows texts of changes, and counts of what images show. Must not know images, captions or embeddings.
Slides: "Qualitative Results", "+ wedding", "+ cat dog".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIGNS = {"+": 1.0, "-": -1.0, "−": -1.0}
CHANGE = re.compile(r"\s*([+\-−])\s*([^\s+−][^+−]*?)\s*(?=\s[+\-−]|[+−]|$)")


def parsed(text: str) -> list[tuple[str, float]]:
    """The words of a change, each with what it counts: 1 or -1.

    Raises:
        ValueError: If it is not a list of signs with words.

    Example:
        >>> parsed("+ cat − dog")
        [('cat', 1.0), ('dog', -1.0)]
    """
    found, end = [], 0
    while match := CHANGE.match(text, end):
        found.append((match[2], SIGNS[match[1]]))
        end = match.end()
    if not found or text[end:].strip():
        raise ValueError(f'expected signs with words, such as "+ cat - dog"; got {text!r}')
    return found


@dataclass(frozen=True, eq=False)
class Changes:
    """Queries of which something is replaced, and what answers them.

    Attributes:
        query: (n,) which image.
        minus: (n,) the column of what it shows and should not.
        plus: (n,) the column of what it should show instead.
        relevance: (n, n_images) bool: shows the new and not the old, in a setting like the query's.
    """

    query: np.ndarray
    minus: np.ndarray
    plus: np.ndarray
    relevance: np.ndarray


def replacements(shows: np.ndarray, setting: Sequence[object], n: int, seed: int = 0) -> Changes:
    """Draw changes "+ this - that" which some images answer.

    Args:
        shows: (n_images, n_columns) how much of what each image shows.
        setting: (n_images,) what is to stay as it is.
        n: How many, at most: fewer where there are no more.
        seed: Of the draw.

    Raises:
        ValueError: If no change has an answer, or settings are not one an image.

    Example:
        >>> dog, cat = [1, 0], [0, 1]
        >>> changes = replacements(np.array([dog, cat, cat]), ["park", "park", "room"], n=9)
        >>> [(int(q), row.tolist()) for q, row in zip(changes.query, changes.relevance) if q == 0]
        [(0, [False, True, False])]
    """
    shows, setting = np.asarray(shows) > 0, np.asarray(setting)
    if len(setting) != len(shows):
        raise ValueError(f"expected a setting for each of {len(shows)} images; got {len(setting)}")
    possible = [
        (query, minus, plus)
        for query in range(len(shows))
        for minus in np.flatnonzero(shows[query])
        for plus in np.flatnonzero(~shows[query])
        if (shows[:, plus] & ~shows[:, minus] & (setting == setting[query])).any()
    ]
    if not possible:
        raise ValueError("no change has an answer: expected images of one setting that show different things")
    drawn = np.random.default_rng(seed).permutation(len(possible))[:n]
    query, minus, plus = np.array([possible[one] for one in np.sort(drawn)], dtype=np.int64).T
    relevance = shows[:, plus].T & ~shows[:, minus].T & (setting[query][:, None] == setting)
    return Changes(query, minus, plus, relevance)
