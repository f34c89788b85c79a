"""Draw where a phrase was looked for in a picture, and where its thing is.

Knows pictures, texts and boxes. Must not compute a result, and writes no file.
"""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from m5utils.plots import LETTER, LINE, PAGE, RIGHT, WRONG, grid, style

COLUMNS = 4
THERE = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.6}


def places(
    pictures: Sequence[Image.Image],
    phrases: Sequence[str],
    boxes: np.ndarray,
    found: np.ndarray,
    right: Sequence[bool],
) -> Figure:
    """A picture per phrase, its thing's box in black, the window found first in green or dashed red.

    Args:
        pictures: n.
        phrases: n texts, above the pictures.
        boxes: (n, 4) left, top, width, height in pixels, of the thing.
        found: (n, 4) the same, of the window.
        right: n, whether the two overlap enough.
    """
    with style():
        rows, side = -(-len(pictures) // COLUMNS), PAGE / COLUMNS
        titles = [textwrap.fill(phrase, int(side / LETTER)) for phrase in phrases]
        above = 0.15 + LINE * max(1 + title.count("\n") for title in titles)
        tallest = max(picture.height / picture.width for picture in pictures)
        figure, axes = grid(COLUMNS, rows, PAGE, (side * min(tallest, 1.3) + above) * rows + 0.2)
        for axis in axes.flat:
            axis.axis("off")
        for axis, picture, title, box, window, is_right in zip(
            axes.flat, pictures, titles, boxes, found, right, strict=False
        ):
            axis.imshow(picture)
            axis.set_title(title, fontsize=7)
            axis.add_patch(_around(box, "the phrase's box", **THERE))
            axis.add_patch(_first(window, is_right))
        handles = [_around(boxes[0], "the phrase's box", **THERE), *(_first(boxes[0], one) for one in (1, 0))]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return figure


def _around(box: np.ndarray, label: str, **how: object) -> Rectangle:
    left, top, width, height = box
    return Rectangle((left, top), width, height, label=label, **how)


def _first(window: np.ndarray, is_right: bool) -> Rectangle:
    colour, line, said = (RIGHT, "-", "right") if is_right else (WRONG, (0, (3, 2)), "wrong")
    how = {"facecolor": "none", "edgecolor": colour, "linestyle": line, "linewidth": 1.6}
    return _around(window, f"first window, {said}", **how)
