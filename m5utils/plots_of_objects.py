"""Figures of a search by objects: pictures with their boxes, who learned what, which categories count.

Knows pictures, boxes and tables. Must not know embeddings or how a score came about.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from m5utils import plots
from m5utils.datasets.coco_retrieval import ObjectImages

SIDE = 300  # pixels of a picture's longer side in a panel


def with_boxes(picture: Image.Image, boxes: np.ndarray) -> Image.Image:
    """A copy with the outline of every box, in one colour per category.

    Args:
        picture: RGB.
        boxes: (n, 5) place of the category, x, y, width, height in the picture's pixels.
    """
    scale = SIDE / max(picture.size)
    drawn = picture.resize([max(1, round(side * scale)) for side in picture.size])
    pen, colours = ImageDraw.Draw(drawn), plots.palette(8)
    for place, x, y, width, height in boxes.tolist():
        corners = [scale * value for value in (x, y, x + width, y + height)]
        pen.rectangle(corners, outline=colours[int(place) % len(colours)], width=3)
    return drawn


def said(listed: ObjectImages, row: int, most: int = 2) -> str:
    """What is in a picture, a line each, such as "2 dog" and "1 person", the most frequent first."""
    counts = listed.counts[row]
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    words = [f"{counts[place]} {listed.categories[place]}" for place in order]
    return "\n".join(words[:most]) + (" …" if len(words) > most else "")


def answers(
    query: ObjectImages,
    gallery: ObjectImages,
    rows: np.ndarray,
    ranking: np.ndarray,
    relevant: np.ndarray,
    read: Callable,
) -> tuple[list, list]:
    """Some queries and their first answers, with their boxes, as `plots.panel` takes them.

    Args:
        query: Pictures that were searched with.
        gallery: Pictures that were searched in.
        rows: (n,) which queries.
        ranking: (n, k) gallery rows, best first.
        relevant: (n_query, n_gallery) bool.
        read: From a path to a picture.
    """

    def shown(listed: ObjectImages, row: int) -> tuple[Image.Image, str]:
        return with_boxes(read(listed.paths()[row]), listed.boxes[row]), said(listed, row)

    queries = [shown(query, row) for row in rows]
    found = [
        [(*shown(gallery, answer), bool(relevant[row, answer])) for answer in of_query]
        for row, of_query in zip(rows, ranking, strict=True)
    ]
    return queries, found


def trained_and_judged(table: pd.DataFrame) -> Figure:
    """A table of MAP as shades, in percent in each field: a row per training, a column per judgement."""
    with plots.style():
        figure, axes = plots.grid(1, 1, plots.COLUMN, 0.8 + 0.32 * len(table))
        # Shades within a column: judgements differ in level, and only trainings are compared.
        low, high = table.min(), table.max()
        shades = (table - low) / (high - low).where(high > low, 1)
        sns.heatmap(
            shades, annot=100 * table, fmt=".1f", cmap="Blues", vmin=-0.5, vmax=1.6, cbar=False, ax=axes[0, 0]
        )
        axes[0, 0].set(xlabel="judged by (MAP in %)", ylabel="trained for")
        axes[0, 0].tick_params(axis="y", rotation=0)
        return figure


def categories(means: dict[str, tuple[float, int]], xlabel: str, level: float) -> Figure:
    """One dot per category, best on top, its number of queries beside its name; `level` is chance, dotted."""
    with plots.style():
        figure, axes = plots.grid(1, 1, plots.COLUMN, 0.7 + 0.16 * len(means))
        axis, height = axes[0, 0], np.arange(len(means))[::-1]
        axis.plot(
            [value for value, _ in means.values()], height, "o", color=plots.palette(1)[0], markersize=3.5
        )
        axis.set_yticks(height, [f"{name} ({n})" for name, (_, n) in means.items()])
        axis.axvline(level, color="0.5", linestyle=":", linewidth=0.8)
        axis.set(xlabel=f"{xlabel} (dotted: chance)", ylabel="category (queries that show it)")
        axis.set(xlim=(0, 1), ylim=(-0.6, len(means) - 0.4))
        axis.grid(axis="y", linewidth=0.3)
        return figure
