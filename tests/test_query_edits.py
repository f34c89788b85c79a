"""Words that change a query, and which images answer it."""

import numpy as np
import pytest

from m5utils import query_edits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+ wedding", [("wedding", 1.0)]),
        ("+ cat - dog", [("cat", 1.0), ("dog", -1.0)]),
        ("+cat −dog", [("cat", 1.0), ("dog", -1.0)]),
        ("- dog", [("dog", -1.0)]),
        ("+ close-up + red ball", [("close-up", 1.0), ("red ball", 1.0)]),
    ],
)
def test_changes_are_signs_with_words(text, expected):
    assert query_edits.parsed(text) == expected


@pytest.mark.parametrize("text", ["", "wedding", "+", "+ cat -", "+ + cat"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="expected signs with words"):
        query_edits.parsed(text)


SHOWS = np.array([[2, 0, 0], [0, 1, 0], [1, 1, 0], [0, 3, 1], [0, 1, 0]])
SETTING = ["park", "park", "park", "park", "room"]


def test_what_answers_shows_the_new_and_not_the_old_in_a_like_setting():
    changes = query_edits.replacements(SHOWS, SETTING, n=99)
    asked = list(zip(changes.query.tolist(), changes.minus.tolist(), changes.plus.tolist(), strict=True))
    assert len(set(asked)) == len(asked)
    place = asked.index((0, 0, 1))  # from thing 0 to thing 1 in the park: images 1 and 3, not 2 nor 4
    assert changes.relevance[place].tolist() == [False, True, False, True, False]
    assert all(query != 4 for query, *_ in asked)  # alone in its room
    for query, answers in zip(changes.query, changes.relevance, strict=True):
        assert answers.any()
        assert not answers[query]


def test_fewer_are_drawn_by_seed():
    one, other = (query_edits.replacements(SHOWS, SETTING, n=3, seed=seed) for seed in (0, 0))
    assert len(one.query) == 3
    np.testing.assert_array_equal(one.relevance, other.relevance)


def test_where_nothing_can_change_is_said():
    with pytest.raises(ValueError, match="no change has an answer"):
        query_edits.replacements(np.ones((3, 2)), ["park"] * 3, n=5)
    with pytest.raises(ValueError, match="a setting for each of 5 images; got 1"):
        query_edits.replacements(SHOWS, ["park"], n=5)
