"""Draw: functions from data to a matplotlib figure, sized for a column of the report.

Knows arrays, and lists of labelled images. Must not compute a result, and writes no file.
"""

import textwrap
from collections.abc import Callable, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from PIL import Image
from scipy.special import expit, logit

from m5utils.datasets.listed import LabelledImages

LETTER, LINE = 0.058, 0.125  # inches that a letter is wide, and a line high, at size 7
COLUMN, PAGE = 3.35, 6.95  # inches: one column and both columns of a two-column A4 page
RIGHT, WRONG = (
    "#009E73",
    "#D55E00",
)  # green and red that colour-blind eyes tell apart; grey ones by the dashes
LOGIT_TICKS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "figure.dpi": 150,
}


@contextmanager
def style():
    """The report's fonts and lines, for what is drawn inside."""
    with sns.axes_style("ticks"), plt.rc_context(STYLE):
        yield


def grid(
    columns: int, rows: int, width: float, height: float, ratios: Sequence[float] | None = None
) -> tuple[Figure, np.ndarray]:
    """A figure, in inches, and its panels (rows, columns), whose columns may differ in width."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, width_ratios=ratios)
    plt.close(figure)  # the notebook shows what a cell returns; without this it would show it twice
    return figure, axes


def palette(n: int) -> list:
    """`n` colours that colour-blind eyes can tell apart, up to eight (Okabe and Ito)."""
    return ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999"][:n]


def class_counts(counts: pd.DataFrame) -> Figure:
    """Bars of the images per class (rows) and split (columns)."""
    with style():
        figure, axes = grid(1, 1, COLUMN, 2.2)
        long = counts.drop(index="all").reset_index().melt("class", var_name="split", value_name="images")
        sns.barplot(long, y="class", x="images", hue="split", palette=palette(2), ax=axes[0, 0])
        axes[0, 0].set(ylabel="", xlabel="images")
        sns.move_legend(axes[0, 0], "lower center", bbox_to_anchor=(0.5, 1), ncols=2, title="")
        return figure


def curves(
    lines: dict[str, tuple[np.ndarray, ...]],
    xlabel: str,
    ylabel: str,
    limits: tuple[float, float] | None = (0, 1.02),
    level: float | None = None,
) -> Figure:
    """Named lines (x, y), or (x, y, low, high) with a band, in one panel; `level` is chance, dotted."""
    with style():
        figure, axes = grid(1, 1, COLUMN, 2.5)
        axis = axes[0, 0]
        dashes = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1))]
        for number, (name, (x, y, *band)) in enumerate(lines.items()):
            colour = palette(8)[number % 8]
            axis.plot(x, y, label=name, color=colour, linestyle=dashes[number % len(dashes)])
            if band:
                axis.fill_between(x, *band, color=colour, alpha=0.2, linewidth=0)
        if level is not None:
            axis.axhline(level, color="0.5", linestyle=":", linewidth=0.8, label="chance")
        axis.set(xlabel=xlabel, ylabel=ylabel)
        if limits:
            axis.set_ylim(*limits)
        if all(np.array_equal(x, np.round(x)) for x, *_ in lines.values()):
            axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))  # no half epochs
        # Opaque: the line of chance may run below it.
        axis.legend(loc="best", frameon=True, framealpha=1, edgecolor="none")
        return figure


def intervals(rows: pd.DataFrame, xlabel: str, level: float | None = None) -> Figure:
    """One dot with its interval per row, best on top; columns `value`, `low`, `high`, all in 0 to 1.

    The axis is a logit (0.99 is as far from 0.9 as 0.9 from 0.5), or the rows near 1 would lie on each other;
    what is nearer than 0.0001 to 0 or 1 is drawn there. `level` is drawn as the dotted line of chance.
    """
    with style():
        figure, axes = grid(1, 1, COLUMN, 0.8 + 0.2 * len(rows))
        axis = axes[0, 0]
        ordered = rows.sort_values("value").clip(1e-4, 1 - 1e-4)
        height = np.arange(len(ordered))
        below, above = ordered["value"] - ordered["low"], ordered["high"] - ordered["value"]
        axis.errorbar(
            ordered["value"],
            height,
            xerr=[below.clip(lower=0), above.clip(lower=0)],
            fmt="o",
            color=palette(1)[0],
            markersize=3.5,
            elinewidth=0.9,
        )
        axis.set_yticks(height, ordered.index)
        axis.set_ylim(-0.6, len(ordered) - 0.4)
        if level is not None:
            axis.axvline(level, color="0.5", linestyle=":", linewidth=0.8)
            where = {"xycoords": axis.get_xaxis_transform(), "textcoords": "offset points"}
            axis.annotate("chance", (level, 1), (-2, 3), **where)
        low, high = ordered["low"].min(), ordered["high"].max()
        _logit_axis(axis, low if level is None else min(low, level), high)
        axis.set(xlabel=f"{xlabel}\n(logit axis)")
        axis.grid(axis="x", linewidth=0.3)
        return figure


def _logit_axis(axis: plt.Axes, low: float, high: float) -> None:
    axis.set_xscale("logit")
    ticks = [tick for tick in LOGIT_TICKS if low <= tick <= high]
    if len(ticks) < 2:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high] or [low]
    axis.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    margin = 0.02 + 0.04 * np.ptp(logit([low, high]))
    axis.set_xlim(*expit(logit([low, high]) + [-margin, margin]))


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """The class of the first neighbour (columns) of the queries of every class (rows), in percent."""
    with style():
        figure, axes = grid(1, 1, COLUMN, 3.0)
        percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        sns.heatmap(
            percent, annot=True, fmt=".0f", cmap="Blues", cbar=False, square=True, linewidths=0.4,
            xticklabels=classes, yticklabels=classes, annot_kws={"size": 7}, ax=axes[0, 0],
        )  # fmt: skip
        axes[0, 0].set(xlabel="class of the first neighbour", ylabel="class of the query")
        axes[0, 0].tick_params(axis="x", rotation=45)
        plt.setp(axes[0, 0].get_xticklabels(), ha="right", rotation_mode="anchor")
        return figure


def maps(points: dict[str, np.ndarray], labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Named (n, 2) projections side by side, coloured and marked by class; dense points are rasterised."""
    with style():
        columns = min(4, len(points))
        rows = -(-len(points) // columns)
        figure, axes = grid(columns, rows, PAGE, 0.4 + PAGE / columns * rows)
        for axis in axes.flat[len(points) :]:
            axis.axis("off")
        for axis, (name, xy) in zip(axes.flat, points.items(), strict=False):
            for number, label in enumerate(classes):
                mine = labels == number
                axis.scatter(
                    xy[mine, 0], xy[mine, 1], s=5, marker=MARKERS[number % 8], color=palette(8)[number % 8],
                    alpha=0.7, linewidths=0, label=label, rasterized=True,
                )  # fmt: skip
            axis.set(title=name, xticks=[], yticks=[])
        handles, names = axes[0, 0].get_legend_handles_labels()
        legend = figure.legend(handles, names, loc="outside lower center", ncols=4, markerscale=2.2)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
        return figure


def histogram(groups: dict[str, np.ndarray], xlabel: str) -> Figure:
    """Densities of named samples over one axis, as outlines."""
    with style():
        figure, axes = grid(1, 1, COLUMN, 2.2)
        for (name, values), colour, line in zip(
            groups.items(), palette(8), ["-", "--", "-.", ":"] * 2, strict=False
        ):
            axes[0, 0].hist(
                values, 60, density=True, histtype="step", label=name, color=colour, linestyle=line
            )
        axes[0, 0].set(xlabel=xlabel, ylabel="density")
        axes[0, 0].legend()
        return figure


def retrieval(
    query: LabelledImages, gallery: LabelledImages, rows: np.ndarray, ranking: np.ndarray, read: Callable
) -> tuple[list, list]:
    """The pictures of some queries and of their first answers, as `panel` takes them.

    Args:
        query: Labelled images that were searched with.
        gallery: Labelled images that were searched in.
        rows: (n,) which queries.
        ranking: (n, k) gallery rows, best first.
        read: From a path to a picture.
    """
    asked, names = query.take(rows), gallery.label_names()
    queries = [(read(path), name) for path, name in zip(asked.paths(), asked.label_names(), strict=True)]
    answers = [
        [(read(gallery.paths()[row]), names[row], names[row] == name) for row in found]
        for found, (_, name) in zip(ranking, queries, strict=True)
    ]
    return queries, answers


def panel(
    queries: Sequence[tuple[Image.Image, str] | str],
    answers: Sequence[Sequence[tuple[Image.Image, str, bool]]],
) -> Figure:
    """One row per query: the query, then its first answers, framed (solid green: right, dashed red: wrong).

    Args:
        queries: A picture and its caption (of any number of lines) each, or a text alone, which stands in an
            empty box.
        answers: For every query its answers, best first: picture, caption, is it right.
    """
    with style():
        columns = 1 + max(len(row) for row in answers)
        side = PAGE / columns
        captions = [name for found in answers for _, name, _ in found]
        captions += [query[1] for query in queries if not isinstance(query, str)]
        above = 0.1 + LINE * max(1 + caption.count("\n") for caption in captions)
        figure, axes = grid(columns, len(queries), PAGE, (side + above) * len(queries))
        for axis in axes.flat:
            axis.axis("off")
        for row, (query, found) in enumerate(zip(queries, answers, strict=True)):
            if isinstance(query, str):
                _boxed(axes[row, 0], query, side)
            else:
                axes[row, 0].imshow(query[0])
                axes[row, 0].set_title(f"query: {query[1]}", fontsize=7)
            for column, (answer, name, is_right) in enumerate(found, start=1):
                _framed(axes[row, column], answer, name, is_right)
        return figure


def _boxed(axis: plt.Axes, text: str, side: float) -> None:
    """A text in a square of that many inches; what does not fit is cut off, at a word."""
    across, down = int(side / LETTER) - 3, int(side / LINE) - 2
    lines = textwrap.wrap(text, across, max_lines=down, placeholder=" …")
    axis.text(0.5, 0.5, "\n".join(lines), fontsize=7, ha="center", va="center", transform=axis.transAxes)
    axis.set_title("query", fontsize=7)
    axis.axis("on")
    axis.set(xticks=[], yticks=[], box_aspect=1)
    for spine in axis.spines.values():
        spine.set(visible=True, color="0.6")


def _framed(axis: plt.Axes, picture: Image.Image, caption: str, is_right: bool) -> None:
    axis.imshow(picture)
    colour = RIGHT if is_right else WRONG
    axis.set_title(caption, fontsize=7, color=colour)
    axis.axis("on")
    axis.set(xticks=[], yticks=[])
    line = "-" if is_right else (0, (2, 1))
    for spine in axis.spines.values():  # a spine's own caps would fill the gaps between dashes
        spine.set(visible=True, color=colour, linewidth=2.2, linestyle=line, capstyle="butt")


def gallery(pictures: dict[str, Sequence[Image.Image]]) -> Figure:
    """Rows of example pictures, a row per name."""
    with style():
        columns = max(len(row) for row in pictures.values())
        side = (PAGE - 0.8) / columns
        figure, axes = grid(columns, len(pictures), PAGE, side * len(pictures))
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
            axis.axis("off")
        for row, (name, examples) in enumerate(pictures.items()):
            for axis, picture in zip(axes[row], examples, strict=False):
                axis.imshow(picture)
            axes[row, 0].axis("on")
            axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
            for spine in axes[row, 0].spines.values():
                spine.set_visible(False)
        return figure
