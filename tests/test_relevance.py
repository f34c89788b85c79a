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
