"""Captions as Fisher vectors: learned on train alone, the same for a caption whoever is beside it."""

import numpy as np
import pytest
import torch

from m5utils import caption_descriptors
from m5utils.encoders import fisher, text
from m5utils.encoders.text import WordVectors

NOUNS, VERBS = ("dog", "cat", "boy", "girl", "horse", "bird"), ("runs", "sits", "sleeps", "eats", "jumps")
TRAIN = [f"a {noun} {verb}" for noun in NOUNS for verb in VERBS]
SIZES = {"components": 30, "word_dim": 3, "dim": 7}


def letters() -> WordVectors:
    """A word's vector says which letters it has; numbers have none."""

    def vector(word: str) -> np.ndarray | None:
        counts = np.array([word.count(letter) for letter in "abcdeghilnoprstu"], dtype=np.float32)
        return None if word.isdigit() else counts + 0.1

    return WordVectors("letters", 16, vector, lambda word: not word.isdigit())


@pytest.fixture(scope="module")
def described():
    return caption_descriptors.fit(TRAIN, letters(), **SIZES)


def test_sizes_follow_from_train(described):
    assert [len(mixture.weights) for mixture in described.mixtures.values()] == [1, 1]  # of 12 words
    assert described.fisher_dim == 2 * 2 * 1 * 3
    assert described(TRAIN).shape == (30, 7)
    assert list(described.mixtures) == ["gaussian", "hybrid"]
    assert described.mixtures["hybrid"].centres.shape == (1, 3)


def test_a_caption_s_vector_does_not_depend_on_its_company(described):
    together = described([*TRAIN, "12 34", "a dog 12 eats"])
    torch.testing.assert_close(described(TRAIN[3:5]), together[3:5])
    assert torch.isfinite(together).all()
    # a word without a vector is as if it were not there; a caption without words is the zero Fisher vector
    torch.testing.assert_close(together[-1], described(["a dog eats"])[0])
    torch.testing.assert_close(together[-2], described([""])[0])


def test_it_is_the_fisher_vector_on_the_words_axes_and_its_own(described):
    split_into = text.split(TRAIN[:4])
    vectors = caption_descriptors.placed(letters(), described.word_axes, split_into.vocabulary)
    assert vectors.shape == (len(split_into.vocabulary), 3)
    (block,) = fisher.blocks(list(described.mixtures.values()), split_into, vectors)
    torch.testing.assert_close(described(TRAIN[:4]), described.axes(torch.from_numpy(block)))


def test_axes_keep_what_differs_most():
    described = caption_descriptors.fit(TRAIN, letters(), 30, 3, 12)
    variance = described(TRAIN).var(dim=0)
    assert (variance[:-1] - variance[1:] > -1e-6).all()
    torch.testing.assert_close(described(TRAIN).mean(dim=0), torch.zeros(12), atol=1e-5, rtol=0)


def test_the_same_captions_give_the_same_vectors(described):
    again = caption_descriptors.fit(TRAIN, letters(), **SIZES)
    assert torch.equal(again(TRAIN), described(TRAIN))


@pytest.mark.parametrize(("captions", "n"), [([], 0), (["...", "12"], 0), (["dog"] * 9, 1)])
def test_captions_that_cannot_differ(captions, n):
    with pytest.raises(ValueError, match=f"at least two different words.*{len(captions)} captions have {n}"):
        caption_descriptors.fit(captions, letters(), **SIZES)
