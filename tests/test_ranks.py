import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import gaussian
from sklearn.metrics import average_precision_score

from m5utils import ranks


def whole(n, dim, seed=0):
    """Rows of small whole numbers: every product is exact and many are tied."""
    return gaussian(n, dim, seed).round().clamp(-1, 1)


def by_loops(images, captions, image_of):
    """The counts, one pair at a time, from the whole matrix in float64 (exact for whole numbers)."""
    scores = images.double() @ captions.double().T
    of_captions = [int((scores[i] >= scores[i, c]).sum()) for c, i in enumerate(image_of)]
    of_images = [int((scores[:, c] >= scores[i, c]).sum()) for c, i in enumerate(image_of)]
    return of_captions, of_images


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(ranks, "IMAGES", 4)
    monkeypatch.setattr(ranks, "CAPTIONS", 11)


def test_by_hand():
    # caption 0 is right for both; caption 1 (of image 1) is as near to image 0
    images, captions = torch.eye(2), torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.0, 3.0]])
    found = ranks.of_pairs(images, captions, np.array([0, 1, 1]))
    assert found.captions_at_least.tolist() == [1, 3, 1]  # image 1 scores 1, 1, 3
    assert found.images_at_least.tolist() == [1, 2, 1]
    there, back = ranks.image_to_text(found), ranks.text_to_image(found)
    assert there["recall@1"].tolist() == [1, 1]
    assert there["rank"].tolist() == [1, 1]
    assert there["map"].tolist() == [1, (1 + 2 / 3) / 2]
    assert back["rank"].tolist() == [1, 2, 1]
    assert back["recall@1"].tolist() == [1, 0, 1]
    assert back["map"].tolist() == [1, 0.5, 1]


@pytest.mark.usefixtures("small_tiles", "threads")
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 23),
    st.lists(st.integers(0, 22), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_counts_are_the_slow_loop_with_ties(n_images, image_of, dim, seed):
    image_of = np.array(image_of) % n_images
    images, captions = whole(n_images, dim, seed), whole(len(image_of), dim, seed + 100)
    found = ranks.of_pairs(images, captions, image_of)
    of_captions, of_images = by_loops(images, captions, image_of)
    assert found.captions_at_least.tolist() == of_captions
    assert found.images_at_least.tolist() == of_images


@pytest.mark.usefixtures("small_tiles")
def test_the_way_of_the_gpu_counts_the_same(monkeypatch):
    images, captions = whole(23, 3), whole(90, 3, seed=1)
    image_of = np.random.default_rng(0).integers(23, size=90)
    found = ranks.of_pairs(images, captions, image_of)

    def in_operations(scores, *others):
        ranks._count_anywhere(torch.from_numpy(scores), *others)

    monkeypatch.setattr(ranks, "_count", in_operations)
    again = ranks.of_pairs(images, captions, image_of)
    assert (again.captions_at_least == found.captions_at_least).all()
    assert (again.images_at_least == found.images_at_least).all()


def test_tiles_of_the_real_size_and_copies_tie_wherever_they_stand():
    rows = gaussian(40, 100)
    images, captions = rows.repeat(20, 1)[:700], rows.repeat_interleave(5, 0).repeat(20, 1)[:3500]
    image_of = np.repeat(np.arange(700), 5)
    found = ranks.of_pairs(images, captions, image_of)
    copies_of_images = torch.bincount(torch.arange(700) % 40)[image_of % 40].numpy()
    best = (found.images_at_least == copies_of_images).mean()  # its image, all copies of it, and no other
    assert best == 1.0
    assert (found.captions_at_least == 5 * copies_of_images).all()


@pytest.mark.usefixtures("small_tiles")
def test_the_number_of_threads_changes_nothing():
    images, captions, image_of = gaussian(37, 16), gaussian(150, 16, seed=1), np.arange(150) % 37
    results, before = [], torch.get_num_threads()
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        results.append(ranks.of_pairs(images, captions, image_of))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert (other.captions_at_least == results[0].captions_at_least).all()
        assert (other.images_at_least == results[0].images_at_least).all()


@pytest.mark.usefixtures("small_tiles")
def test_the_order_of_captions_does_not_matter():
    images, captions, image_of = gaussian(19, 8), gaussian(70, 8, seed=1), np.arange(70) % 19
    order = np.random.default_rng(0).permutation(70)
    found, shuffled = (
        ranks.of_pairs(images, captions, image_of),
        ranks.of_pairs(images, captions[torch.from_numpy(order)], image_of[order]),
    )
    assert (shuffled.captions_at_least == found.captions_at_least[order]).all()
    assert (shuffled.images_at_least == found.images_at_least[order]).all()


def test_an_image_with_very_many_captions_has_a_tile_of_its_own(monkeypatch):
    monkeypatch.setattr(ranks, "CAPTIONS", 6)
    image_of = np.array([0, 1, *[2] * 20, 3, 3, 5])  # image 4 has none
    images, captions = whole(6, 3), whole(25, 3, seed=1)
    found = ranks.of_pairs(images, captions, image_of)
    of_captions, of_images = by_loops(images, captions, image_of)
    assert found.captions_at_least.tolist() == of_captions
    assert found.images_at_least.tolist() == of_images


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(0, 9))
def test_metrics_are_those_of_the_ranked_lists(n_images, image_of, seed):
    image_of = np.array(image_of) % n_images
    images, captions = whole(n_images, 2, seed), whole(len(image_of), 2, seed + 50)
    found = ranks.of_pairs(images, captions, image_of)
    scores = (images @ captions.T).numpy()
    there, back = ranks.image_to_text(found, ks=(1, 3)), ranks.text_to_image(found, ks=(1, 3))
    with_captions = np.unique(image_of)
    assert len(there["map"]) == len(with_captions)
    for row, image in enumerate(with_captions):
        relevant = image_of == image
        check_one(there, row, scores[image], relevant)
    for caption, image in enumerate(image_of):
        check_one(back, caption, scores[:, caption], np.arange(n_images) == image)


def check_one(values, row, scores, relevant):
    by_rank = reference.ranked(scores, relevant)
    assert values["rank"][row] == 1 + by_rank.index(True)
    assert values["recall@1"][row] == by_rank[0]
    assert values["recall@3"][row] == any(by_rank[:3])
    np.testing.assert_allclose(values["map"][row], average_precision_score(relevant, scores), atol=1e-9)
    hits = [sum(by_rank[: at + 1]) / (at + 1) for at in range(min(5, len(by_rank))) if by_rank[at]]
    np.testing.assert_allclose(values["map@5"][row], np.mean(hits) if hits else 0, atol=1e-12)


def test_constant_embeddings_are_at_chance_or_below():
    image_of = np.repeat(np.arange(30), 5)
    found = ranks.of_pairs(torch.ones(30, 8), torch.ones(150, 8), image_of)
    chance = ranks.chance(image_of, 30)
    for direction, metrics in (
        ("image_to_text", ranks.image_to_text),
        ("text_to_image", ranks.text_to_image),
    ):
        values = metrics(found)
        assert values["recall@1"].mean() == 0
        assert values["recall@10"].mean() <= chance[direction]["recall@10"]
        assert values["rank"].mean() >= chance[direction]["rank"]


@pytest.mark.slow
def test_chance_is_what_random_orders_give():
    image_of = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    draw, n_images = np.random.default_rng(0), 4
    sums, rounds = {"image_to_text": np.zeros(3), "text_to_image": np.zeros(3)}, 4000
    for _ in range(rounds):
        scores = draw.permutation(n_images * len(image_of)).reshape(n_images, -1)
        row_of, own = np.arange(len(image_of)), scores[image_of, np.arange(len(image_of))]
        found = ranks.PairRanks(
            image_of,
            (scores[image_of] >= own[:, None]).sum(axis=1),
            (scores[:, row_of] >= own).sum(axis=0),
        )
        for name, metrics in (("image_to_text", ranks.image_to_text), ("text_to_image", ranks.text_to_image)):
            values = metrics(found, ks=(1, 3))
            sums[name] += [values[key].mean() for key in ("recall@1", "recall@3", "rank")]
    for name, levels in ranks.chance(image_of, n_images, ks=(1, 3)).items():
        np.testing.assert_allclose(sums[name] / rounds, list(levels.values()), rtol=0.03)


def test_k_beyond_the_gallery_is_certain():
    found = ranks.of_pairs(torch.eye(2), torch.eye(2), np.array([0, 1]))
    assert ranks.chance(np.array([0, 1]), 2)["text_to_image"]["recall@10"] == 1
    assert ranks.text_to_image(found)["recall@10"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("images", "captions", "image_of", "message"),
    [
        (gaussian(3, 4), gaussian(5, 5), np.zeros(5, int), r"expected images .* got \(3, 4\) and \(5, 5\)"),
        (gaussian(3, 4), gaussian(5, 4), np.zeros(4, int), "each of 5 captions"),
        (gaussian(3, 4), gaussian(5, 4), np.zeros(5), "whole number"),
        (gaussian(3, 4), gaussian(0, 4), np.zeros(0, int), "at least one"),
        (gaussian(3, 4), gaussian(2, 4), np.array([0, 3]), "caption 1 describes image 3: expected 0 to 2"),
        (gaussian(3, 4), gaussian(2, 4), np.array([-1, 0]), "caption 0 describes image -1"),
    ],
)
def test_wrong_inputs_are_named(images, captions, image_of, message):
    with pytest.raises(ValueError, match=message):
        ranks.of_pairs(images, captions, image_of)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_are_named(value):
    good, bad = gaussian(4, 3), gaussian(4, 3)
    bad[2, 1] = value
    with pytest.raises(ValueError, match=r"images must be finite; row 2 is not \(1 such"):
        ranks.of_pairs(bad, good, np.arange(4))
    with pytest.raises(ValueError, match="captions must be finite; row 2"):
        ranks.of_pairs(good, bad, np.arange(4))
