"""Who is near whom: scores, exact top-k in bounded memory, library indexes, re-ranking.

Knows embeddings, as float32 tensors, one row per item. Must not know labels, files or metrics.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from scipy import sparse
from threadpoolctl import threadpool_limits
from torch import Tensor

DISTANCES = ("cosine", "euclidean")

# One block of scores (32 MB) and its gallery rows are all the memory that exact search needs.
GALLERY_BLOCK = 16384
QUERY_BLOCK = 512
# Matrix products treat the last few rows of odd-sized operands with another kernel, whose rounding
# differs: equal embeddings would get unequal scores. Operands are padded with zeros to this multiple.
PADDING = 16
# `nearest` first looks at the best score of every run of this many gallery items.
RUN = 32


@torch.no_grad()
def scores(query: Tensor, gallery: Tensor, distance: str = "cosine") -> Tensor:
    """How similar every gallery item is to every query, as a whole matrix.

    Args:
        query: Embeddings (n_query, dim).
        gallery: Embeddings (n_gallery, dim).
        distance: "cosine" gives cosine similarities (a zero row scores 0), "euclidean" gives minus the
            Euclidean distance, from products in float64 because |q|² + |g|² - 2q·g cancels.

    Returns:
        (n_query, n_gallery) float32, larger = more similar, bit for bit the values of `nearest`. Equal
        gallery rows get equal scores. The last bit of a score may depend on the number of queries.

    Raises:
        ValueError: If shapes do not fit or a row holds NaN or Inf (it is named).

    Example:
        >>> scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
        tensor([[1., 0.]])
    """
    _check(query, gallery, distance)
    matrix = torch.empty(len(query), len(gallery), device=query.device)

    def fill_in(first_item: int, first_query: int, block: Tensor) -> None:
        part = matrix[first_query : first_query + block.shape[1], first_item : first_item + GALLERY_BLOCK]
        part.copy_(block.T[:, : part.shape[1]])

    _each_block(query, gallery, distance, fill_in)
    return matrix


@torch.no_grad()
def nearest(
    query: Tensor, gallery: Tensor, k: int, method: str = "exact", distance: str = "cosine"
) -> tuple[Tensor, Tensor]:
    """The k most similar gallery items of every query, best first.

    Args:
        query: Embeddings (n_query, dim).
        gallery: Embeddings (n_gallery, dim).
        k: How many, 1 <= k <= n_gallery.
        method: "exact", or a library to compare with: "sklearn" (brute force), "faiss_flat" (exact),
            "faiss_ivf" and "faiss_hnsw" (approximate). The index is built within the call.
        distance: "cosine" or "euclidean", see `scores`.

    Returns:
        Scores (n_query, k) float32, larger = more similar, and ranking (n_query, k) int64: gallery
        indices, best first. Among equal scores the lower index comes first; the libraries keep that
        order inside their k, but which of the items tied at the k-th place they keep is theirs.
        "exact" never holds the n_query × n_gallery matrix.

    Raises:
        ValueError: If k, method, distance or a shape is wrong, or a row holds NaN or Inf (it is named).
        RuntimeError: If an approximate index reaches fewer than k items of a query.

    Example:
        >>> nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]]), k=2)[1]
        tensor([[1, 0]])
    """
    _check(query, gallery, distance)
    if not 1 <= k <= len(gallery):
        raise ValueError(f"expected 1 <= k <= {len(gallery)}, the size of the gallery; got k={k}")
    if method not in METHODS:
        raise ValueError(f"expected a method out of {', '.join(METHODS)}; got {method!r}")
    return METHODS[method](query, gallery, k, distance)


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
    similarity, ranking = nearest(query, gallery, k)
    weights = similarity.clamp(min=0) ** alpha
    expanded = _prepared(query, "query", 0, "cosine")
    for rank in range(k):
        answers = gallery[ranking[:, rank].to(gallery.device)].to(query.device)
        expanded += weights[:, rank, None] * _prepared(answers, "answer", 0, "cosine")
    return _prepared(expanded, "expanded query", 0, "cosine")


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
    _check(query, gallery, "cosine")
    if not 1 <= k1 <= len(gallery):
        raise ValueError(f"expected 1 <= k1 <= {len(gallery)}, the size of the gallery; got k1={k1}")
    if not 1 <= k2 <= k1:
        raise ValueError(f"expected 1 <= k2 <= k1={k1}; got k2={k2}")
    if not 0 <= lam <= 1:
        raise ValueError(f"expected 0 <= lam <= 1; got {lam}")
    # The sets of the paper are sparse rows over all items, a query being an item like any other.
    items = torch.cat([query.to(torch.float32), gallery.to(query.device, torch.float32)])
    ranking = _self_first(nearest(items, items, k1 + 1)[1].cpu().numpy())
    members = _expanded_neighbours(ranking, k1)
    original = np.empty((len(query), len(gallery)), dtype=np.float32)
    weights = np.empty(members.nnz)
    for first in range(0, len(items), QUERY_BLOCK):
        distances = (1 - scores(items[first : first + QUERY_BLOCK], items)).clamp_(min=0)
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


def _check(query: Tensor, gallery: Tensor, distance: str) -> None:
    if distance not in DISTANCES:
        raise ValueError(f"expected a distance out of {', '.join(DISTANCES)}; got {distance!r}")
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(
            "expected query (n_query, dim) and gallery (n_gallery, dim); "
            f"got {tuple(query.shape)} and {tuple(gallery.shape)}"
        )
    if not len(query) or not len(gallery):
        raise ValueError(f"expected at least one row; got {len(query)} queries, {len(gallery)} gallery items")


def _norms(rows: Tensor, what: str, first: int) -> Tensor:
    """Lengths of float32 rows; a row that is not finite is named, counting from `first`."""
    norms = torch.linalg.vector_norm(rows, dim=1)
    doubtful = ~((norms > 1e-15) & (norms < 1e18))  # squares may have left float32
    norms[doubtful] = torch.linalg.vector_norm(rows[doubtful], dim=1, dtype=torch.float64).to(torch.float32)
    bad = (~torch.isfinite(norms)).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"{what} row {first + row} holds NaN, Inf or values too large for float32 "
            f"({len(bad)} such rows of these {len(rows)}): look at what encoded it"
        )
    return norms


def _prepared(rows: Tensor, what: str, first: int, distance: str, out: Tensor | None = None) -> Tensor:
    """Checked float32 rows, for cosine divided by their lengths; a row of zeros stays one."""
    rows = rows.to(torch.float32)
    norms = _norms(rows, what, first)
    divisor = norms.masked_fill(norms == 0, 1) if distance == "cosine" else torch.ones_like(norms)
    return torch.div(rows, divisor[:, None], out=out)


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _each_block(
    query: Tensor, gallery: Tensor, distance: str, use: Callable[[int, int, Tensor], None]
) -> None:
    """Call use(first gallery item, first query, scores (items, queries)) once per block of the matrix.

    On the CPU each thread takes query blocks of its own instead of a share of every operation: nobody
    waits for anybody, which halves the time on a busy machine. Blocks do not depend on how many threads.
    """
    firsts = range(0, len(query), QUERY_BLOCK)
    threads = torch.get_num_threads()
    workers = min(threads, len(firsts)) if query.device.type == "cpu" else 1
    if workers == 1:
        _walk_blocks(query, gallery, distance, firsts, use)
        return
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
            shares = [firsts[worker::workers] for worker in range(workers)]
            list(pool.map(lambda share: _walk_blocks(query, gallery, distance, share, use), shares))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()  # each thread has its own switch
def _walk_blocks(query: Tensor, gallery: Tensor, distance: str, first_queries: range, use: Callable) -> None:
    """The blocks of some queries, every block in the same buffer.

    Items are padded to a multiple of `RUN`, scoring -inf. They run down the columns, so that the maximum
    over a run of items is an elementwise operation on whole rows.
    """
    most = _round_up(min(GALLERY_BLOCK, len(gallery)), RUN), _round_up(min(QUERY_BLOCK, len(query)), PADDING)
    kind = {"device": query.device, "dtype": torch.float32 if distance == "cosine" else torch.float64}
    items, queries = (torch.zeros(n, query.shape[1], **kind) for n in most)
    products = torch.empty(most[0] * most[1], **kind)
    scored = products if distance == "cosine" else torch.empty_like(products, dtype=torch.float32)
    for first_item in range(0, len(gallery), GALLERY_BLOCK):
        part = gallery[first_item : first_item + GALLERY_BLOCK].to(query.device)
        n_items = len(part)
        _prepared(part, "gallery", first_item, distance, out=items[:n_items])
        items[n_items:] = 0
        for first_query in first_queries:
            part = query[first_query : first_query + QUERY_BLOCK]
            n_queries = len(part)
            _prepared(part, "query", first_query, distance, out=queries[:n_queries])
            queries[n_queries:] = 0
            left, right = items[: _round_up(n_items, RUN)], queries[: _round_up(n_queries, PADDING)]
            block = scored[: len(left) * len(right)].view(len(left), -1)
            product = products[: block.numel()].view_as(block)
            _multiply(left, right, product)
            if distance == "euclidean":
                product.mul_(-2).add_(left.square().sum(dim=1)[:, None]).add_(right.square().sum(dim=1))
                block.copy_(product.clamp_(min=0).sqrt_()).neg_().add_(0.0)  # + 0.0: no -0.0
            block[n_items:] = -torch.inf
            use(first_item, first_query, block[:, :n_queries])


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Left times right transposed; on a CPU by NumPy, whose OpenBLAS beats torch's MKL by 13 % on AMD's."""
    if out.device.type == "cpu":
        np.matmul(left.numpy(), right.numpy().T, out=out.numpy())
    else:
        torch.mm(left, right.T, out=out)


def _sortable(values: Tensor, index: Tensor) -> Tensor:
    """One int64 per (score, index) that is larger where the score is, then where the index is smaller.

    No two are equal, so their order is the same whoever sorts them: `topk` alone promises none for ties.
    """
    bits = (values + 0.0).view(torch.int32)  # + 0.0 makes -0.0 the 0.0 that it equals
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative floats grow downwards
    return (ordered.to(torch.int64) << 32) - index


def _unsorted_index(keys: Tensor) -> Tensor:
    return -keys & 0xFFFFFFFF


def _unsorted_values(keys: Tensor) -> Tensor:
    ordered = ((keys + _unsorted_index(keys)) >> 32).to(torch.int32)
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _exact(query: Tensor, gallery: Tensor, k: int, distance: str) -> tuple[Tensor, Tensor]:
    """Per block: the k runs of items with the best maxima hold the k best items; sort only those.

    If an item of another run were among the k best, each of the k runs would hold a better one. That is
    also true among ties, because runs and items are both ordered by (score, then lower index).
    """
    best = torch.full((k, len(query)), torch.iinfo(torch.int64).min, device=query.device)
    within = torch.arange(RUN, device=query.device)[:, None]

    def keep_best(first_item: int, first_query: int, block: Tensor) -> None:
        n_runs, n_query = block.shape[0] // RUN, block.shape[1]
        run_best = block.view(n_runs, RUN, n_query).amax(dim=1)
        run_keys = _sortable(run_best, torch.arange(n_runs, device=block.device)[:, None])
        runs = _unsorted_index(run_keys.topk(min(k, n_runs), dim=0, sorted=False).values)
        items = (runs[:, None, :] * RUN + within).flatten(0, 1)
        keys = _sortable(block.gather(0, items), items + first_item)
        so_far = best[:, first_query : first_query + n_query]
        so_far.copy_(torch.cat([so_far, keys]).topk(k, dim=0).values)

    _each_block(query, gallery, distance, keep_best)
    best = best.T.contiguous()
    return _unsorted_values(best), _unsorted_index(best)


def _rows(query: Tensor, gallery: Tensor, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Query and gallery as the libraries take them: float32 arrays, of unit length for cosine."""
    queries, items = _prepared(query, "query", 0, distance), _prepared(gallery, "gallery", 0, distance)
    return queries.cpu().contiguous().numpy(), items.cpu().contiguous().numpy()


def _sklearn(query: Tensor, gallery: Tensor, k: int, distance: str) -> tuple[Tensor, Tensor]:
    """scikit-learn's brute-force `NearestNeighbors`."""
    from sklearn.neighbors import NearestNeighbors

    queries, items = _rows(query, gallery, distance)
    index = NearestNeighbors(
        n_neighbors=k, algorithm="brute", metric=distance, n_jobs=torch.get_num_threads()
    )
    distances, ranking = index.fit(items).kneighbors(queries)
    similarity = 1 - distances if distance == "cosine" else 0.0 - distances
    return _lower_index_first(similarity, ranking, query.device)


def _faiss(build: Callable, query: Tensor, gallery: Tensor, k: int, distance: str) -> tuple[Tensor, Tensor]:
    """A FAISS index that `build(faiss, gallery rows, metric)` makes, searched on torch's threads."""
    import faiss  # after torch: the other order crashes on macOS

    queries, items = _rows(query, gallery, distance)
    metric = faiss.METRIC_INNER_PRODUCT if distance == "cosine" else faiss.METRIC_L2
    with _faiss_threads(faiss, torch.get_num_threads()):
        index = build(faiss, items, metric)
        values, ranking = index.search(queries, k)
    missing = int((ranking < 0).any(axis=1).sum())
    if missing:
        raise RuntimeError(
            f"{type(index).__name__} reached fewer than k={k} of {len(items)} items for {missing} queries: "
            "ask for fewer, or use method='exact'"
        )
    similarity = values if distance == "cosine" else 0.0 - np.sqrt(np.maximum(values, 0))
    return _lower_index_first(similarity, ranking, query.device)


@contextmanager
def _faiss_threads(faiss: object, threads: int) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _flat(faiss: object, items: np.ndarray, metric: int) -> object:
    """All items, compared with every query: exact."""
    index = faiss.IndexFlat(items.shape[1], metric)
    index.add(items)
    return index


def _ivf(faiss: object, items: np.ndarray, metric: int) -> object:
    """√n cells around k-means centres, of which the eighth nearest to the query is searched."""
    cells = max(1, min(int(len(items) ** 0.5), len(items) // 39))  # FAISS wants 39 items per centre
    quantizer = faiss.IndexFlat(items.shape[1], metric)
    index = faiss.IndexIVFFlat(quantizer, items.shape[1], cells, metric)
    index.train(items)
    index.add(items)
    index.nprobe = -(-cells // 8)
    return index


def _hnsw(faiss: object, items: np.ndarray, metric: int) -> object:
    """A graph of 32 links per item; built on one thread, since its links depend on the order of insertion."""
    index = faiss.IndexHNSWFlat(items.shape[1], 32, metric)
    with _faiss_threads(faiss, 1):
        index.add(items)
    return index


def _lower_index_first(
    similarity: np.ndarray, ranking: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A library's result as float32 scores and int64 ranking, equal scores by gallery index."""
    similarity = similarity.astype(np.float32)
    order = np.lexsort((ranking, -similarity), axis=1)
    found = np.take_along_axis(similarity, order, 1), np.take_along_axis(ranking, order, 1).astype(np.int64)
    return torch.from_numpy(found[0]).to(device), torch.from_numpy(found[1]).to(device)


METHODS = {
    "exact": _exact,
    "sklearn": _sklearn,
    "faiss_flat": partial(_faiss, _flat),
    "faiss_ivf": partial(_faiss, _ivf),
    "faiss_hnsw": partial(_faiss, _hnsw),
}
