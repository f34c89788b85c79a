"""Pictures with objects as queries and gallery: who answers whom, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from m5utils import object_tasks
from m5utils.object_tasks import ObjectTask, Pictures


def pictures(counts: list[list[int]], first: int = 0) -> Pictures:
    """Pictures whose features are their counts; the file lists what is there, but not the last category."""
    table = np.array(counts)
    listed = (table > 0).astype(np.int64)
    listed[:, -1] = 0
    return Pictures(torch.from_numpy(table).float(), table, listed, first + np.arange(len(table)))


TRAIN = pictures([[2, 0, 0], [1, 1, 0], [0, 0, 3], [4, 2, 0]])
TASK = ObjectTask(TRAIN, pictures([[2, 1, 0], [0, 0, 1]], first=10), TRAIN, "drawn, test")


def test_relevance_by_hand():
    assert TASK.relevance("selection").tolist() == [[True, True, False, True], [False, False, True, False]]
    assert TASK.relevance("aggregation")[0].tolist() == [False, True, False, True]
    weighted = [[2 / 3, 2 / 3, 0, 1 / 2], [0, 0, 1 / 3, 0]]
    np.testing.assert_allclose(TASK.gains("weighted"), weighted)
    assert TASK.relevance("weighted").tolist() == [[True, True, False, True], [False] * 4]  # from 1/2 on
    assert TASK.gains("selection").dtype == np.float64
    np.testing.assert_array_equal(TASK.gains("selection"), TASK.relevance("selection"))


def test_the_files_labels_are_its_own():
    assert TASK.relevance("selection", "file").tolist() == [[True, True, False, True], [False] * 4]
    with pytest.raises(ValueError, match=r"labels out of full, file; got 'both'"):
        TASK.relevance("selection", "both")


def test_the_task_to_choose_by_knows_nothing_of_the_queries():
    held_out = TASK.held_out(np.array([0, 2]), np.array([3]))
    assert held_out.train.ids.tolist() == held_out.gallery.ids.tolist() == [0, 2]
    assert held_out.query.ids.tolist() == [3]
    assert held_out.query.features.tolist() == [[4, 2, 0]]
    assert "validation part of train: 1 queries, gallery of 2" in held_out.caption()
    assert "drawn, test: 2 queries, gallery of 4" in TASK.caption(seeds=3)
    assert "3 seeds ± standard deviation over seeds [95 %" in TASK.caption(seeds=3)
    assert "1 seed [95 %" in TASK.caption()


def test_a_query_never_finds_itself():
    with pytest.raises(ValueError, match=r"picture 2 is a query and in the gallery \(1 such\)"):
        replace(TASK, query=pictures([[1, 0, 0], [1, 0, 0]], first=2), gallery=TRAIN.take(np.array([2])))
    with pytest.raises(ValueError, match=r"picture 3 is a query and in the train set"):
        replace(TASK, query=pictures([[1, 0, 0]], first=3), gallery=TRAIN.take(np.array([0])))


def test_features_and_counts_must_be_of_the_same_pictures():
    with pytest.raises(ValueError, match=r"features, 4; got \(3, 3\), \(4, 3\) and 4"):
        replace(TRAIN, counts=TRAIN.counts[:3])
    with pytest.raises(ValueError, match=r"got \(4, 3\), \(4, 2\)"):
        replace(TRAIN, listed=TRAIN.listed[:, :2])
    with pytest.raises(ValueError, match="features must be finite; row 1"):
        replace(TRAIN, features=TRAIN.features.clone().index_fill_(0, torch.tensor([1]), torch.nan))


def test_from_one_half_on_two_pictures_are_alike():
    query, gallery = np.array([[2, 0]]), np.array([[1, 0], [1, 1], [2, 2], [2, 3]])  # 1/2, 1/3, 1/2, 2/5
    assert object_tasks.answers(query, gallery, "weighted").tolist() == [[True, False, True, False]]
