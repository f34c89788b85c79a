"""A study in triplets: which of two images is more like a third, asked of people and of methods.

Knows the study's file, images by name, and scores. Must not know pictures, captions or how a method works.
Slides: "User Study: Dataset, Methodology and Inter-user Agreement".

The file is CSV with the heading `annotator,query,left,right,choice`: a line per answer, images by any names,
the choice `left` or `right`.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from m5utils import paths

FIELDS = ("annotator", "query", "left", "right", "choice")
CHOICES = {"left": 1, "right": -1}
NEIGHBOURS = 50  # of a query in the visual space; its two images are drawn from them


@dataclass(frozen=True, eq=False)
class Study:
    """Who chose what.

    Attributes:
        triplets: Names of query, left and right.
        annotators: Their names.
        choices: (n_annotators, n_triplets) int8: 1 left, -1 right, 0 not asked.
    """

    triplets: tuple[tuple[str, str, str], ...]
    annotators: tuple[str, ...]
    choices: np.ndarray

    def __post_init__(self) -> None:
        """Refuse triplets that nobody answered."""
        if self.choices.shape != (len(self.annotators), len(self.triplets)):
            raise ValueError(
                f"expected choices of {len(self.annotators)} annotators on {len(self.triplets)} triplets; "
                f"got shape {self.choices.shape}"
            )
        if not len(self.triplets) or not (self.choices != 0).any(axis=0).all():
            raise ValueError("expected at least one triplet, and an answer to each of them")


def read(file: Path, known: Collection[str] | None = None) -> Study:
    """A study's file.

    Args:
        file: See the module.
        known: Names of images; by default any name will do.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is malformed; the message names the line, what was expected and what stands there.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: expected a study, CSV with {','.join(FIELDS)}.")
    choices: dict[tuple[str, str, str], dict[str, int]] = {}
    with file.open(encoding="utf-8-sig", newline="") as handle:
        lines = csv.reader(handle)
        if tuple(heading := next(lines, [])) != FIELDS:
            raise ValueError(f"{file}, line 1: expected {','.join(FIELDS)}; got {','.join(heading)!r}")
        for fields in lines:
            if fields:
                annotator, *triplet, choice = _answer(fields, f"{file}, line {lines.line_num}", known)
                answers = choices.setdefault(tuple(triplet), {})
                if annotator in answers:
                    raise ValueError(
                        f"{file}, line {lines.line_num}: expected one answer of each annotator to a triplet; "
                        f"{annotator} has answered {', '.join(triplet)} before"
                    )
                answers[annotator] = CHOICES[choice]
    if not choices:
        raise ValueError(f"{file}: expected at least one answer below the heading; got none")
    annotators = tuple(sorted({name for answers in choices.values() for name in answers}))
    table = [[answers.get(name, 0) for answers in choices.values()] for name in annotators]
    return Study(tuple(choices), annotators, np.array(table, dtype=np.int8))


def _answer(fields: list[str], where: str, known: Collection[str] | None) -> list[str]:
    fields = [field.strip() for field in fields]
    if len(fields) != len(FIELDS) or not all(fields):
        raise ValueError(
            f"{where}: expected {len(FIELDS)} fields, {','.join(FIELDS)}; got {','.join(fields)!r}"
        )
    _, query, left, right, choice = fields
    if choice not in CHOICES:
        raise ValueError(f"{where}: expected the choice left or right; got {choice!r}")
    if len({query, left, right}) < 3:
        raise ValueError(f"{where}: expected three different images; got {query}, {left}, {right}")
    strange = [name for name in (query, left, right) if known is not None and name not in known]
    if strange:
        raise ValueError(f"{where}: expected images of this data set; there is no {strange[0]!r} in it")
    return fields


def write(study: Study, file: Path) -> None:
    """Write a study, whole or not at all; `read` gives it back."""
    with paths.published(Path(file)) as part, part.open("w", encoding="utf-8", newline="") as handle:
        lines = csv.writer(handle, lineterminator="\n")
        lines.writerow(FIELDS)
        for place, triplet in enumerate(study.triplets):
            for name, choice in zip(study.annotators, study.choices[:, place], strict=True):
                if choice:
                    lines.writerow([name, *triplet, "left" if choice > 0 else "right"])


def draw(neighbours: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Triplets of queries drawn by chance and two of each one's neighbours.

    Args:
        neighbours: (n_images, k) the nearest other images of each, k >= 2.
        n: How many triplets; no two are of the same three images.
        seed: Of the draw.

    Returns:
        (n, 3) int64: query, left, right.

    Raises:
        ValueError: If there are too few neighbours or different triplets.
    """
    n_images, k = neighbours.shape
    if k < 2 or not 1 <= n <= n_images * k * (k - 1) // 4:
        raise ValueError(
            f"expected at least 2 neighbours, and triplets that are at most half of those there are; got {k} "
            f"neighbours of {n_images} images, and n={n}"
        )
    rng, found, seen = np.random.default_rng(seed), [], set()
    while len(found) < n:
        query = int(rng.integers(n_images))
        left, right = neighbours[query, rng.permutation(k)[:2]].tolist()
        if frozenset((query, left, right)) not in seen:
            seen.add(frozenset((query, left, right)))
            found.append((query, left, right))
    return np.array(found, dtype=np.int64)


def agreement(study: Study, left: ArrayLike, right: ArrayLike) -> np.ndarray:
    """How often the annotators of each triplet choose the image that a method finds more like the query.

    Args:
        study: With n_triplets triplets.
        left: (n_triplets,) the method's score of the left image.
        right: (n_triplets,) of the right one; an equal one agrees with half.

    Returns:
        (n_triplets,) float64 in [0, 1].

    Raises:
        ValueError: If there is not one finite score for each image.
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if left.shape != (len(study.triplets),) or right.shape != left.shape:
        raise ValueError(
            f"expected scores of {len(study.triplets)} left and right images; got {left.shape}, {right.shape}"
        )
    if not np.isfinite(left - right).all():
        raise ValueError("scores must be finite")
    asked = study.choices != 0
    agrees = (1 + study.choices * np.sign(left - right)) / 2
    return (agrees * asked).sum(axis=0) / asked.sum(axis=0)


def between_annotators(study: Study) -> np.ndarray:
    """How often each annotator agrees with the others on the triplets that they share.

    Returns:
        (n_annotators,) float64; NaN for one who shares no triplet with anybody.

    Raises:
        ValueError: If no two annotators share a triplet.

    Example:
        >>> choices = np.array([[1, 1], [1, -1], [1, 0]], dtype=np.int8)
        >>> between_annotators(Study((("q", "a", "b"), ("q", "a", "c")), ("A", "B", "C"), choices))
        array([0.66666667, 0.66666667, 1.        ])
    """
    choices = study.choices.astype(np.float64)
    asked = np.abs(choices)
    same = (choices @ choices.T + asked @ asked.T) / 2
    shared = asked @ asked.T
    for table in (same, shared):
        np.fill_diagonal(table, 0)
    if not shared.any():
        raise ValueError("no two annotators answered the same triplet: they can neither agree nor disagree")
    n = shared.sum(axis=1)
    return np.divide(same.sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)
