"""Boxes of phrases and windows: each picture's own, cut from maps that are encoded once."""

import numpy as np
import pytest
import torch

from m5utils import box_descriptors, embeddings, localisation, runtime
from m5utils.datasets import demo_coco, entities
from m5utils.encoders import regions

PROFILE = runtime.profile("demo")


@pytest.fixture
def listed(tmp_path, monkeypatch):
    monkeypatch.setattr(box_descriptors, "SIZE", 64)
    monkeypatch.setattr(embeddings, "BATCH", 3)
    demo_coco.make_coco(tmp_path / "coco", train=1, val=3)
    return entities.drawn(tmp_path / "coco", "val")


@pytest.mark.slow
def test_phrases_and_windows_of_each_picture(listed):
    maps = box_descriptors.source(PROFILE)
    boxes = list(box_descriptors.of_phrases(maps, listed))
    assert [len(one) for one in boxes] == np.bincount(listed.image_of).tolist()
    windows = localisation.windows([0.5, 1.0])
    seen = list(box_descriptors.of_windows(maps, listed, windows))
    assert [one.shape for one in seen] == [(len(windows), boxes[0].shape[1])] * 3
    # a phrase's box as a window of its picture gives the same numbers
    own = listed.boxes[:1] / np.tile(listed.sizes[0], 2)
    alone = next(box_descriptors.of_windows(maps, listed, own))
    torch.testing.assert_close(alone, boxes[0][:1], atol=1e-4, rtol=1e-4)
    values = embeddings.encode(maps, listed).values
    (expected,) = regions.pooled(maps, values[:1], listed.sizes[:1], [listed.boxes[listed.image_of == 0]])
    assert torch.equal(boxes[0], expected)


def phrased() -> entities.PhrasedImages:
    """Two pictures, two phrases and one; nothing is read."""
    return entities.PhrasedImages(
        root=None,
        files=("a.jpg", "b.jpg"),
        sizes=np.array([[100, 100], [200, 100]]),
        phrases=("a dog", "a cat", "a bird"),
        image_of=np.array([0, 0, 1]),
        boxes=np.array([[0, 0, 50, 50], [40, 50, 50, 50], [0, 0, 40, 20]], dtype=float),
        setting="thought up",
    )


WINDOWS = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 0.5, 0.5], [0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])


def test_windows_that_fit_and_windows_that_show_nothing():
    found = box_descriptors.with_windows(phrased(), WINDOWS, near=2, empty=4)
    # the dog's box is a window; the cat's overlaps the last one by 40 x 50 of 3000
    assert found.phrases[:4] == ("a dog", "a cat", "a dog", "a cat")
    assert found.boxes[2:4].tolist() == [[0, 0, 50, 50], [50, 50, 50, 50]]
    # only the upper right one overlaps neither: the lower left one holds 10 x 50 of the cat, a ninth
    assert found.phrases[4:6] == ("nothing", "nothing")
    assert sorted(found.boxes[4:6].tolist()) == [[0, 50, 50, 50], [50, 0, 50, 50]]
    # the bird is too small for any window, and the one that holds it overlaps it by 8 / 50
    assert found.phrases[6:] == ("a bird", *["nothing"] * 4)
    assert found.image_of.tolist() == [0] * 6 + [1] * 5
    assert (found.files, found.setting) == (phrased().files, "thought up")
    assert np.all(np.diff(found.image_of) >= 0)


def test_no_windows_are_added():
    found = box_descriptors.with_windows(phrased(), WINDOWS, near=0, empty=0)
    assert found.phrases == phrased().phrases
    np.testing.assert_array_equal(found.boxes, phrased().boxes)


def test_what_is_drawn_depends_on_the_seed_alone():
    first, again, other = (
        box_descriptors.with_windows(phrased(), WINDOWS, empty=2, seed=seed).boxes for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert not np.array_equal(first, other)
