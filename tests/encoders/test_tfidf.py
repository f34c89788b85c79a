import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from m5utils.encoders import tfidf
from m5utils.encoders.text import words

TRAIN = ["a red ball", "a red dog", "the dog runs", "the ball rolls", "A DOG, a ball!", "zebra"]


def by_loops(captions, train):
    """Rows of length 1 over the terms of two captions or more, sorted by term: one number at a time."""

    def counts(caption):
        one = words(caption)
        terms = [*one, *(f"{left} {right}" for left, right in zip(one, one[1:], strict=False))]
        return {term: terms.count(term) for term in terms}

    holders = {}
    for caption in train:
        for term in counts(caption):
            holders[term] = holders.get(term, 0) + 1
    idf = {t: 1 + np.log((1 + len(train)) / (1 + n)) for t, n in sorted(holders.items()) if n >= 2}
    rows = []
    for caption in captions:
        found = counts(caption)
        row = np.array([(1 + np.log(found[t])) * weight if t in found else 0 for t, weight in idf.items()])
        rows.append(row / (np.linalg.norm(row) or 1))
    return np.array(rows)


def many(n, seed=0):
    """Sentences whose words are as unequally frequent as in a language."""
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{number}" for number in draw.zipf(1.4, size=8) % 400) for _ in range(n)]


def test_all_directions_keep_every_angle():
    fitted = tfidf.fit(TRAIN)
    asked = [*TRAIN, "red red red dog", "the red ball"]
    expected = by_loops(asked, TRAIN)
    assert fitted.dim == np.linalg.matrix_rank(by_loops(TRAIN, TRAIN))  # fewer than the 600 asked for
    rows = fitted(TRAIN)
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows @ rows.T, by_loops(TRAIN, TRAIN) @ by_loops(TRAIN, TRAIN).T, atol=1e-5)
    projected = expected @ fitted.directions
    projected /= np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(fitted(asked), projected, atol=1e-5)


@pytest.mark.slow
def test_the_first_directions_are_the_singular_vectors():
    captions = many(1500)
    fitted, rows = tfidf.fit(captions, dim=8), by_loops(captions, captions)
    squares, left = eigh(rows @ rows.T, subset_by_index=[len(rows) - 8, len(rows) - 1])  # ascending
    lengths, exact = squares[::-1] ** 0.5, (rows.T @ left[:, ::-1]).T
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.directions.T @ fitted.directions, np.eye(8), atol=1e-5)
    held = np.linalg.norm(rows @ fitted.directions, axis=0)
    np.testing.assert_allclose(held, lengths, rtol=1e-2)
    assert abs(exact[0] @ fitted.directions[:, 0]) > 0.9999
    largest = np.abs(fitted.directions).argmax(axis=0)
    assert (fitted.directions[largest, range(8)] > 0).all()  # scikit-learn's rule for signs


def test_a_part_of_the_captions_that_repeats_spans_less():
    captions = ["a dog", "a dog", "a cat", "a cat", "a cat"]
    fitted = tfidf.fit(captions, dim=50)
    assert fitted.dim == 2
    dog, cat = by_loops(["a dog", "a cat"], captions)
    expected = [1, 1, *[dog @ cat] * 3]
    np.testing.assert_allclose((fitted(["a dog"]) @ fitted(captions).T)[0], expected, atol=1e-5)


def test_captions_of_unknown_words_are_zeros():
    fitted = tfidf.fit(TRAIN)
    rows = fitted(["zebra", "unheard of", "", "a ball"])  # "zebra" stands in one caption only
    assert rows.norm(dim=1).tolist() == pytest.approx([0, 0, 0, 1])
    assert fitted([]).shape == (0, fitted.dim)


def test_a_caption_does_not_depend_on_its_company():
    fitted, captions = tfidf.fit(many(300), dim=20), many(50, seed=1)
    assert torch.equal(fitted(captions)[7:8], fitted(captions[7:8]))


def test_fitting_repeats_whatever_the_threads_and_the_blocks(monkeypatch):
    captions = many(400)
    once = tfidf.fit(captions, dim=20)
    with threadpool_limits(3):
        again = tfidf.fit(captions, dim=20)
    assert np.array_equal(again.directions, once.directions)
    monkeypatch.setattr(tfidf, "AT_ONCE", 93)  # does not divide the 400
    np.testing.assert_allclose(tfidf.fit(captions, dim=20).directions, once.directions, atol=1e-3)


def test_fit_refuses():
    with pytest.raises(ValueError, match="dim >= 1; got 0"):
        tfidf.fit(TRAIN, dim=0)
    for captions in ([], ["..."], ["a dog", "the cat"], ["one alone"]):
        with pytest.raises(ValueError, match=f"two captions or more; got {len(captions)} captions"):
            tfidf.fit(captions)
