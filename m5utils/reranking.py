"""Ask again, now that the first answer is known: query expansion and re-ranking, without a label.

Knows embeddings, as float32 tensors, one row per item. Must not know labels, files or metrics.
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from m5utils import search

AT_ONCE = 512  # queries whose scores are in memory at a time


@torch.no_grad()
def expand_queries(query: Tensor, gallery: Tensor, k: int, alpha: float) -> Tensor:
    """Queries that also say what their first k answers look like: α-weighted query expansion.

    q' = normalise(q + Σ max(s_j, 0)^α g_j) over the k most cosine-similar gallery items; α = 0 is
    average query expansion.

    Args:
        query: Embeddings (n_query, dim).
        gallery: Embeddings (n_gallery, dim).
        k: How many answers to add, 1 <= k <= n_gallery.
        alpha: How much less the less similar answers count, >= 0.

    Returns:
        New queries (n_query, dim) float32, rows of length 1.

    Raises:
        ValueError: As `nearest`, and if alpha is negative.

    Reference: Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", 2018.
    """
    if not alpha >= 0:
        raise ValueError(f"expected alpha >= 0; got {alpha}")
    similarity, ranking = search.nearest(query, gallery, k)
    weights = similarity.clamp(min=0) ** alpha
    expanded = search.unit(query, "query")
    for rank in range(k):
        answers = gallery[ranking[:, rank].to(gallery.device)].to(query.device)
        expanded += weights[:, rank, None] * search.unit(answers, "answer")
    return search.unit(expanded, "expanded query")


@torch.no_grad()
def k_reciprocal_scores(
    query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lam: float = 0.3
) -> Tensor:
    """Scores that ask whether two items have the same neighbours: k-reciprocal re-ranking.

    An item is encoded by those of its k1 neighbours that also count it among theirs, averaged over its
    k2 nearest; two codes are compared by their Jaccard similarity J. The score is
    (1 - lam) J + lam (1 - d), d the squared cosine-space distance divided by the query's largest.
    As in the authors' code, neighbours are sought among queries and gallery together, so a query's
    scores depend on the other queries; pass one query at a time where that is not allowed.

    Args:
        query: Embeddings (n_query, dim).
        gallery: Embeddings (n_gallery, dim).
        k1: Size of the neighbourhoods, 1 <= k1 <= n_gallery.
        k2: Neighbours (the item included) that codes are averaged over, 1 <= k2 <= k1; 1 = no averaging.
        lam: Weight of the original distance, in [0, 1].

    Returns:
        (n_query, n_gallery) float32 in [0, 1], larger = more similar. Besides that matrix the memory
        grows with n_query + n_gallery, not with its square.

    Raises:
        ValueError: If k1, k2, lam or a shape is out of range, or a row holds NaN or Inf.

    Reference: Zhong, Zheng, Cao, Li, "Re-ranking person re-identification with k-reciprocal encoding", 2017.
    """
    search.check(query, gallery)
    if not 1 <= k1 <= len(gallery):
        raise ValueError(f"expected 1 <= k1 <= {len(gallery)}, the size of the gallery; got k1={k1}")
    if not 1 <= k2 <= k1:
        raise ValueError(f"expected 1 <= k2 <= k1={k1}; got k2={k2}")
    if not 0 <= lam <= 1:
        raise ValueError(f"expected 0 <= lam <= 1; got {lam}")
    # The sets of the paper are sparse rows over all items, a query being an item like any other.
    items = torch.cat([query.to(torch.float32), gallery.to(query.device, torch.float32)])
    ranking = _self_first(search.nearest(items, items, k1 + 1)[1].cpu().numpy())
    members = _expanded_neighbours(ranking, k1)
    original = np.empty((len(query), len(gallery)), dtype=np.float32)
    weights = np.empty(members.nnz)
    for first in range(0, len(items), AT_ONCE):
        distances = (1 - search.scores(items[first : first + AT_ONCE], items)).clamp_(min=0)
        distances = (distances / distances.amax(dim=1, keepdim=True).clamp(min=1e-12)).cpu().numpy()
        bounds = members.indptr[first : first + len(distances) + 1]
        row = np.repeat(np.arange(len(distances)), np.diff(bounds))
        weights[bounds[0] : bounds[-1]] = np.exp(-distances[row, members.indices[bounds[0] : bounds[-1]]])
        original[first : first + len(distances)] = distances[: max(0, len(query) - first), len(query) :]
    codes = sparse.csr_array((weights, members.indices, members.indptr), shape=members.shape)
    codes = sparse.diags_array(1 / codes.sum(axis=1)) @ codes  # eq. 7, every row divided by its sum
    codes = (_sets(ranking[:, :k2]) / k2 @ codes).tocsr()  # eq. 11, local query expansion
    jaccard = _jaccard(codes[: len(query)], codes[len(query) :].tocsc())
    blend = (1 - lam) * jaccard + lam * (1 - original)
    return torch.from_numpy(blend.astype(np.float32)).to(query.device)


def _self_first(ranking: np.ndarray) -> np.ndarray:
    """Every item as its own first neighbour, also where k1 copies of it have lower indices."""
    itself = np.arange(len(ranking))[:, None]
    repeated = np.hstack([np.zeros_like(itself, bool), ranking == itself])
    order = np.argsort(repeated, axis=1, kind="stable")[:, :-1]
    return np.take_along_axis(np.hstack([itself, ranking]), order, axis=1)


def _sets(ranking: np.ndarray) -> sparse.csr_array:
    """The first neighbours of every item as a sparse matrix of ones (n, n)."""
    n, k = ranking.shape
    return sparse.csr_array((np.ones(n * k), ranking.ravel(), np.arange(n + 1) * k), shape=(n, n))


def _expanded_neighbours(ranking: np.ndarray, k1: int) -> sparse.csr_array:
    """R*(p, k1) of every item p: its reciprocal neighbours, and theirs where most are shared (eq. 3, 5)."""
    forward, half = _sets(ranking), _sets(ranking[:, : round(k1 / 2) + 1])
    reciprocal = forward.multiply(forward.T).tocsr()
    nearer = half.multiply(half.T).tocsr()
    shared = (reciprocal @ nearer.T).multiply(reciprocal).tocsr()  # |R(p, k1) ∩ R(q, k1/2)|, q in R(p, k1)
    shared.data = (shared.data > 2 / 3 * nearer.sum(axis=1)[shared.indices]).astype(float)
    members = (reciprocal + shared @ nearer).tocsr()
    members.eliminate_zeros()
    members.sort_indices()
    return members


def _jaccard(query: sparse.csr_array, gallery: sparse.csc_array) -> np.ndarray:
    """Σ min / Σ max of every pair of rows (eq. 10), through the gallery's inverted index."""
    smaller = np.zeros((query.shape[0], gallery.shape[0]))
    for row in range(query.shape[0]):
        entries = slice(query.indptr[row], query.indptr[row + 1])
        for item, weight in zip(query.indices[entries], query.data[entries], strict=True):
            holders = slice(gallery.indptr[item], gallery.indptr[item + 1])
            smaller[row, gallery.indices[holders]] += np.minimum(weight, gallery.data[holders])
    return smaller / (2 - smaller)  # both rows sum to 1
