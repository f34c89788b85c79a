import numpy as np
import pytest
import torch

from m5utils import answers, search


def naive(query, query_group, gallery, gallery_group, own):
    """Each query alone, by its whole list of scores."""
    lists, ranks = [], []
    for row in range(len(query)):
        scores = search.scores(query[row : row + 1], gallery)[0].numpy()
        items = [item for item in range(len(gallery)) if item != own[row]]
        items.sort(key=lambda item: (-scores[item], item))
        lists.append(items[: answers.TOP])
        right = [scores[item] for item in items if gallery_group[item] == query_group[row]]
        wrong = [scores[item] for item in items if gallery_group[item] != query_group[row]]
        ranks.append(1 + sum(score >= max(right) for score in wrong) if right else 0)
    return lists, ranks


@pytest.mark.parametrize("with_own", [True, False])
def test_answers_are_those_of_a_slow_loop(with_own: bool):
    gallery, query = torch.randn(40, 6), torch.randn(25, 6)
    gallery[7], query[3] = gallery[2], gallery[2]  # ties
    groups = np.arange(40) % 9
    own = np.full(25, -1)
    if with_own:
        query, own = torch.cat([gallery[:20], query[:5]]), np.array([*range(20), *[-1] * 5])
    query_group = np.arange(25) % 11  # groups 9 and 10 have nothing right to find
    found = answers.first_answers(query, query_group, gallery, groups, own=own)
    lists, ranks = naive(query, query_group, gallery, groups, own)
    assert found.found.tolist() == lists
    assert found.ranks.tolist() == ranks
    assert 0 in ranks
    expected = search.scores(query, gallery).gather(1, torch.from_numpy(found.found))
    assert torch.allclose(torch.from_numpy(found.scores), expected, atol=1e-6)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    query, gallery = torch.randn(30, 5), torch.randn(50, 5)
    groups = np.arange(30) % 7, np.arange(50) % 7
    whole = answers.first_answers(query, groups[0], gallery, groups[1], "euclidean")
    monkeypatch.setattr(answers, "AT_A_TIME", 110)
    parts = answers.first_answers(query, groups[0], gallery, groups[1], "euclidean")
    assert parts.ranks.tolist() == whole.ranks.tolist()


def test_of_too_many_queries_a_random_part_is_answered(monkeypatch: pytest.MonkeyPatch):
    query, gallery = torch.randn(30, 5), torch.randn(50, 5)
    groups = np.arange(30) % 7, np.arange(50) % 7
    whole = answers.first_answers(query, groups[0], gallery, groups[1])
    monkeypatch.setattr(answers, "COMPARISONS", 400)
    part = answers.first_answers(query, groups[0], gallery, groups[1])
    assert len(part.rows) == 8
    assert part.rows.tolist() == sorted(set(part.rows.tolist()))
    assert part.found.tolist() == whole.found[part.rows].tolist()
    assert part.ranks.tolist() == whole.ranks[part.rows].tolist()


def test_a_gallery_of_nothing_but_the_query_has_no_answer():
    row = torch.ones(1, 3)
    found = answers.first_answers(row, np.zeros(1), row, np.zeros(1), own=np.zeros(1, dtype=int))
    assert found.found.shape == (1, 0)
    assert found.ranks.tolist() == [0]
