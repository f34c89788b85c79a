"""Images with texts, who is alike, and which negatives a batch holds."""

import numpy as np
import pytest
import torch
from reference import gaussian
from scipy import sparse

from m5utils import semantic_triplets
from m5utils.semantic_triplets import Described


def texts(n: int, terms: int = 12, seed: int = 0) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    rows = rng.random((n, terms)) * (rng.random((n, terms)) < 0.4) + 1e-6 * np.eye(n, terms)
    return sparse.csr_array(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("entries", [1, 30, 10**6])
def test_the_most_alike_are_those_of_the_whole_product(entries, monkeypatch):
    rows = texts(11)
    monkeypatch.setattr(semantic_triplets, "ENTRIES", entries)
    product = (rows @ rows.T).toarray()
    np.fill_diagonal(product, -1)
    expected = np.argsort(-product, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(semantic_triplets.most_alike(rows, 4), expected)


def test_never_all_similarities_are_held(monkeypatch):
    held, really = [], sparse.csr_array.toarray
    monkeypatch.setattr(semantic_triplets, "ENTRIES", 40)
    monkeypatch.setattr(sparse.csr_array, "toarray", lambda self: held.append(self.shape) or really(self))
    semantic_triplets.most_alike(texts(20), 3)
    assert set(held) == {(2, 20)}


@pytest.mark.parametrize("k", [0, 11])
def test_so_many_others_there_must_be(k):
    with pytest.raises(ValueError, match=rf"1 <= k <= 10, the other images; got k={k}"):
        semantic_triplets.most_alike(texts(11), k)


def test_negatives_are_the_hardest_of_the_less_alike():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    alike = torch.tensor([[1.0, 0.1, 0.5, 0.2]])
    query, found = semantic_triplets.negatives(scores, alike, torch.tensor([0.6]), 2)
    assert query.tolist() == [0, 0]
    assert found.tolist() == [1, 3]  # 0 and 2 are more than half as alike as the positive
    query, found = semantic_triplets.negatives(scores, alike, torch.tensor([0.1]), 9)
    assert found.tolist() == []


def test_alike_in_a_batch_is_a_part_of_the_product():
    rows = texts(9)
    found = semantic_triplets.alike_in_batch(rows, np.array([3, 1]), np.array([0, 3, 8]))
    np.testing.assert_allclose(found, (rows @ rows.T).toarray()[np.ix_([3, 1], [0, 3, 8])], rtol=1e-6)


def test_a_key_names_the_content():
    described = Described(gaussian(6, 3), texts(6))
    assert described.key == Described(gaussian(6, 3), texts(6)).key
    assert described.key != Described(gaussian(6, 3), texts(6, seed=1)).key
    assert described.key != Described(gaussian(6, 3, seed=1), texts(6)).key
    some = described.take(np.array([4, 0]))
    assert torch.equal(some.features, gaussian(6, 3)[[4, 0]])
    np.testing.assert_array_equal(some.texts.toarray(), texts(6).toarray()[[4, 0]])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a text for each of 5 images; got 6"):
        Described(gaussian(5, 3), texts(6))
    with pytest.raises(ValueError, match="length 1 or 0"):
        Described(gaussian(6, 3), texts(6) * 2)
    with pytest.raises(ValueError, match="row 2"):
        Described(gaussian(6, 3).index_fill(0, torch.tensor([2]), torch.nan), texts(6))
