"""Similarity against similarity: a panel each, the correlation in its title."""

import numpy as np

from m5utils.plots_of_meaning import similarity_maps


def test_a_panel_per_method_with_its_correlation():
    x = np.random.default_rng(0).random(200)
    figure = similarity_maps(
        {"before": (x, 1 - x), "after": (x, x), "constant": (x, 0 * x)}, "visual", "proxy"
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "before (r = -1.00)", "after (r = 1.00)", "constant (r undefined)",
    ]  # fmt: skip
    figure.canvas.draw()
