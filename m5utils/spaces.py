"""The shape of a space that images and captions share: the gap between them, hubs, and what corrects hubs.

Knows embeddings, as float32 tensors, one row per item. Must not know labels, pairs, files or metrics.

Other scores come back as embeddings whose inner product is the score, so that `ranks.of_pairs` ranks by them
as by any others. The two corrections look at the other queries too (they are transductive): a query's answers
depend on which queries are asked with it. They need rows of their own in a table, and mean nothing for one
query alone.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from m5utils import products, search

ROWS, OTHERS = 512, 4096  # of the block of scores that is in memory at a time


@torch.no_grad()
def modality_gap(images: Tensor, captions: Tensor) -> float:
    """How far the centre of the images lies from that of the captions, all rows divided by their lengths.

    Args:
        images: Embeddings (n_images, dim).
        captions: Embeddings (n_captions, dim).

    Returns:
        Euclidean distance of the two means, from 0 to 2.

    Raises:
        ValueError: If shapes do not fit or a row holds NaN or Inf (it is named).

    Reference: Liang et al., "Mind the gap", NeurIPS 2022.

    Example:
        >>> modality_gap(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
        1.0
    """
    images, captions = _unit(images, captions)
    centres = [rows.mean(dim=0, dtype=torch.float64) for rows in (images, captions)]
    return float((centres[0] - centres[1]).norm())


def k_occurrence(query: Tensor, gallery: Tensor, k: int = 10) -> np.ndarray:
    """How many queries have each gallery item among their k nearest by cosine.

    Args:
        query: Embeddings (n_query, dim); not items of the gallery, or each finds itself first.
        gallery: Embeddings (n_gallery, dim).
        k: Size of a neighbourhood, 1 <= k <= n_gallery.

    Returns:
        (n_gallery,) int64, whose sum is k · n_query. The matrix of scores is never held.

    Raises:
        ValueError: As `search.nearest`.

    Reference: Radovanović, Nanopoulos, Ivanović, "Hubs in space", JMLR 2010.
    """
    ranking = search.nearest(query, gallery, k)[1]
    return torch.bincount(ranking.flatten(), minlength=len(gallery)).cpu().numpy()


def hubness(counts: np.ndarray) -> float:
    """Skewness of k-occurrences: 0 if they are all equal, large if a few items answer most queries.

    Args:
        counts: (n_gallery,) of `k_occurrence`.

    Raises:
        ValueError: If there is no count.

    Reference: Radovanović, Nanopoulos, Ivanović, "Hubs in space", JMLR 2010.

    Example:
        >>> hubness(np.array([0, 0, 0, 4])) > hubness(np.array([1, 1, 1, 1]))
        True
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not len(counts):
        raise ValueError(f"expected one count per gallery item, at least one; got shape {counts.shape}")
    apart = counts - counts.mean()
    spread = counts.std()
    return float((apart**3).mean() / spread**3) if spread else 0.0


@torch.no_grad()
def by_distance(images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings whose inner product is minus the squared Euclidean distance: 2 x·y - |x|² - |y|².

    Args:
        images: Embeddings (n_images, dim).
        captions: Embeddings (n_captions, dim).

    Returns:
        Images (n_images, dim + 2) and captions (n_captions, dim + 2), float32.

    Example:
        >>> images, captions = by_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
        >>> images @ captions.T
        tensor([[-5.,  0.]])
    """
    return _with_biases(2 * images, captions, images.square().sum(dim=1), captions.square().sum(dim=1))


@torch.no_grad()
def csls(images: Tensor, captions: Tensor, k: int = 10) -> tuple[Tensor, Tensor]:
    """Cosines that count less for an item in a crowd: cross-domain similarity local scaling.

    The score is 2 cos(x, y) - r(x) - r(y), r being an item's mean cosine to its k nearest in the other
    modality: a hub is near to many, so its r is large. r of the gallery is taken over the queries that are
    asked together (transductive, see the module): a row of its own, and nothing for one query alone.

    Args:
        images: Embeddings (n_images, dim).
        captions: Embeddings (n_captions, dim).
        k: Size of a neighbourhood, at most the number of images and that of captions.

    Returns:
        Images (n_images, dim + 2) and captions (n_captions, dim + 2), float32, whose inner product is the
        score. Not of unit length: do not normalise them again.

    Raises:
        ValueError: If k or a shape is wrong, or a row holds NaN or Inf (it is named).

    Reference: Conneau et al., "Word translation without parallel data", ICLR 2018.
    """
    images, captions = _unit(images, captions)
    most = min(len(images), len(captions))
    if not 1 <= k <= most:
        raise ValueError(
            f"expected 1 <= k <= {most}, the smaller of {len(images)} images and {len(captions)} captions; "
            f"got k={k}"
        )
    near_images = search.nearest(images, captions, k)[0].mean(dim=1)
    near_captions = search.nearest(captions, images, k)[0].mean(dim=1)
    return _with_biases(2 * images, captions, near_images, near_captions)


@torch.no_grad()
def inverted_softmax(images: Tensor, captions: Tensor, temperature: float = 1 / 30) -> tuple[Tensor, Tensor]:
    """Which item asks for me, rather than whom do I ask for: a softmax over the queries.

    The score of a gallery item is s - T log Σ exp(s' / T), s its cosine to the query and s' those to all
    queries: a hub is asked for by many, so each gets a small share of it. Captions are corrected for images
    as queries, and images for captions; a query's own correction does not change the order of its answers, so
    both stand in one product. The sum goes over the queries that are asked together (transductive, see the
    module): a row of its own, and nothing for one query alone.

    Args:
        images: Embeddings (n_images, dim).
        captions: Embeddings (n_captions, dim).
        temperature: T > 0. The default is the 1/30 of the code of Conneau et al.; choose it on validation.

    Returns:
        Images (n_images, dim + 2) and captions (n_captions, dim + 2), float32, whose inner product is the
        score less both corrections. The matrix of scores is never held.

    Raises:
        ValueError: If T or a shape is wrong, or a row holds NaN or Inf (it is named).

    Reference: Smith et al., "Offline bilingual word vectors, orthogonal transformations and the inverted
    softmax", ICLR 2017.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"expected a temperature > 0; got {temperature}")
    images, captions = _unit(images, captions)
    of_images, of_captions = (
        _soft_maximum(rows, others, temperature) for rows, others in ((images, captions), (captions, images))
    )
    return _with_biases(images, captions, of_images, of_captions)


def _soft_maximum(rows: Tensor, others: Tensor, temperature: float) -> Tensor:
    """(n,) T log Σ exp(s / T) of every row over all the others, from one block of scores at a time.

    Blocks of rows have one shape, so that equal rows get equal results wherever they stand.
    """
    found = torch.empty(len(rows), device=rows.device)
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        left = pad(part, (0, 0, 0, min(ROWS, products.round_up(len(rows), products.PADDING)) - len(part)))
        so_far = torch.full((len(left),), -torch.inf, device=rows.device)
        for above in others.split(OTHERS):
            real = len(above)
            above = pad(above, (0, 0, 0, products.round_up(real, products.PADDING) - real))
            scores = products.multiply(left, above)[:, :real]
            so_far = torch.logaddexp(so_far, torch.logsumexp(scores / temperature, dim=1))
        found[first : first + ROWS] = temperature * so_far[: len(part)]
    return found


def _with_biases(
    images: Tensor, captions: Tensor, of_images: Tensor, of_captions: Tensor
) -> tuple[Tensor, Tensor]:
    """Two columns more, by which the inner product is less by both biases."""
    one = torch.ones_like
    return (
        torch.cat([images, -of_images[:, None], one(of_images)[:, None]], dim=1),
        torch.cat([captions, one(of_captions)[:, None], -of_captions[:, None]], dim=1),
    )


def _unit(images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
    """Both divided by their lengths, after a look at their shapes."""
    if images.ndim != 2 or captions.ndim != 2 or images.shape[1] != captions.shape[1]:
        raise ValueError(
            "expected images (n_images, dim) and captions (n_captions, dim); "
            f"got {tuple(images.shape)} and {tuple(captions.shape)}"
        )
    if not len(images) or not len(captions):
        raise ValueError(f"expected at least one row; got {len(images)} images, {len(captions)} captions")
    return search.unit(images, "image"), search.unit(captions, "caption")
