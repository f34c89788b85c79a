import numpy as np
import pytest
import torch

from m5utils import relevance


def test_same_class_by_hand():
    # gallery classes down the columns: 2, 0, 1, 0
    expected = [
        [False, True, False, True],  # query of class 0
        [True, False, False, False],  # query of class 2
    ]
    found = relevance.same_class([0, 2], [2, 0, 1, 0])
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)


def test_same_class_of_one_class_and_of_names():
    assert relevance.same_class([3, 3], [3, 3, 3]).all()
    np.testing.assert_array_equal(relevance.same_class(["coast"], ["street", "coast"]), [[False, True]])


def test_same_class_takes_torch_tensors():
    found = relevance.same_class(torch.tensor([0, 1]), torch.tensor([1, 0]))
    np.testing.assert_array_equal(found, [[False, True], [True, False]])


def test_absent_class_is_named_with_its_first_query():
    with pytest.raises(ValueError, match=r"query 1 is of class 7.*2 such queries"):
        relevance.same_class([0, 7, 7], [0, 1])
    with pytest.raises(ValueError, match="query 0 .*no gallery item"):
        relevance.same_class([0], np.empty(0, int))


def test_labels_must_be_one_per_item():
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(2,\)"):
        relevance.same_class([[0], [1]], [0, 1])
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1, 2\)"):
        relevance.same_class([0, 1], [[0, 1]])


def test_captions_of_any_images_in_any_order():
    image_of = np.array([0, 0, 2, 2, 2, 5])  # images 1, 3 and 4 have none
    for images in ([0, 2, 5], [5, 0], [2, 2], [1, 2, 3], [], [4]):
        chosen, place = relevance.captions_of(image_of, images)
        expected = [(c, at) for at, image in enumerate(images) for c in range(6) if image_of[c] == image]
        assert list(zip(chosen.tolist(), place.tolist(), strict=True)) == expected


# --- objects ----------------------------------------------------------------------------------------------


def slowly(query: list[str], image: list[str], rule: str) -> bool | float:
    """The rules again, on lists of named objects: an object of one looks for a partner in the other."""
    if rule == "selection":
        return any(thing == other for thing in query for other in image)
    if rule in ("aggregation", "aggregation_strict"):
        every = bool(query) and all(any(thing == other for other in image) for thing in query)
        if rule == "aggregation":
            return every
        return every and all(any(thing == other for other in query) for thing in image)
    left, matched = list(image), 0
    for thing in query:
        if thing in left:
            left.remove(thing)
            matched += 1
    together = len(query) + len(image) - matched
    return matched / together if together else 0.0


@pytest.mark.parametrize("rule", relevance.RULES)
def test_rules_agree_with_loops_over_lists_of_objects(rule):
    draw = np.random.default_rng(0)
    counts = draw.poisson(0.5, (400, 6))
    counts[:3] = 0
    names = [[name for name, n in zip("abcdef", row, strict=True) for _ in range(n)] for row in counts]
    found = relevance.shared_objects(counts[:300], counts[100:], rule)  # more than one block of queries
    expected = [[slowly(query, image, rule) for image in names[100:]] for query in names[:300]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == (np.float64 if rule == "weighted" else bool)
    assert found.any()


def test_rules_by_hand():
    query = [[2, 1, 0]]  # two dogs and a cat
    images = [[1, 0, 0], [2, 1, 0], [1, 1, 3], [1, 5, 0], [0, 0, 1], [0, 0, 0]]
    by_rule = {rule: relevance.shared_objects(query, images, rule)[0].tolist() for rule in relevance.RULES}
    assert by_rule["selection"] == [True, True, True, True, False, False]
    assert by_rule["aggregation"] == [False, True, True, True, False, False]
    assert by_rule["aggregation_strict"] == [False, True, False, True, False, False]
    assert by_rule["weighted"] == pytest.approx([1 / 3, 1, 2 / 6, 2 / 7, 0, 0])


@pytest.mark.parametrize("rule", relevance.RULES)
def test_nothing_answers_an_image_without_objects(rule):
    assert not relevance.shared_objects([[0, 0]], [[0, 0], [1, 0]], rule).any()
    assert not relevance.shared_objects([[1, 0]], [[0, 0]], rule).any()


@pytest.mark.parametrize(
    ("query", "gallery", "rule", "words"),
    [
        ([[1]], [[1]], "any", "expected a rule out of selection, "),
        ([[1, 0]], [[1]], "selection", "expected the same categories; got 2 and 1"),
        ([1], [[1]], "selection", r"query counts .* got int64 \(1,\)"),
        ([[1]], [[0.5]], "weighted", "gallery counts .* whole numbers from 0; got float64"),
        ([[-1]], [[1]], "weighted", "query counts"),
    ],
)
def test_counts_that_are_none_are_refused(query, gallery, rule, words):
    with pytest.raises(ValueError, match=words):
        relevance.shared_objects(query, gallery, rule)
