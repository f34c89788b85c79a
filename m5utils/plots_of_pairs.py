"""Draw images with the captions that describe them: their common space, their answers, the gallery's size.

Knows arrays, texts and pictures. Must not compute a result, and writes no file.
"""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from PIL import Image

from m5utils.plots import COLUMN, LETTER, LINE, PAGE, RIGHT, WRONG, curves, grid, style

IMAGES = {"marker": "s", "color": "#0072B2", "label": "image"}
CAPTIONS = {"marker": "o", "color": "#E69F00", "label": "caption"}


def pair_maps(
    drawn: dict[str, tuple[np.ndarray, np.ndarray]], image_of: np.ndarray, n_lines: int = 50
) -> Figure:
    """Named projections of images (n_images, 2) and captions (n_captions, 2) side by side.

    Args:
        drawn: Name, such as "before" and "after", to the two kinds of points.
        image_of: (n_captions,) the image that each caption describes.
        n_lines: Captions, evenly spaced in their list, from which a line goes to their image.
    """
    with style():
        figure, axes = grid(len(drawn), 1, PAGE, 0.45 + min(PAGE / len(drawn), COLUMN))
        n_lines = min(n_lines, len(image_of))
        tied = np.linspace(0, len(image_of) - 1, n_lines).astype(int)
        for axis, (name, (images, captions)) in zip(axes.flat, drawn.items(), strict=True):
            _points(axis, images, captions, captions[tied], images[image_of[tied]], size=7)
            axis.set_title(name)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=3, markerscale=2)
        return figure


def close_up(
    image_xy: np.ndarray,
    caption_xy: np.ndarray,
    image_of: np.ndarray,
    texts: Sequence[str],
    center: Sequence[float],
    n: int = 24,
) -> Figure:
    """The items of a map that are nearest to a place, named at its sides: no label lies on another.

    Args:
        image_xy: (n_images, 2), named "image 12" by their number.
        caption_xy: (n_captions, 2), named "12: a dog …" by their image's number and the start of their text.
        image_of: (n_captions,) the image that each caption describes.
        texts: n_captions captions.
        center: (2,) the place.
        n: How many items, of both kinds together.
    """
    with style():
        xy = np.concatenate([image_xy, caption_xy])
        near = np.argsort(np.linalg.norm(xy - np.asarray(center), axis=1), kind="stable")[:n]
        images = near[near < len(image_xy)]
        captions = near[near >= len(image_xy)] - len(image_xy)
        names = {int(row): f"image {row}" for row in images}
        for row in captions:
            start = textwrap.shorten(texts[row], 36, placeholder=" …")
            names[int(row) + len(image_xy)] = f"{image_of[row]}: {start}"
        sides = np.array_split(sorted(names, key=lambda item: xy[item, 0]), 2)
        height = max(2.8, 0.6 + 1.3 * LINE * len(sides[0]))
        figure, axes = grid(1, 1, PAGE, height)
        axis, tied = axes[0, 0], captions[np.isin(image_of[captions], images)]
        _points(axis, image_xy[images], caption_xy[captions], caption_xy[tied], image_xy[image_of[tied]], 18)
        for side, left in zip(sides, (True, False), strict=True):
            _named(
                axis, [(names[item], xy[item]) for item in sorted(side, key=lambda item: xy[item, 1])], left
            )
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


def _points(
    axis: plt.Axes, images: np.ndarray, captions: np.ndarray, ends: np.ndarray, starts: np.ndarray, size: int
) -> None:
    lines = LineCollection(
        np.stack([ends, starts], axis=1), colors="0.6", linewidths=0.5, label="caption of image", zorder=1
    )
    for xy, how in ((captions, CAPTIONS), (images, IMAGES)):
        axis.scatter(*xy.T, s=size, linewidths=0, alpha=0.8, rasterized=True, **how)
    axis.add_collection(lines)
    axis.set(xticks=[], yticks=[])


def _named(axis: plt.Axes, names: list[tuple[str, np.ndarray]], left: bool) -> None:
    """Names at one side of a panel, from the lowest point to the highest, each with a line to its point."""
    heights = (np.arange(len(names)) + 0.5) / max(len(names), 1)
    for height, (name, xy) in zip(heights, names, strict=True):
        kind = IMAGES if name.startswith("image ") else CAPTIONS
        axis.annotate(
            name, xy, (-0.05 if left else 1.05, height), textcoords="axes fraction", fontsize=7,
            ha="right" if left else "left", va="center", weight="bold" if kind is IMAGES else "normal",
            arrowprops={
                "arrowstyle": "-", "linewidth": 0.4, "color": kind["color"], "alpha": 0.7,
                "relpos": (1 if left else 0, 0.5), "shrinkA": 1,  # from the end that is nearer to the panel
            },
        )  # fmt: skip


def captions_panel(
    pictures: Sequence[Image.Image],
    answers: Sequence[Sequence[tuple[str, bool]]],
    first_right: Sequence[int],
) -> Figure:
    """One row per picture: the picture, then its first captions as lines (green ✓: right, red ✗: wrong).

    Args:
        pictures: The queries.
        answers: For every picture its first captions, best first: text, is it right.
        first_right: For every picture the rank, from 1, of its first right caption.
    """
    with style():
        across = int((PAGE - 1.5) / LETTER)
        rows = [_lines(found, rank, across) for found, rank in zip(answers, first_right, strict=True)]
        most = max(len(lines) for lines in rows)
        side = max(1.1, LINE * (most + 1))
        figure, axes = grid(2, len(rows), PAGE, side * len(rows), ratios=(1.3, PAGE - 1.3))
        for (seen, said), picture, lines in zip(axes, pictures, rows, strict=True):
            seen.imshow(picture)
            for axis in (seen, said):
                axis.axis("off")
            for number, (line, colour) in enumerate(lines):
                height = 0.5 + ((len(lines) - 1) / 2 - number) * LINE / side
                said.text(0, height, line, color=colour, fontsize=7, va="center", transform=said.transAxes)
        return figure


def _lines(found: Sequence[tuple[str, bool]], rank: int, across: int) -> list[tuple[str, str]]:
    """Lines of at most that many letters, and their colours."""
    lines = []
    for text, is_right in found:
        mark = "✓ " if is_right else "✗ "
        wrapped = textwrap.wrap(text, across, initial_indent=mark, subsequent_indent="    ") or [mark]
        lines += [(line, RIGHT if is_right else WRONG) for line in wrapped]
    return [*lines, (f"first right caption: rank {rank:,}", "0.3")]


def by_gallery_size(lines: dict[str, tuple[np.ndarray, ...]], ylabel: str = "R@K") -> Figure:
    """Named lines (sizes, mean, low, high) against the images in the gallery, which is drawn as a logarithm.

    The sizes are the ticks, without those that would touch a larger one.
    """
    figure = curves(lines, "images in the gallery", ylabel, limits=None)
    axis, ticks = figure.axes[0], []
    for size in sorted({int(size) for sizes, *_ in lines.values() for size in sizes}, reverse=True):
        if not ticks or size < ticks[-1] / 1.5:
            ticks.append(size)
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_ylim(bottom=0)
    with style():  # above the axis: with so few points, the "best" place inside is on a line
        sns.move_legend(axis, "lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure
