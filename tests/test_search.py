import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gaussian
from torch.overrides import TorchFunctionMode

from m5utils import products, search

EXACT = ["exact", "sklearn", "faiss_flat"]
APPROXIMATE = ["faiss_ivf", "faiss_hnsw"]


def signs(n, dim, seed=0):
    """Rows of ±1 in 4 or 16 dimensions: lengths 2 and 4, so every score is exact and many are tied."""
    return gaussian(n, dim, seed).sign()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks that divide nothing in these tests; the real ones are larger than a test can afford."""
    monkeypatch.setattr(search, "GALLERY_BLOCK", 145)  # three runs
    monkeypatch.setattr(search, "ITEM_BLOCK", 128)  # one whole, one cut off
    monkeypatch.setattr(search, "QUERY_BLOCK", 7)


# ---- scores ----


def test_scores_by_hand():
    query, gallery = (
        torch.tensor([[3.0, 4.0]]),
        torch.tensor([[6.0, 8.0], [-4.0, 3.0], [3.0, 0.0], [0.0, 0.0]]),
    )
    assert search.scores(query, gallery).tolist() == [pytest.approx([1, 0, 0.6, 0], abs=1e-6)]
    assert search.scores(query, gallery, "euclidean").tolist() == [pytest.approx([-5, -(50**0.5), -4, -5])]


@pytest.mark.parametrize("distance", search.DISTANCES)
def test_nearer_scores_more(distance):
    query, near, far = torch.tensor([[1.0, 0.0]]), [1.0, 0.1], [0.0, 1.0]
    near_score, far_score = search.scores(query, torch.tensor([near, far]), distance)[0]
    assert near_score > far_score


@pytest.mark.parametrize("distance", search.DISTANCES)
@pytest.mark.usefixtures("small_blocks", "threads")
def test_scores_are_the_slow_loop(distance):
    query, gallery = gaussian(16, 5), 3 * gaussian(101, 5, seed=1)
    found = search.scores(query, gallery, distance)
    expected = [[reference.score(q, g, distance) for g in gallery.tolist()] for q in query.tolist()]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_minus_zero_is_zero():
    row = torch.tensor([[1.0, 2.0]])
    assert not search.scores(row, row, "euclidean").signbit().any()
    keys = search._sortable(torch.tensor([-0.0, 0.0]), torch.tensor([0, 1]))
    assert keys[0] > keys[1]  # equal scores, so the lower index comes first


def test_euclidean_does_not_cancel():
    # |q|² + |g|² - 2q·g in float32 gives distances that are wrong by 1 and more here
    query = gaussian(3, 64) + 1000
    away = query + 0.01
    assert search.scores(query, query, "euclidean").diagonal().abs().max() < 1e-3
    expected = -(query.double() - away.double()).norm(dim=1)
    np.testing.assert_allclose(search.scores(query, away, "euclidean").diagonal(), expected, rtol=1e-2)


@pytest.mark.parametrize("distance", search.DISTANCES)
@pytest.mark.parametrize("dim", [3, 100, 512, 1280])
@pytest.mark.parametrize(("n_query", "n_gallery"), [(1, 2), (1, 33), (1, 1881), (3, 7), (17, 65), (404, 500)])
def test_equal_gallery_rows_get_equal_scores(n_query, n_gallery, dim, distance):
    # the matrix products of odd shapes round the last rows differently; without padding this is red
    gallery = gaussian(1, dim).expand(n_gallery, dim)
    found = search.scores(gaussian(n_query, dim, seed=1), gallery, distance)
    assert (found == found[:, :1]).all()


@settings(deadline=None)
@given(st.floats(-30, 30), st.floats(-30, 30))
def test_length_does_not_matter_to_cosine(query_power, gallery_power):
    # beyond 1e-19 and 1e19 squares leave float32
    query, gallery = gaussian(4, 8), gaussian(9, 8, seed=1)
    scaled = search.scores(query * 10.0**query_power, gallery * 10.0**gallery_power)
    np.testing.assert_allclose(scaled, search.scores(query, gallery), atol=1e-6)


# ---- nearest ----


@pytest.mark.parametrize("distance", search.DISTANCES)
@pytest.mark.parametrize("n_gallery", [1, 63, 64, 65, 145, 146, 350])
@pytest.mark.parametrize(("k", "inserted"), [(1, 100), (10, 100), (10, 0), (200, 100)])
@pytest.mark.usefixtures("small_blocks", "threads")
def test_nearest_is_the_slow_loop_with_ties(n_gallery, k, inserted, distance, monkeypatch):
    # 16 different rows at most: nearly every score is tied, within and across blocks
    monkeypatch.setattr(search, "INSERTED", inserted)  # the two ways to keep the best ones
    query, gallery = signs(9, 4), signs(n_gallery, 4, seed=1)
    k = min(k, n_gallery)
    values, ranking = search.nearest(query, gallery, k, distance=distance)
    assert ranking.tolist() == reference.nearest(query.tolist(), gallery.tolist(), k, distance)
    assert torch.equal(values, search.scores(query, gallery, distance).gather(1, ranking))
    assert values.dtype == torch.float32
    assert ranking.dtype == torch.int64


@settings(deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 20),
    st.sampled_from([1, 2, 4, 16]),
    st.sampled_from(search.DISTANCES),
    st.data(),
)
def test_nearest_is_a_stable_sort_of_scores(n_gallery, n_query, dim, distance, data):
    k = data.draw(st.integers(1, n_gallery))
    query, gallery = gaussian(n_query, dim).round(), gaussian(n_gallery, dim, seed=1).round()
    matrix = search.scores(query, gallery, distance)
    expected = matrix.sort(dim=1, descending=True, stable=True).indices[:, :k]
    assert torch.equal(search.nearest(query, gallery, k, distance=distance)[1], expected)


@pytest.mark.parametrize("distance", search.DISTANCES)
def test_nearest_across_the_real_gallery_blocks(distance, monkeypatch):
    monkeypatch.setattr(search, "QUERY_BLOCK", 32)
    query = gaussian(35, 16)
    gallery = gaussian(2 * search.GALLERY_BLOCK + 5, 16, seed=1)
    gallery[-1] = gallery[search.GALLERY_BLOCK] = gallery[3]  # one item in three blocks
    query[-1] = gallery[3]
    values, ranking = search.nearest(query, gallery, 10, distance=distance)
    expected = search.scores(query, gallery, distance).sort(dim=1, descending=True, stable=True)
    assert torch.equal(ranking, expected.indices[:, :10])
    assert torch.equal(values, expected.values[:, :10])
    assert ranking[-1, :3].tolist() == [3, search.GALLERY_BLOCK, 2 * search.GALLERY_BLOCK + 4]


@pytest.mark.parametrize("distance", search.DISTANCES)
def test_the_number_of_threads_changes_no_bit(distance, monkeypatch):
    monkeypatch.setattr(search, "QUERY_BLOCK", 32)
    query, gallery = gaussian(100, 300), gaussian(500, 300, seed=1)
    before, found = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(
            (search.scores(query, gallery, distance), *search.nearest(query, gallery, 9, distance=distance))
        )
    torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("distance", search.DISTANCES)
def test_exact_methods_agree(method, distance):
    query, gallery = gaussian(50, 24), gaussian(700, 24, seed=1)
    gallery[500] = gallery[20]
    query[0] = gallery[20]
    values, ranking = search.nearest(query, gallery, 10, method, distance)
    expected = search.nearest(query, gallery, 10, distance=distance)
    assert torch.equal(ranking, expected[1])
    assert ranking[0, :2].tolist() == [20, 500]
    np.testing.assert_allclose(values, expected[0], atol=2e-3 if distance == "euclidean" else 1e-6)
    assert (values.dtype, ranking.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("method", APPROXIMATE)
@pytest.mark.parametrize("distance", search.DISTANCES)
def test_approximate_methods_find_most_of_it_and_repeat(method, distance):
    # clusters, as embeddings have them; pure noise has no neighbourhoods to find
    gallery = (3 * gaussian(20, 16)).repeat(100, 1) + gaussian(2000, 16, seed=1)
    query = gallery[::40] + 0.1 * gaussian(50, 16, seed=2)
    values, ranking = search.nearest(query, gallery, 10, method, distance)
    expected = search.nearest(query, gallery, 10, distance=distance)[1]
    found = np.mean([len({*a} & {*b}) / 10 for a, b in zip(ranking.tolist(), expected.tolist(), strict=True)])
    assert found > 0.9
    assert (values[:, :-1] >= values[:, 1:]).all()
    assert torch.equal(search.nearest(query, gallery, 10, method, distance)[1], ranking)


@pytest.mark.parametrize("method", search.METHODS)
def test_whole_gallery_and_single_item(method):
    query, gallery = gaussian(3, 8), gaussian(5, 8, seed=1)
    assert search.nearest(query, gallery, 5, method)[1].sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert search.nearest(query, gallery[:1], 1, method)[1].tolist() == [[0]] * 3


@pytest.mark.parametrize("method", EXACT)
def test_constant_embeddings_give_the_lowest_indices(method):
    values, ranking = search.nearest(torch.ones(3, 4), torch.ones(40, 4), 40, method)
    assert ranking.tolist() == [list(range(40))] * 3
    np.testing.assert_allclose(values, np.ones((3, 40)), atol=1e-6)


def test_an_index_that_misses_items_says_so():
    # 39 items per cell and an eighth of the cells: never 1,000 of 2,000
    with pytest.raises(RuntimeError, match="IndexIVFFlat reached fewer than k=1000 of 2000 items"):
        search.nearest(gaussian(2, 8), gaussian(2000, 8, seed=1), 1000, "faiss_ivf")


def test_faiss_threads_are_given_back():
    import faiss

    before, others = faiss.omp_get_max_threads(), torch.get_num_threads() + 1
    faiss.omp_set_num_threads(others)
    for method in ("faiss_hnsw", "faiss_flat"):
        search.nearest(gaussian(2, 8), gaussian(50, 8), 3, method)
        assert faiss.omp_get_max_threads() == others
    faiss.omp_set_num_threads(before)


class Largest(TorchFunctionMode):
    """Remembers the largest tensor that any torch call returned."""

    numel = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):  # noqa: ARG002
        result = function(*args, **(kwargs or {}))
        self.numel = max(self.numel, result.numel() if isinstance(result, torch.Tensor) else 0)
        return result


@pytest.mark.slow
@pytest.mark.parametrize("distance", search.DISTANCES)
def test_nearest_never_holds_the_matrix(distance, monkeypatch):
    monkeypatch.setattr(search, "GALLERY_BLOCK", 64)
    monkeypatch.setattr(search, "QUERY_BLOCK", 32)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # the watch does not see other threads
    query, gallery = gaussian(300, 8), gaussian(3000, 8, seed=1)
    with Largest() as largest:
        search.nearest(query, gallery, 5, distance=distance)
    assert largest.numel < 3000  # of 900,000: a block is 64 × 32, candidates are fewer than 3 blocks
    with Largest() as largest:
        search.scores(query, gallery, distance)
    assert largest.numel == 900_000  # the watch works


@pytest.mark.usefixtures("small_blocks", "threads")
def test_inputs_stay_as_they_are_and_gradients_are_no_obstacle():
    query, gallery = gaussian(16, 8).requires_grad_(), gaussian(9, 8, seed=1)
    before = query.detach().clone(), gallery.clone()
    for call in (
        lambda: search.scores(query, gallery),
        lambda: search.nearest(query, gallery, 3)[0],
    ):
        assert not call().requires_grad
    assert torch.equal(query.detach(), before[0])
    assert torch.equal(gallery, before[1])


# ---- what is not accepted ----


@pytest.mark.parametrize("method", search.METHODS)
@pytest.mark.parametrize("k", [0, 6])
def test_k_beyond_the_gallery_names_both(method, k):
    with pytest.raises(ValueError, match=f"1 <= k <= 5, .*got k={k}"):
        search.nearest(gaussian(2, 4), gaussian(5, 4), k, method)


@pytest.mark.parametrize("method", search.METHODS)
@pytest.mark.parametrize("distance", search.DISTANCES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_is_named(method, distance, value):
    good, bad = gaussian(60, 4), gaussian(60, 4)
    bad[[50, 55], 2] = value  # the first is named
    with pytest.raises(ValueError, match="gallery row 50 holds NaN, Inf"):
        search.nearest(good, bad, 3, method, distance)
    with pytest.raises(ValueError, match="query row 50 holds NaN, Inf"):
        search.nearest(bad, good, 3, method, distance)


@pytest.mark.usefixtures("small_blocks", "threads")
def test_the_row_is_counted_from_the_start_not_from_the_block():
    bad = gaussian(60, 4)
    bad[50, 2] = torch.nan
    for call in (search.scores, lambda *rows: search.nearest(*rows, 3)):
        with pytest.raises(ValueError, match=r"row 5\d holds NaN"):
            call(gaussian(2, 4), bad)
    with pytest.raises(ValueError, match="query row 50 holds NaN"):
        search.scores(bad, gaussian(2, 4))


@pytest.mark.parametrize(
    ("query", "gallery"),
    [((2, 3), (5, 4)), ((3,), (5, 3)), ((2, 3), (5, 3, 1)), ((0, 3), (5, 3)), ((2, 3), (0, 3))],
)
def test_shapes_are_named(query, gallery):
    for call in (search.scores, lambda *rows: search.nearest(*rows, 1)):
        with pytest.raises(ValueError, match="expected"):
            call(torch.zeros(query), torch.zeros(gallery))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="cosine, euclidean; got 'manhattan'"):
        search.scores(gaussian(2, 4), gaussian(5, 4), "manhattan")
    with pytest.raises(ValueError, match="exact, sklearn, .*; got 'annoy'"):
        search.nearest(gaussian(2, 4), gaussian(5, 4), 1, "annoy")


@pytest.mark.parametrize("n_query", [1, 15, 16, 17, 512, 513, 1000, 5000, 5008])
def test_blocks_of_queries_are_of_about_one_size(n_query):
    blocks = search._query_blocks(n_query)
    rows = [row for block in blocks for row in range(n_query)[block]]
    assert rows == list(range(n_query))
    sizes = [len(range(n_query)[block]) for block in blocks]
    assert len(sizes) == -(-n_query // search.QUERY_BLOCK)
    assert max(sizes) - min(sizes) < 2 * products.PADDING
    assert all(size % products.PADDING == 0 for size in sizes[:-1])  # none is padded but the last
    assert max(sizes) <= search.QUERY_BLOCK
    if len(sizes) % 2 == 0:  # two threads have half each
        assert abs(sum(sizes[::2]) - sum(sizes[1::2])) < 3 * products.PADDING
