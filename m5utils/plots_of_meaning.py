"""Draw what is alike in meaning: similarity against similarity, answers before and after training, words.

Knows arrays, words and pictures. Must not compute a result, and writes no file.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from m5utils.plots import PAGE, grid, palette, style


def similarity_maps(pairs: dict[str, tuple[np.ndarray, np.ndarray]], xlabel: str, ylabel: str) -> Figure:
    """How many pairs of images have which two similarities, a panel per method; darker is more.

    In the title stands Pearson's correlation of the two.

    Args:
        pairs: Method name to (n,) x and (n,) y.
        xlabel: Of all panels.
        ylabel: Of the first.
    """
    with style():
        figure, axes = grid(len(pairs), 1, PAGE, 0.5 + PAGE / max(len(pairs), 2) * 0.8)
        for axis, (name, (x, y)) in zip(axes.flat, pairs.items(), strict=True):
            axis.hist2d(x, y, bins=60, cmap="viridis_r", norm=LogNorm(), rasterized=True)
            varies = np.ptp(x) > 0 and np.ptp(y) > 0
            said = f"r = {np.corrcoef(x, y)[0, 1]:.2f}" if varies else "r undefined"
            axis.set(title=f"{name} ({said})", xlabel=xlabel)
        axes.flat[0].set_ylabel(ylabel)
        return figure


def answers(
    files: Sequence[Path],
    asked: Sequence[tuple[int, str]],
    found: Sequence[np.ndarray],
    said: Sequence[Sequence[str]],
    right: Sequence[np.ndarray],
    read: Callable[[Path], Image.Image],
) -> tuple[list, list]:
    """The pictures of some queries and of their first answers, as `plots.panel` takes them.

    Args:
        files: Of all images.
        asked: For every row of the panel the image that asks, and what is written above it.
        found: For every row the answers, best first.
        said: For every row what is written above each answer.
        right: For every row whether each answer is right.
        read: From a file to a picture.
    """
    queries = [(read(files[row]), words) for row, words in asked]
    rows = [
        [(read(files[one]), words, bool(yes)) for one, words, yes in zip(*row, strict=True)]
        for row in zip(found, said, right, strict=True)
    ]
    return queries, rows


def word_map(xy: np.ndarray, words: Sequence[str]) -> Figure:
    """Words where a projection puts them, each beside its dot.

    Args:
        xy: (n, 2).
        words: n of them.
    """
    with style():
        figure, axes = grid(1, 1, PAGE, 0.7 * PAGE)
        axis = axes[0, 0]
        axis.scatter(*xy.T, s=5, linewidths=0, color=palette(1)[0])
        for place, word in zip(xy, words, strict=True):
            axis.annotate(word, place, (2, 1.5), textcoords="offset points", fontsize=6.5)
        axis.margins(x=0.08)
        axis.set(xticks=[], yticks=[])
        return figure
