"""Figures: the report's width, fonts that can be read in print, and what they must show."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from m5utils import plots, plots_of_objects, plots_of_pairs
from m5utils.datasets import coco_retrieval
from m5utils.datasets.listed import LabelledImages

CLASSES = ("coast", "forest", "street")
X = np.linspace(0, 1, 5)
IMAGE_OF = np.repeat(np.arange(20), 3)
POINTS = np.random.default_rng(0).normal(size=(20, 2)), np.random.default_rng(1).normal(size=(60, 2))
SENTENCE = "a brown dog runs after a red ball through the tall grass " * 3
SIZES = np.array([200, 500, 1000, 1100, 5000])
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
    "panel_of_texts": lambda: plots.panel(
        [SENTENCE, (PICTURE, "coast")], [[(PICTURE, "1", True)] * 5, [(PICTURE, "2", False)] * 5]
    ),
    "bands": lambda: plots.curves({"one": (X, X, X - 0.1, X + 0.1), "two": (X, X)}, "size", "recall"),
    "pair_maps": lambda: plots_of_pairs.pair_maps({"before": POINTS, "after": POINTS}, IMAGE_OF, 5),
    "close_up": lambda: plots_of_pairs.close_up(*POINTS, IMAGE_OF, [SENTENCE] * 60, (0, 0), 70),
    "captions_panel": lambda: plots_of_pairs.captions_panel(
        [PICTURE] * 2, [[(SENTENCE, True), ("a cat", False)], [(SENTENCE, False)] * 5], [1, 1234]
    ),
    "by_gallery_size": lambda: plots_of_pairs.by_gallery_size({"R@1": (SIZES, *[1 / SIZES] * 3)}),
    "trained_and_judged": lambda: plots_of_objects.trained_and_judged(
        pd.DataFrame({"selection": [0.5, 0.7], "weighted": [0.3, 0.3]}, index=["frozen", "selection"])
    ),
    "categories": lambda: plots_of_objects.categories({"dog": (0.7, 12), "kite": (0.1, 3)}, "MAP", 0.2),
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
    assert axis.get_legend().get_frame().get_alpha() == 1  # no line runs through its words
    assert axis.lines[1].get_ydata().tolist() == (1 - X).tolist()
    assert list(axis.lines[2].get_ydata()) == [0.1, 0.1]


@pytest.mark.parametrize("epochs", [3, 13])  # matplotlib's own ticks stand at 1.5 and 2.5
def test_no_epoch_is_halved(epochs):
    x = np.arange(1, epochs + 1)
    ticks = plots.curves({"loss": (x, 1 / x)}, "epoch", "loss").axes[0].get_xticks()
    assert len(ticks) > 2
    assert (ticks == np.round(ticks)).all()


def test_intervals_are_sorted_and_drawn_where_they_are():
    axis = FIGURES["intervals"]().axes[0]
    ends = [segment[:, 0] for segment in axis.collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[0.4, 0.6], [0.6, 0.8]])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert axis.lines[0].get_xdata().tolist() == [0.5, 0.7]
    assert axis.get_xscale() == "logit"
    assert axis.get_xlabel().endswith("(logit axis)")


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
    assert [text.get_text() for text in axis.texts] == (["chance"] if level else [])
    assert all(text.xy == (level, 1) for text in axis.texts)
    to_screen = axis.transData.transform
    assert to_screen((0.99, 0))[0] - to_screen((0.9, 0))[0] > to_screen((0.59, 0))[0] - to_screen((0.5, 0))[0]


@pytest.mark.parametrize(("low", "high"), [(0.488, 0.586), (0.3, 0.31), (0.537, 0.537), (0.02, 0.995)])
def test_the_axis_is_as_wide_as_what_it_shows(low, high):
    rows = pd.DataFrame({"value": [(low + high) / 2], "low": [low], "high": [high]}, index=["a"])
    axis = plots.intervals(rows, "R@10").axes[0]
    left, right = (np.log(x / (1 - x)) for x in axis.get_xlim())
    shown = np.log(high / (1 - high)) - np.log(low / (1 - low))
    assert right - left == pytest.approx(1.08 * shown + 0.04)
    assert ((low <= axis.get_xticks()) & (axis.get_xticks() <= high)).all()
    assert len(axis.get_xticks()) > (low < high)


def test_a_value_outside_its_interval_is_drawn_without_that_end():
    rows = pd.DataFrame({"value": [0.4, 0.7], "low": [0.5, 0.6], "high": [0.6, 0.65]}, index=["a", "b"])
    ends = [line[:, 0] for line in plots.intervals(rows, "MAP").axes[0].collections[0].get_segments()]
    np.testing.assert_allclose(ends, [[0.4, 0.6], [0.6, 0.7]])


def test_right_and_wrong_answers_differ_in_colour_and_line():
    figure = FIGURES["panel"]()
    right, wrong = (axis.spines["top"] for axis in figure.axes[1:])
    assert right.get_edgecolor() != wrong.get_edgecolor()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    shares = []  # of its upper side that a frame is drawn on, as it comes out
    for axis in figure.axes[1:]:
        box, colour = axis.get_window_extent(), np.array(axis.spines["top"].get_edgecolor()[:3]) * 255
        line = pixels[round(len(pixels) - box.y1), round(box.x0) + 4 : round(box.x1) - 4]
        shares.append((np.abs(line - colour).sum(axis=1) < 60).mean())
    assert shares[0] == 1
    assert 0.5 < shares[1] < 0.9  # dashes, for whoever sees no colours


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["close_up", "captions_panel", "panel_of_texts"])
def test_no_text_lies_on_another_or_is_cut_off(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()  # a closed figure's canvas draws nothing, so that nothing is laid out
    # of the words alone: what an annotation covers includes its line
    found = [Text.get_window_extent(text) for axis in figure.axes for text in axis.texts]
    assert len(found) >= 1
    for number, box in enumerate(found):
        inside = figure.bbox.padded(1)
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1
        assert not any(box.overlaps(other) for other in found[:number])


def test_lines_go_from_captions_to_their_images():
    axis = FIGURES["pair_maps"]().axes[1]
    (lines,) = [each for each in axis.collections if hasattr(each, "get_segments")]
    tied = [0, 14, 29, 44, 59]
    np.testing.assert_allclose([line[0] for line in lines.get_segments()], POINTS[1][tied])
    np.testing.assert_allclose([line[1] for line in lines.get_segments()], POINTS[0][IMAGE_OF[tied]])


def test_a_close_up_names_the_nearest_items():
    names = [text.get_text() for text in FIGURES["close_up"]().axes[0].texts]
    lengths = np.linalg.norm(np.concatenate(POINTS), axis=1)
    nearest = np.argsort(lengths)[:70]
    assert len(names) == 70
    expected = sorted(f"image {row}" for row in nearest if row < 20)
    assert sorted(name for name in names if name.startswith("image")) == expected
    starts = sorted(f"{IMAGE_OF[row - 20]}: a brown dog" for row in nearest if row >= 20)
    assert (
        sorted(
            name.removesuffix(" runs after a red ball …") for name in names if not name.startswith("image")
        )
        == starts
    )


def test_captions_are_marked_in_the_colour_of_their_mark():
    texts = FIGURES["captions_panel"]().axes[1].texts
    right, wrong = (next(text for text in texts if text.get_text()[0] == mark) for mark in "✓✗")
    assert (right.get_color(), wrong.get_color()) == (plots.RIGHT, plots.WRONG)
    assert texts[-1].get_text() == "first right caption: rank 1"
    assert " ".join(" ".join(text.get_text() for text in texts[:-2]).split()) == f"✓ {SENTENCE.strip()}"


def test_a_text_as_query_stands_in_a_box_and_a_picture_beside_its_answers():
    figure = FIGURES["panel_of_texts"]()
    figure.draw_without_rendering()
    text, *_ = figure.axes
    box, words = text.get_window_extent(), text.texts[0].get_window_extent()
    assert box.x0 < words.x0 < words.x1 < box.x1
    assert box.y0 < words.y0 < words.y1 < box.y1
    assert len(text.images) == 0
    assert text.get_title() == "query"
    assert text.texts[0].get_text().startswith("a brown dog")


def test_sizes_are_ticks_unless_they_touch():
    axis = FIGURES["by_gallery_size"]().axes[0]
    assert axis.get_xscale() == "log"
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert sorted(labels, key=len) == ["500", "200", "5,000", "1,100"]
    assert axis.get_ylim()[0] == 0


def test_bands_lie_where_the_interval_is():
    axis = FIGURES["bands"]().axes[0]
    (band,) = axis.collections
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() == pytest.approx(-0.1)
    assert vertices[:, 1].max() == pytest.approx(1.1)


def test_shades_compare_trainings_under_one_judge_and_equal_ones_have_one_shade():
    table = pd.DataFrame({"a": [0.5, 0.7], "b": [0.03, 0.01], "c": [0.4, 0.4]}, index=["frozen", "a"])
    (mesh,) = plots_of_objects.trained_and_judged(table).axes[0].collections
    np.testing.assert_allclose(mesh.get_array().reshape(2, 3), [[0, 1, 0], [1, 0, 0]])
    shown = [t.get_text() for t in plots_of_objects.trained_and_judged(table).axes[0].texts]
    assert shown == ["50.0", "3.0", "40.0", "70.0", "1.0", "40.0"]


def test_the_best_category_stands_on_top_with_its_number_of_queries():
    axis = plots_of_objects.categories({"dog": (0.7, 12), "kite": (0.1, 3)}, "MAP", 0.2).axes[0]
    x, y = axis.lines[0].get_data()
    assert [(value, place) for value, place in zip(x, y, strict=True)] == [(0.7, 1), (0.1, 0)]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["dog (12)", "kite (3)"]
    assert axis.lines[1].get_xdata()[0] == 0.2


def test_a_box_is_drawn_where_the_object_is():
    drawn = plots_of_objects.with_boxes(Image.new("RGB", (600, 300)), np.array([[1.0, 100, 50, 200, 100]]))
    assert drawn.size == (300, 150)
    inside = np.asarray(drawn).any(axis=2)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (50, 150, 25, 75)
    assert not inside[50, 100]
    assert not np.asarray(plots_of_objects.with_boxes(Image.new("RGB", (9, 9)), np.zeros((0, 5)))).any()


def test_answers_say_what_is_in_them_and_whether_the_rule_accepts_them(tmp_path):
    listed = coco_retrieval.ObjectImages(
        root=tmp_path,
        files=("a.jpg", "b.jpg"),
        ids=np.array([1, 2]),
        sizes=np.array([[8, 8], [8, 8]]),
        counts=np.array([[1, 3, 0], [0, 1, 0]]),
        listed=np.zeros((2, 3), dtype=np.int64),
        categories=("person", "dog", "kite"),
        category_ids=np.array([1, 18, 38]),
        boxes=(np.zeros((0, 5)), np.array([[1.0, 2, 2, 4, 4]])),
        setting="drawn",
    )
    assert plots_of_objects.said(listed, 0) == "3 dog\n1 person"
    assert plots_of_objects.said(listed, 0, most=1) == "3 dog …"
    relevant = np.array([[False, True], [True, False]])
    read = {tmp_path / "a.jpg": PICTURE, tmp_path / "b.jpg": Image.new("RGB", (8, 8), "red")}.get
    queries, found = plots_of_objects.answers(
        listed, listed, np.array([1]), np.array([[1, 0]]), relevant, read
    )
    assert [name for _, name in queries] == ["1 dog"]
    assert [(name, right) for _, name, right in found[0]] == [("1 dog", False), ("3 dog\n1 person", True)]
    assert found[0][1][0].getpixel((5, 5)) == PICTURE.getpixel((0, 0))
