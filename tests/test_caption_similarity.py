"""Proxies for meaning: stems, tf-idf by hand, any features of captions, METEOR without WordNet."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse

from m5utils import caption_similarity

CAPTIONS = ("Two dogs running.", "A dog runs", "a cat sits", "the cats sat", "A bird")
IMAGE_OF = np.array([0, 0, 1, 2, 3])


def test_stems_bring_forms_of_a_word_together():
    assert caption_similarity.stems("Two dogs running, a DOG runs!") == [
        "two",
        "dog",
        "run",
        "a",
        "dog",
        "run",
    ]


def test_tfidf_by_hand():
    proxy = caption_similarity.fit(CAPTIONS, IMAGE_OF, 4)
    # "a" stands in images 0, 1 and 3, "cat" in 1 and 2; all other stems in one image only
    assert sorted(proxy.terms) == ["a", "cat"]
    a, cat = math.log(4 / 3), math.log(4 / 2)
    np.testing.assert_allclose(proxy.idf[[proxy.terms["a"], proxy.terms["cat"]]], [a, cat], rtol=1e-6)
    rows = proxy(CAPTIONS, IMAGE_OF, 4)
    gains = (rows @ rows.T).toarray()
    length = math.hypot(a, cat)
    expected = np.array([[1, a / length, 0, 1], [a / length, 1, cat / length, a / length]])
    np.testing.assert_allclose(gains[:2], expected, atol=1e-6)


def test_what_is_said_of_every_image_counts_for_nothing():
    proxy = caption_similarity.fit(["a dog", "a dog", "a cat"], np.arange(3), 3)
    assert set(proxy.terms) == {"dog"}
    rows = proxy(["a zebra", "a dog"], np.arange(2), 2)
    assert rows.toarray().ravel().tolist() == [0, 1]  # nothing known of the first


def test_the_words_of_other_images_do_not_enter():
    proxy = caption_similarity.fit(CAPTIONS, IMAGE_OF, 4)
    assert proxy.known("Cats")
    assert not proxy.known("dog")
    rows = proxy.of_captions(["a cat and a giraffe", "giraffe"])
    assert rows.shape == (2, 2)
    assert rows[[1]].nnz == 0


def test_a_vocabulary_of_one_word():
    with pytest.raises(ValueError, match="no word tells 3 images apart.* 1 different words"):
        caption_similarity.fit(["dog"] * 3, np.arange(3), 3)
    proxy = caption_similarity.fit(["dog", "dogs", "!"], np.arange(3), 3)
    rows = proxy(["dog", "dogs", "!"], np.arange(3), 3)
    np.testing.assert_allclose((rows @ rows.T).toarray(), [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("of", ["fit", "rows", "vectors"])
def test_an_image_without_a_caption_is_named(of):
    proxy = caption_similarity.fit(CAPTIONS, IMAGE_OF, 4)
    image_of = np.array([0, 0, 1, 2, 4])
    work = {
        "fit": lambda: caption_similarity.fit(CAPTIONS, image_of, 5),
        "rows": lambda: proxy(CAPTIONS, image_of, 5),
        "vectors": lambda: caption_similarity.of_caption_sets(torch.ones(5, 2), image_of, 5),
    }
    with pytest.raises(ValueError, match="image 3 has no caption .1 such images"):
        work[of]()


def test_objects_count_as_words_do():
    counts = np.array([[2, 1, 0], [1, 0, 0], [0, 3, 0]])
    weights = caption_similarity.idf(counts)
    np.testing.assert_allclose(weights, [math.log(3 / 2), math.log(3 / 2), 0], rtol=1e-6)
    rows = caption_similarity.weighted(counts, weights).toarray()
    np.testing.assert_allclose(
        rows, np.array([[2, 1, 0], [5**0.5, 0, 0], [0, 5**0.5, 0]]) / 5**0.5, rtol=1e-6
    )


def test_sets_of_any_features_are_meaned():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    found = caption_similarity.of_caption_sets(vectors, np.array([0, 0, 1, 2]), 3)
    torch.testing.assert_close(found, torch.tensor([[0.5**0.5, 0.5**0.5], [1.0, 0.0], [0.0, 0.0]]))


def slow_meteor(hypothesis, reference):
    """Of words that occur once each: matches, and runs of matches, by the formula."""
    pairs = [(h, reference.index(word)) for h, word in enumerate(hypothesis) if word in reference]
    if not pairs:
        return 0.0
    precision, recall = len(pairs) / len(hypothesis), len(pairs) / len(reference)
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in zip(pairs, pairs[1:], strict=False))
    return mean * (1 - 0.5 * (chunks / len(pairs)) ** 3)


def test_meteor_is_symmetric_and_the_mean_over_pairs_and_both_ways():
    one, other = ["the dog runs fast", "big dog"], ["a big dog runs", "cats sleep"]
    expected = np.mean(
        [
            slow_meteor(*pair)
            for a in one
            for b in other
            for pair in ((a.split(), b.split()), (b.split(), a.split()))
        ]
    )
    assert caption_similarity.meteor(one, other) == pytest.approx(expected)
    assert caption_similarity.meteor(other, one) == pytest.approx(expected)
    assert expected > 0


def test_meteor_knows_stems_but_no_synonyms():
    assert caption_similarity.meteor(["dogs running"], ["dog runs"]) == pytest.approx(1 - 0.5 / 8)
    assert caption_similarity.meteor(["a bike"], ["the bicycle"]) == 0
    with pytest.raises(ValueError, match="captions of both images; got 1 and 0"):
        caption_similarity.meteor(["a bike"], [])


def test_the_spokesman_is_the_caption_nearest_to_the_others():
    rows = sparse.csr_array(np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    assert caption_similarity.spokesman(rows) == 1
    assert caption_similarity.spokesman(rows[[3]]) == 0
