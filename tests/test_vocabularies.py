import dataclasses

import drawn
import numpy as np
import pytest
import torch

from m5utils import vocabularies

PAIRS = dataclasses.replace(
    drawn.words(2),
    captions=torch.tensor([[3, 3, 1, -1], [3, -1, -1, -1], [1, 4, -1, -1], [-1, -1, -1, -1]]),
    image_of=np.array([0, 0, 1, 1]),
)


def test_words_are_known_from_so_many_occurrences_on():
    assert vocabularies.known(PAIRS, 1).tolist() == [0, 0, 1, 0, 2, 3, 0, 0, 0, 0, 0]
    assert vocabularies.known(PAIRS, 2).tolist() == [0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0]
    assert vocabularies.known(PAIRS, 3).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_bags_hold_a_word_once():
    places = vocabularies.known(PAIRS, 2)  # words 1 and 3
    of_captions = [[True, True], [False, True], [True, False], [False, False]]
    assert vocabularies.bags(PAIRS, places).tolist() == of_captions
    assert vocabularies.bags(PAIRS, places, by="image").tolist() == [[True, True], [True, False]]


def test_what_is_no_word_is_said():
    with pytest.raises(ValueError, match="captions as numbers of words.*these are vectors"):
        vocabularies.known(drawn.vectors(), 1)
    with pytest.raises(ValueError, match="occurs 99 times or more in train; there is none"):
        vocabularies.known(PAIRS, 99)
    with pytest.raises(ValueError, match="by caption or image; got 'word'"):
        vocabularies.bags(PAIRS, vocabularies.known(PAIRS, 1), by="word")
