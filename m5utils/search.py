"""Who is near whom: scores, exact top-k in bounded memory, library indexes.

Knows embeddings, as float32 tensors, one row per item. Must not know labels, files or metrics.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numba
import numpy as np
import torch
from torch import Tensor

from m5utils import products

DISTANCES = ("cosine", "euclidean")

# The items of a block are prepared once for all queries. They and one block of scores are all the memory that
# exact search needs.
GALLERY_BLOCK = 6144
QUERY_BLOCK = 512
# On a CPU so many of these items are scored at once, a multiple of RUN: products are a tenth faster where its
# caches hold them. A GPU scores all at once.
ITEM_BLOCK = 768
# Items that are looked at together: most runs hold nothing that is better than the best so far.
RUN = 64
# On a CPU, up to this many best items are kept by insertion; more of them, or on a GPU, by sorting.
INSERTED = 100


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
    check(query, gallery, distance)
    matrix = torch.empty(len(query), len(gallery), device=query.device)

    def fill_in(first_item: int, first_query: int, block: Tensor) -> None:
        part = matrix[first_query : first_query + len(block), first_item : first_item + block.shape[1]]
        part.copy_(block[:, : part.shape[1]])

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
    check(query, gallery, distance)
    if not 1 <= k <= len(gallery):
        raise ValueError(f"expected 1 <= k <= {len(gallery)}, the size of the gallery; got k={k}")
    if method not in METHODS:
        raise ValueError(f"expected a method out of {', '.join(METHODS)}; got {method!r}")
    return METHODS[method](query, gallery, k, distance)


def check(query: Tensor, gallery: Tensor, distance: str = "cosine") -> None:
    """Raise ValueError unless these are two tables of rows of one length, neither empty."""
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


def unit(rows: Tensor, what: str = "row") -> Tensor:
    """(n, dim) float32 rows divided by their lengths; a row of zeros stays one.

    Raises:
        ValueError: If a row holds NaN or Inf; it is named as `what` and its number.
    """
    return _prepared(rows, what, 0, "cosine")


def _prepared(rows: Tensor, what: str, first: int, distance: str, out: Tensor | None = None) -> Tensor:
    """Checked float32 rows, for cosine divided by their lengths; a row of zeros stays one."""
    rows = rows.to(torch.float32)
    norms = _norms(rows, what, first)
    divisor = norms.masked_fill(norms == 0, 1) if distance == "cosine" else torch.ones_like(norms)
    return torch.div(rows, divisor[:, None], out=out)


def _each_block(
    query: Tensor, gallery: Tensor, distance: str, use: Callable[[int, int, Tensor], None]
) -> None:
    """Call use(first gallery item, first query, scores (queries, items)) once per block of the matrix.

    On the CPU each thread takes query blocks of its own; blocks do not depend on how many threads.
    """
    blocks = _query_blocks(len(query))
    workers = products.workers(len(blocks), query.device)
    shares = [blocks[worker::workers] for worker in range(workers)]
    products.in_threads(lambda share: _walk_blocks(query, gallery, distance, share, use), shares)


def _query_blocks(n_query: int) -> list[slice]:
    """As few blocks as hold `QUERY_BLOCK` queries at most, of about one size so that no thread waits long."""
    padded = np.arange(0, n_query, products.PADDING)
    n_blocks = min(len(padded), -(-n_query // QUERY_BLOCK))
    firsts = [int(part[0]) for part in np.array_split(padded, n_blocks)]
    return [slice(*ends) for ends in pairwise([*firsts, n_query])]


def _walk_blocks(
    query: Tensor, gallery: Tensor, distance: str, query_blocks: list[slice], use: Callable
) -> None:
    """The blocks of some queries, one after the other.

    Items are padded to a multiple of `RUN`, scoring -inf.
    """
    step = ITEM_BLOCK if query.device.type == "cpu" else GALLERY_BLOCK
    most = (
        products.round_up(min(GALLERY_BLOCK, len(gallery)), RUN),
        products.round_up(min(QUERY_BLOCK, len(query)), products.PADDING),
    )
    kind = {"device": query.device, "dtype": torch.float32 if distance == "cosine" else torch.float64}
    items, queries = (torch.zeros(n, query.shape[1], **kind) for n in most)
    held = torch.empty(most[1] * min(step, most[0]), **kind)  # written again and again: new memory costs more
    for first_item in range(0, len(gallery), GALLERY_BLOCK):
        part = gallery[first_item : first_item + GALLERY_BLOCK].to(query.device)
        n_items = len(part)
        _prepared(part, "gallery", first_item, distance, out=items[:n_items])
        items[n_items:] = 0
        for rows in query_blocks:
            part = query[rows]
            n_queries = len(part)
            _prepared(part, "query", rows.start, distance, out=queries[:n_queries])
            queries[n_queries:] = 0
            left = queries[: products.round_up(n_queries, products.PADDING)]
            for first in range(0, n_items, step):
                right = items[first : min(first + step, products.round_up(n_items, RUN))]
                shape = len(left), len(right)
                block = products.multiply(left, right, held[: shape[0] * shape[1]].view(shape))
                if distance == "euclidean":
                    block.mul_(-2).add_(left.square().sum(dim=1)[:, None]).add_(right.square().sum(dim=1))
                    block = block.clamp_(min=0).sqrt_().neg_().add_(0.0).float()  # + 0.0: no -0.0
                block[:, n_items - first :] = -torch.inf
                use(first_item + first, rows.start, block[:n_queries])


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
    """The k best of the blocks before, and what of the next block is better."""
    best = torch.full((len(query), k), -torch.inf, device=query.device)
    ranking = torch.zeros(len(query), k, dtype=torch.int64, device=query.device)
    insert = query.device.type == "cpu" and k <= INSERTED

    def keep_best(first_item: int, first_query: int, block: Tensor) -> None:
        rows = slice(first_query, first_query + len(block))
        so_far = best[rows], ranking[rows]
        if insert:
            _insert(block.numpy(), first_item, *(each.numpy() for each in so_far))
        else:
            _merge(block, first_item, *so_far)

    _each_block(query, gallery, distance, keep_best)
    return best, ranking


@numba.njit(nogil=True, cache=True)
def _insert(scores, first_item, best, ranking):  # noqa: ANN001, ANN202
    """Put what is better than the last of the best so far in its place among them.

    Items come in the order of their numbers: of equal scores the lower number stands first already.

    Args:
        scores: (n, n_items) of a block.
        first_item: The number of its first item.
        best: (n, k) scores, best first, that are changed; -inf where there are fewer yet.
        ranking: (n, k) the numbers of their items.
    """
    last = best.shape[1] - 1
    for row in range(len(scores)):
        line, lowest = scores[row], best[row, last]
        for first in range(0, len(line), RUN):
            run, better = line[first : first + RUN], np.int32(0)
            for score in run:  # most runs hold nothing better, and many are compared at once
                better += np.int32(score > lowest)
            if better == 0:
                continue
            for within, score in enumerate(run):
                if score > lowest:
                    place = last
                    while place > 0 and best[row, place - 1] < score:
                        best[row, place] = best[row, place - 1]
                        ranking[row, place] = ranking[row, place - 1]
                        place -= 1
                    best[row, place], ranking[row, place] = score, first_item + first + within
                    lowest = best[row, last]


def _merge(scores: Tensor, first_item: int, best: Tensor, ranking: Tensor) -> None:
    """The same as `_insert`, for many k and in operations that run on a GPU.

    The k runs of items with the best maxima hold the k best items; only those are sorted. If an item of
    another run were among the k best, each of the k runs would hold a better one. That is also true among
    ties, because runs and items are both ordered by (score, then lower index).
    """
    k, device = best.shape[1], scores.device
    in_runs = scores.unflatten(1, (-1, RUN))  # (queries, runs, RUN): what is taken of it lies side by side
    run_keys = _sortable(in_runs.amax(dim=2), torch.arange(in_runs.shape[1], device=device))
    runs = _unsorted_index(run_keys.topk(min(k, in_runs.shape[1]), sorted=False).values)
    taken = in_runs[torch.arange(len(scores), device=device)[:, None], runs]
    within = torch.arange(RUN, device=device)
    keys = _sortable(taken, first_item + RUN * runs[:, :, None] + within).flatten(1)
    keys = torch.cat([_sortable(best, ranking), keys], dim=1).topk(k).values
    best.copy_(_unsorted_values(keys))
    ranking.copy_(_unsorted_index(keys))


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
