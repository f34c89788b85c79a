"""Windows that cover the picture, overlaps by counting pixels, hits by loops."""

import numpy as np
import pytest

from m5utils import localisation


def test_windows_cover_the_picture_and_stay_inside():
    found = localisation.windows()
    assert len(found) == len(np.unique(found, axis=0))
    assert (found >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= 1 + 1e-9).all()
    for width, height in ((0.15, 0.15), (0.6, 0.15), (0.3, 0.6)):
        of_shape = found[(found[:, 2] == width) & (found[:, 3] == height)]
        for axis, side in enumerate((width, height)):
            places = np.unique(of_shape[:, axis].round(9))
            assert places[0] == 0
            assert places[-1] == pytest.approx(1 - side)
            assert np.diff(places).max() <= side / 2 + 1e-9
    assert (np.diff(found[:, 2] * found[:, 3]) >= -1e-12).all()


def test_one_window_is_the_whole_picture():
    assert localisation.windows([1.0]).tolist() == [[0, 0, 1, 1]]


def by_pixels(box, window, width, height):
    """Overlap by counting the pixels of both."""
    seen = np.zeros((2, height, width), bool)
    x, y, w, h = (round(part * side) for part, side in zip(window, (width, height) * 2, strict=True))
    seen[0, box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = True
    seen[1, y : y + h, x : x + w] = True
    return seen.all(axis=0).sum() / seen.any(axis=0).sum()


def test_overlaps_are_those_of_pixels():
    boxes, sizes = [[3, 2, 8, 5], [0, 0, 20, 10], [18, 4, 2, 6]], [[20, 10]] * 3
    looked_at = np.array([[0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1], [0.8, 0, 0.2, 1]])
    found = localisation.overlaps(boxes, sizes, looked_at)
    expected = [[by_pixels(box, window, 20, 10) for window in looked_at] for box in boxes]
    np.testing.assert_allclose(found, expected)


def test_recall_is_a_loop_over_the_first_windows():
    draw = np.random.default_rng(0)
    scores, overlap = draw.normal(size=(30, 12)), draw.uniform(0, 0.6, size=(30, 12))
    overlap[4] = 0.49
    found = localisation.recall(scores, overlap, ks=(1, 5, 12))
    for row in range(30):
        order = np.argsort(-scores[row])
        for k in (1, 5, 12):
            assert found[f"recall@{k}"][row] == any(overlap[row][one] >= 0.5 for one in order[:k])
    assert found["recall@12"].tolist() == found["upper_bound"].tolist()
    assert found["upper_bound"][4] == 0
    assert 0 < found["recall@1"].mean() < found["recall@5"].mean() < 1


def test_ties_and_hopeless_phrases_are_misses():
    overlap = np.array([[0.5, 0.1, 0.1], [0.0, 0.0, 0.0]])
    found = localisation.recall(np.zeros((2, 3)), overlap, ks=(1, 2, 3))
    assert [found[f"recall@{k}"].tolist() for k in (1, 2, 3)] == [[0, 0], [0, 0], [1, 0]]
    none = localisation.recall(np.zeros((1, 3)), overlap[1:], ks=(1, 3))
    assert [value.tolist() for value in none.values()] == [[0], [0], [0]]


def test_chance_is_the_mean_over_orders():
    draw = np.random.default_rng(1)
    overlap = draw.uniform(0.3, 0.6, size=(6, 9))
    expected = {f"recall@{k}": [] for k in (1, 4)}
    for _ in range(600):
        for key, value in localisation.recall(draw.random((6, 9)), overlap, (1, 4)).items():
            if key in expected:
                expected[key].append(value.mean())
    for key, value in localisation.chance(overlap, (1, 4)).items():
        assert value == pytest.approx(np.mean(expected[key]), abs=0.03)
    assert localisation.chance(overlap, (9, 50))["recall@50"] == (overlap >= 0.5).any(axis=1).mean()


def test_refuses():
    with pytest.raises(ValueError, match=r"at most 1; got \[0.5, 2\] and 0.5"):
        localisation.windows([0.5, 2])
    with pytest.raises(ValueError, match=r"\(n_windows, 4\); got \(1, 3\)"):
        localisation.overlaps([[1, 2, 3]], [[9, 9]], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match="sides above 0 pixels"):
        localisation.overlaps([[1, 2, 0, 3]], [[9, 9]], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"for every overlap, \(2, 3\); got \(2, 2\)"):
        localisation.recall(np.zeros((2, 2)), np.zeros((2, 3)))
    for k in (0, 4):
        with pytest.raises(ValueError, match=rf"every k from 1 to 3 windows; got \[1, {k}\]"):
            localisation.recall(np.zeros((2, 3)), np.zeros((2, 3)), ks=(1, k))
