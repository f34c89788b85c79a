"""Similarity against similarity: a panel each, the correlation in its title; answers and words as drawn."""

from pathlib import Path

import numpy as np
from PIL import Image

from m5utils import plots
from m5utils.plots_of_meaning import answers, similarity_maps, word_map


def test_a_panel_per_method_with_its_correlation():
    x = np.random.default_rng(0).random(200)
    figure = similarity_maps(
        {"before": (x, 1 - x), "after": (x, x), "constant": (x, 0 * x)}, "visual", "proxy"
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "before (r = -1.00)", "after (r = 1.00)", "constant (r undefined)",
    ]  # fmt: skip
    figure.canvas.draw()


def test_answers_are_rows_of_a_panel():
    files = [Path(f"{n}.png") for n in range(4)]
    asked, found = [(2, "before"), (2, "after")], [np.array([0, 1]), np.array([3, 0])]
    said, right = [["0.1", "0.2"], ["0.9", "0.1"]], [np.array([False, True]), np.array([True, False])]
    queries, rows = answers(files, asked, found, said, right, read=lambda file: file.stem)
    assert queries == [("2", "before"), ("2", "after")]
    assert rows == [[("0", "0.1", False), ("1", "0.2", True)], [("3", "0.9", True), ("0", "0.1", False)]]
    picture = Image.new("RGB", (4, 4))
    plots.panel(*answers(files, asked, found, said, right, lambda _: picture)).canvas.draw()


def test_every_word_stands_beside_its_dot():
    figure = word_map(np.eye(3)[:, :2], ["dog", "snow", "ride"])
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["dog", "snow", "ride"]
    np.testing.assert_array_equal([text.xy for text in axis.texts], np.eye(3)[:, :2])
    figure.canvas.draw()
