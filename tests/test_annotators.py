"""Simulated annotators: what they look at, what noise does, and that they never see a caption."""

import ast
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from m5utils import annotators, user_study
from m5utils.user_study import Study


def scene(objects: dict, place: str = "park", attributes: dict | None = None) -> tuple[Counter, ...]:
    return Counter(objects), Counter(attributes or {}), Counter(), Counter([place])


SCENES = (scene({"dog": 2}), scene({"dog": 2}), scene({"cat": 1}), scene({"cat": 1}, "room"))


def test_similarity_by_hand():
    one, other = scene({"dog": 2, "cat": 1}, "park"), scene({"dog": 1}, "room")
    # objects 1/3, place 0/2; nobody has attributes or relations, so they do not count
    assert annotators.similarity(one, other, (3, 1, 1, 1)) == pytest.approx(3 * (1 / 3) / 4)
    assert annotators.similarity(one, one, (3, 1, 1, 1)) == 1
    nothing = (Counter(), Counter(), Counter(), Counter())
    assert annotators.similarity(nothing, nothing, (1, 1, 1, 1)) == 0
    assert annotators.similarity(one, nothing, (1, 1, 1, 1)) == 0


def test_without_noise_the_more_similar_scene_is_chosen():
    found = annotators.choices(SCENES, np.array([[0, 1, 2], [0, 3, 2], [3, 1, 2]]), annotators=3, noise=0)
    assert found.tolist() == [[1, -1, -1]] * 3


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_noise_is_what_was_said(noise):
    triplets = np.tile([[0, 1, 2], [0, 2, 1]], (1000, 1))
    found = annotators.choices(SCENES, triplets, annotators=4, noise=noise)
    right = np.tile([1, -1], 1000)
    assert (found == right).mean() == pytest.approx(1 - noise, abs=0.02)
    named = tuple((str(row), "a", "b") for row in range(2000))
    study = Study(named, tuple("ABCD"), found)
    expected = (1 - noise) ** 2 + noise**2
    assert user_study.between_annotators(study).mean() == pytest.approx(expected, abs=0.03)


def test_ties_are_broken_by_chance():
    found = annotators.choices(SCENES, np.tile([[0, 2, 2]], (500, 1)), annotators=1, noise=0)
    assert abs(found.mean()) < 0.15


def test_annotators_differ_in_what_they_find_important():
    one, like_it, there = scene({"dog": 1}), scene({"dog": 1}, "room"), scene({"cat": 1})
    found = annotators.choices([one, like_it, there], np.array([[0, 1, 2]]), annotators=200, noise=0)
    assert 0.5 < (found == 1).mean() < 0.99  # objects weigh more than the place, but not to everybody


def test_nobody_and_too_much_noise_are_refused():
    for wrong in ({"annotators": 0}, {"noise": 0.6}, {"noise": -0.1}):
        with pytest.raises(ValueError, match="annotators >= 1 and noise from 0 to 0.5"):
            annotators.choices(SCENES, np.array([[0, 1, 2]]), **wrong)


def test_they_know_nothing_of_captions():
    tree = ast.parse(Path(annotators.__file__).read_text(encoding="utf-8"))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported == {"collections", "collections.abc", "numpy"}
