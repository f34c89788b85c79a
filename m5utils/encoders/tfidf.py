"""Tf-idf of whole captions: which rare words and pairs of words they share, the plain baseline of text.

Knows texts. Must not know datasets, caches, images or word vectors.
Slides: P5, "Word embeddings": what the learned ones have to beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import svd_flip
from threadpoolctl import threadpool_limits
from torch import Tensor

from m5utils.encoders.text import words

SPARE, ROUNDS = 10, 3  # of the search from random directions: how many more than asked for, repetitions
AT_ONCE = 8192  # rows in float64 at a time
NOTHING = 1e-4  # a direction with less than this part of the first one's length is rounding


@dataclass(frozen=True, eq=False)  # equal if it is the same one: arrays have no one answer to ==
class TfIdf:
    """Weights of words and pairs of words, and the directions in which the captions of train differ most.

    Attributes:
        weights: scikit-learn's vectorizer, fitted.
        directions: (n_terms, dim) float32, orthonormal columns, the one that holds most first.
    """

    weights: TfidfVectorizer
    directions: np.ndarray

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.directions.shape[1]

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """(n, dim) float32 rows of length 1; zeros for a caption without a word that was fitted on."""
        rows = (
            self.weights.transform(captions) @ self.directions if len(captions) else np.zeros((0, self.dim))
        )
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)).float()


def fit(captions: Sequence[str], dim: int = 600) -> TfIdf:
    """Learn tf-idf and its main directions (latent semantic analysis) from the captions of train.

    Terms are single words and pairs of neighbours that stand in at least two captions, (1 + log tf) · idf,
    each caption's row divided by its length. The directions are the right singular vectors of these rows,
    found at random from one seed, so that the same captions give the same directions.

    Args:
        captions: Of train, and of nothing else.
        dim: How many directions, at least 1; the captions may span fewer.

    Raises:
        ValueError: If dim is below 1 or no word stands in two captions.

    Reference: Deerwester et al., "Indexing by latent semantic analysis", 1990; Halko, Martinsson, Tropp,
    "Finding structure with randomness", 2011.

    Example:
        >>> encode = fit(["a red ball", "a red dog", "the dog", "the ball"], dim=3)
        >>> encode(["a red car", "zebras"]).norm(dim=1)
        tensor([1., 0.])
    """
    if dim < 1:
        raise ValueError(f"expected dim >= 1; got {dim}")
    weights = TfidfVectorizer(
        tokenizer=words,
        token_pattern=None,
        lowercase=False,  # `words` does it
        ngram_range=(1, 2),
        sublinear_tf=True,
        min_df=2,
        dtype=np.float32,
    )
    try:
        rows = weights.fit_transform(captions)
    except ValueError as error:
        raise ValueError(
            f"expected a word that stands in two captions or more; got {len(captions)} captions without one: "
            "fit on the captions of train."
        ) from error
    with threadpool_limits(1, "blas"):  # the same whatever the number of threads, and no wait for a busy core
        return TfIdf(weights, _directions(rows, dim))


def _directions(rows: sparse.csr_matrix, dim: int) -> np.ndarray:
    """The first right singular vectors of sparse rows, (n_terms, dim or fewer) float32.

    Subspace iteration that takes all it needs from matrices of size × size. scikit-learn's `TruncatedSVD`
    iterates alike, but ends with the decomposition of a size × n_terms matrix: most of a minute.
    """
    size = min(dim + SPARE, *rows.shape)
    found = np.random.default_rng(0).standard_normal((rows.shape[0], size), dtype=np.float32)
    for _ in range(ROUNDS):
        span = _orthonormal(rows.T @ found)
        found = _orthonormal(rows @ span)
    span = _orthonormal(rows.T @ found)
    turned = _principal(rows @ span)[1][:, :dim].astype(np.float32)
    return np.ascontiguousarray(svd_flip(None, (span @ turned).T, u_based_decision=False)[1].T)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Columns of length 1 at right angles that span the same, without what is rounding."""
    lengths, turned = _principal(columns)
    return columns @ (turned / lengths).astype(np.float32)


def _principal(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values, the largest first, and right singular vectors of a tall matrix, by its Gram matrix."""
    wide = (columns[first : first + AT_ONCE].astype(np.float64) for first in range(0, len(columns), AT_ONCE))
    squares, turned = np.linalg.eigh(sum(part.T @ part for part in wide))
    kept = np.flatnonzero(squares > NOTHING**2 * squares[-1])[::-1]
    return np.sqrt(squares[kept]), turned[:, kept]
