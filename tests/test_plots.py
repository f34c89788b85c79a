"""Figures: the report's width, fonts that can be read in print, and what they must show."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from PIL import Image

from m5utils import plots
from m5utils.datasets.mit_split import LabelledImages

CLASSES = ("coast", "forest", "street")
X = np.linspace(0, 1, 5)
PICTURE = Image.new("RGB", (8, 8), "teal")
FIGURES = {
    "class_counts": lambda: plots.class_counts(
        pd.DataFrame({"train": [3, 4, 7], "test": [1, 2, 3]}, index=pd.Index(["a", "b", "all"], name="class"))
    ),
    "curves": lambda: plots.curves({"one": (X, X), "two": (X, 1 - X)}, "recall", "precision", level=0.1),
    "intervals": lambda: plots.intervals(
        pd.DataFrame({"value": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8]}, index=["a", "b"]),
        "MAP",
        0.1,
    ),
    "confusion": lambda: plots.confusion(np.eye(3, dtype=int), CLASSES),
    "maps": lambda: plots.maps({"PCA": np.random.rand(9, 2)}, np.arange(9) % 3, CLASSES),  # noqa: NPY002
    "histogram": lambda: plots.histogram({"same": X, "other": X**2}, "distance"),
    "panel": lambda: plots.panel(
        [(PICTURE, "coast")], [[(PICTURE, "coast", True), (PICTURE, "street", False)]]
    ),
    "gallery": lambda: plots.gallery({"coast": [PICTURE] * 3, "street": [PICTURE] * 2}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_its_column_and_can_be_read(name):
    figure = FIGURES[name]()
    figure.canvas.draw()
    assert figure.get_size_inches()[0] in (plots.COLUMN, plots.PAGE)
    sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    assert sizes
    assert min(sizes) >= 7
    assert plt.get_fignums() == []  # the notebook shows it once, because the cell returns it


def test_class_counts_are_a_bar_per_class_and_split():
    axis = FIGURES["class_counts"]().axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert [[bar.get_width() for bar in split] for split in axis.containers] == [[3, 4], [1, 2]]


def test_curves_are_drawn_as_they_are_named():
    axis = FIGURES["curves"]().axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_ylim()) == ("recall", "precision", (0, 1.02))
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["one", "two", "chance"]
    assert axis.lines[1].get_ydata().tolist() == (1 - X).tolist()
    assert list(axis.lines[2].get_ydata()) == [0.1, 0.1]


def test_intervals_are_sorted_and_drawn_where_they_are():
    axis = FIGURES["intervals"]().axes[0]
    ends = [segment[:, 0] for segment in axis.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[0.4, 0.6], [0.6, 0.8]])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.lines[0].get_xdata().tolist() == [0.5, 0.7]


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ([0.41, 0.97, 1.0], 0.13),
        ([0.952, 0.957, 0.96], None),
        ([0.0, 0.0, 0.3], None),
        ([0.5, 0.5, 0.5], None),
        ([0.9993, 0.9996, 1.0], None),
    ],
)
def test_rows_near_one_are_apart_and_none_falls_off_the_axis(values, level):
    value = np.array(values)
    rows = pd.DataFrame(
        {"value": value, "low": value - 0.001, "high": np.minimum(value + 0.001, 1)}, list("abc")
    )
    figure = plots.intervals(rows, "MAP", level)
    figure.canvas.draw()
    axis = figure.axes[0]
    left, right = axis.get_xlim()
    drawn = [*axis.lines[0].get_xdata(), *axis.get_xticks(), *([level] if level else [])]
    assert all(left < x < right for x in drawn)
    assert len(axis.get_xticks()) >= 2
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["chance"] if level else True
    to_screen = axis.transData.transform
    assert to_screen((0.99, 0))[0] - to_screen((0.9, 0))[0] > to_screen((0.59, 0))[0] - to_screen((0.5, 0))[0]


def test_a_value_outside_its_interval_is_drawn_without_that_end():
    rows = pd.DataFrame({"value": [0.4, 0.7], "low": [0.5, 0.6], "high": [0.6, 0.65]}, index=["a", "b"])
    ends = [line[:, 0] for line in plots.intervals(rows, "MAP").axes[0].collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[0.4, 0.6], [0.6, 0.7]])


def test_right_and_wrong_answers_differ_in_colour_and_line():
    figure = FIGURES["panel"]()
    right, wrong = (axis.spines["top"] for axis in figure.axes[1:])
    assert right.get_edgecolor() != wrong.get_edgecolor()
    assert right.get_linestyle() != wrong.get_linestyle()


def test_retrieval_pairs_every_query_with_its_answers():
    def listed(split, labels):
        names = tuple(f"{split}{i}" for i in range(len(labels)))
        return LabelledImages(Path("root"), names, np.array(labels), CLASSES)

    queries, answers = plots.retrieval(
        listed("q", [0, 2]), listed("g", [0, 1, 2]), np.array([1]), np.array([[2, 0]]), lambda path: path.name
    )
    assert queries == [("q1", "street")]
    assert answers == [[("g2", "street", True), ("g0", "coast", False)]]


def test_maps_show_the_points_of_every_class_and_no_empty_frame():
    xy, labels = np.arange(18.0).reshape(9, 2), np.arange(9) % 3
    figure = plots.maps({name: xy for name in "abcde"}, labels, CLASSES)
    drawn = figure.axes[0].collections
    assert [part.get_label() for part in drawn] == list(CLASSES)
    assert drawn[1].get_offsets().tolist() == [[2, 3], [8, 9], [14, 15]]
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False] * 3


def test_histograms_are_densities():
    outline = FIGURES["histogram"]().axes[0].patches[0].get_xy()
    assert outline[:, 1].max() == pytest.approx(60 / 5)  # one of five values in a bin of 1/60


def test_every_picture_is_in_its_place():
    panel, gallery = FIGURES["panel"](), FIGURES["gallery"]()
    assert [axis.get_title() for axis in panel.axes] == ["query: coast", "coast", "street"]
    assert [len(axis.images) for axis in panel.axes] == [1, 1, 1]
    assert [axis.get_ylabel() for axis in gallery.axes] == ["coast", "", "", "street", "", ""]
    assert [len(axis.images) for axis in gallery.axes] == [1, 1, 1, 1, 1, 0]


def test_the_confusion_is_in_percent_of_the_row():
    axis = plots.confusion(np.array([[3, 1, 0], [0, 0, 0], [0, 0, 5]]), CLASSES).axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("class of the first neighbour", "class of the query")
    assert [text.get_text() for text in axis.texts] == ["75", "25", "0", "0", "0", "0", "0", "0", "100"]
