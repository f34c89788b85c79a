"""A study in triplets: its file and what can be wrong with it, agreement by hand, triplets drawn."""

import numpy as np
import pytest

from m5utils import user_study
from m5utils.user_study import Study

HEADING = "annotator,query,left,right,choice\n"
TRIPLETS = (("q", "a", "b"), ("q", "b", "c"), ("p", "a", "c"))
STUDY = Study(TRIPLETS, ("Ann", "Ben"), np.array([[1, -1, 0], [1, 1, -1]], dtype=np.int8))


def written(folder, text: str):
    file = folder / "study.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_study_comes_back_as_it_was_written(tmp_path):
    user_study.write(STUDY, tmp_path / "study.csv")
    assert (tmp_path / "study.csv").read_text().splitlines()[:3] == [
        "annotator,query,left,right,choice", "Ann,q,a,b,left", "Ben,q,a,b,left",
    ]  # fmt: skip
    found = user_study.read(tmp_path / "study.csv", known={"q", "p", "a", "b", "c"})
    assert (found.triplets, found.annotators) == (STUDY.triplets, STUDY.annotators)
    np.testing.assert_array_equal(found.choices, STUDY.choices)


def test_spreadsheets_write_marks_and_empty_lines(tmp_path):
    found = user_study.read(written(tmp_path, "\ufeff" + HEADING + "Ann, q ,a,b,left\n\nBen,q,a,b,right\n"))
    assert found.triplets == (("q", "a", "b"),)
    assert found.choices.tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"line 1: expected annotator,query,left,right,choice; got ''"),
        ("who,query,left,right,choice\n", r"line 1: expected annotator,.*; got 'who,query"),
        (HEADING, "at least one answer below the heading"),
        (HEADING + "Ann,q,a,b\n", r"line 2: expected 5 fields, .*; got 'Ann,q,a,b'"),
        (HEADING + "Ann,q,a,b,left,really\n", "line 2: expected 5 fields"),
        (HEADING + "Ann,q,a,,left\n", "line 2: expected 5 fields"),
        (
            HEADING + "Ann,q,a,b,left\nBen,q,a,b,both\n",
            "line 3: expected the choice left or right; got 'both'",
        ),
        (HEADING + "Ann,q,a,q,left\n", "line 2: expected three different images; got q, a, q"),
        (HEADING + "Ann,q,a,z,left\n", "line 2: .*there is no 'z' in it"),
        (HEADING + "Ann,q,a,b,left\n\nAnn,q,a,b,right\n", "line 4: .*Ann has answered q, a, b before"),
    ],
)
def test_a_malformed_file_is_refused_and_the_line_is_named(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        user_study.read(written(tmp_path, text), known={"q", "a", "b"})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"study\.csv is missing: expected a study, CSV with annotator"
    ):
        user_study.read(tmp_path / "study.csv")


def test_agreement_by_hand():
    # left, right, a tie: of two that chose left, of one each, of one that chose right
    found = user_study.agreement(STUDY, [0.9, 0.1, 0.5], [0.2, 0.3, 0.5])
    np.testing.assert_allclose(found, [1, 0.5, 0.5])
    np.testing.assert_allclose(user_study.agreement(STUDY, [0, 1, 0], [1, 0, 1]), [0, 0.5, 1])


def test_agreement_between_annotators_is_over_what_they_share():
    np.testing.assert_allclose(user_study.between_annotators(STUDY), [0.5, 0.5])
    alone = Study(TRIPLETS, ("Ann", "Ben"), np.array([[1, -1, 0], [0, 0, -1]], dtype=np.int8))
    with pytest.raises(ValueError, match="no two annotators answered the same triplet"):
        user_study.between_annotators(alone)
    three = Study(TRIPLETS, ("A", "B", "C"), np.array([[1, -1, 0], [1, -1, 0], [0, 0, 1]], dtype=np.int8))
    np.testing.assert_array_equal(user_study.between_annotators(three), [1, 1, np.nan])


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="scores of 3 left and right images"):
        user_study.agreement(STUDY, [1, 2], [1, 2])
    with pytest.raises(ValueError, match="finite"):
        user_study.agreement(STUDY, [1, 2, np.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="an answer to each"):
        Study(TRIPLETS, ("Ann",), np.array([[1, 0, 1]], dtype=np.int8))
    with pytest.raises(ValueError, match="2 annotators on 3 triplets"):
        Study(TRIPLETS, ("Ann", "Ben"), np.zeros((1, 3), dtype=np.int8))


def test_triplets_are_queries_with_two_of_their_neighbours():
    neighbours = np.array([[row for row in range(8) if row != image][:5] for image in range(8)])
    found = user_study.draw(neighbours, 20, seed=1)
    assert found.shape == (20, 3)
    for query, left, right in found:
        assert {left, right} <= set(neighbours[query])
        assert left != right
    assert len({frozenset(row) for row in found.tolist()}) == 20
    np.testing.assert_array_equal(found, user_study.draw(neighbours, 20, seed=1))
    with pytest.raises(ValueError, match="at least 2 neighbours"):
        user_study.draw(neighbours[:, :1], 1)
    with pytest.raises(ValueError, match="n=41"):
        user_study.draw(neighbours, 41)
