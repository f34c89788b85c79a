"""Images with the text that was said about them, and triplets of them drawn by how alike the texts are.

Knows feature vectors and sparse rows of words. Must not know how they were made, what is learned from them,
or a metric. Slides: "Proposed Methods", 5.1: "a semantically similar image, and a semantically dissimilar".
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from m5utils import paths, products

ENTRIES = 2**22  # similarities that are held at a time


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Described:
    """Images as features, and what was said about each as one row of weighted words.

    Attributes:
        features: (n, dim) float32.
        texts: (n, n_terms) float32, rows of length 1, or of zeros where nothing known was said. Their inner
            product is the proxy for how alike two images are in meaning.
    """

    features: Tensor
    texts: sparse.csr_array

    def __post_init__(self) -> None:
        """Refuse features that are not finite, and texts that are not of length 1 (or 0), one an image."""
        products.check_finite(self.features, "image features")
        if self.texts.shape[0] != len(self.features):
            raise ValueError(
                f"expected a text for each of {len(self.features)} images; got {self.texts.shape[0]}"
            )
        lengths = np.sqrt(self.texts.multiply(self.texts).sum(axis=1))
        if not np.all((np.abs(lengths - 1) < 1e-3) | (lengths == 0)):
            raise ValueError("expected rows of texts of length 1 or 0: divide each by its length")

    def __len__(self) -> int:
        """The number of images."""
        return len(self.features)

    @cached_property
    def key(self) -> str:
        """Names their content."""
        texts = self.texts
        parts = (self.features.numpy(), texts.data, texts.indices, texts.indptr, np.array(texts.shape))
        return paths.key_of([paths.key_of_array(part) for part in parts])

    def take(self, rows: np.ndarray) -> "Described":
        """The images in these rows, in this order."""
        return Described(self.features[rows], self.texts[rows])


def most_alike(texts: sparse.csr_array, k: int) -> np.ndarray:
    """For every row the k others whose inner product with it is largest, best first.

    Block by block: the n × n similarities are never held. Of equal ones the lower index comes first.

    Args:
        texts: (n, n_terms).
        k: How many, 1 <= k <= n - 1.

    Returns:
        (n, k) int64.

    Raises:
        ValueError: If k is out of range.

    Example:
        >>> most_alike(sparse.csr_array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), k=1).ravel()
        array([2, 2, 1])
    """
    n = texts.shape[0]
    if not 1 <= k <= n - 1:
        raise ValueError(f"expected 1 <= k <= {n - 1}, the other images; got k={k}")
    columns, found = texts.T.tocsr(), np.empty((n, k), dtype=np.int64)
    step = max(1, ENTRIES // n)
    for first in range(0, n, step):
        alike = (texts[first : first + step] @ columns).toarray()
        alike[np.arange(len(alike)), np.arange(first, first + len(alike))] = -np.inf  # itself
        found[first : first + step] = np.argsort(-alike, axis=1, kind="stable")[:, :k]
    return found


def alike_in_batch(texts: sparse.csr_array, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """(n_rows, n_columns) float32: how alike some images are to some others by their texts."""
    return torch.from_numpy((texts[rows] @ texts[columns].T).toarray().astype(np.float32))


def negatives(scores: Tensor, alike: Tensor, of_positive: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """For every query the n hardest of the batch's less alike images.

    An image may be a negative if it is less than half as alike to the query as the positive is.

    Args:
        scores: (n_query, n_candidates), what the model says now: the higher, the harder.
        alike: (n_query, n_candidates), what the texts say.
        of_positive: (n_query,) the same of each query and its positive.
        n: How many; fewer where the batch has no more.

    Returns:
        Two (n_triplets,) int64: which query, and which candidate.
    """
    allowed = alike < of_positive[:, None] / 2
    hardest = scores.masked_fill(~allowed, -torch.inf).topk(min(n, scores.shape[1]), dim=1).indices
    there = allowed.gather(1, hardest)
    query = torch.arange(len(scores), device=scores.device)[:, None].expand_as(hardest)
    return query[there], hardest[there]
