"""Phrases in pictures: a panel each, boxes where they are, colours that say right or wrong."""

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image

from m5utils import plots, plots_of_phrases


def test_places():
    pictures = [Image.new("RGB", (40, 30), "grey")] * 5
    phrases = ["a dog", "a very long phrase about several things that takes more than one line", *"abc"]
    boxes = np.array([[1, 2, 10, 20]] * 5)
    figure = plots_of_phrases.places(pictures, phrases, boxes, boxes + 3, [True, False, True, True, False])
    assert len(figure.axes) == 8
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 5
    assert shown[1].get_title().count("\n") >= 1
    for axis, colour in zip(shown, (plots.RIGHT, plots.WRONG), strict=False):
        box, window = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
        assert box.get_bbox().bounds == (1, 2, 10, 20)
        assert window.get_bbox().bounds == (4, 5, 13, 23)
        assert to_hex(window.get_edgecolor()) == colour.lower()
    assert len(figure.legends[0].get_texts()) == 3
