import numpy as np
import pytest
import torch
from reference import gaussian
from scipy.special import logsumexp
from scipy.stats import skew
from torch.nn.functional import normalize

from m5utils import ranks, search, spaces

CORRECTIONS = [spaces.csls, spaces.inverted_softmax]


def at(*degrees):
    """Points on the unit circle."""
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)


def cosines(images, captions):
    """The whole matrix, in float64."""
    return (normalize(images.double()) @ normalize(captions.double()).T).numpy()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(spaces, "ROWS", 16)
    monkeypatch.setattr(spaces, "OTHERS", 24)
    monkeypatch.setattr(search, "QUERY_BLOCK", 16)
    monkeypatch.setattr(search, "GALLERY_BLOCK", 32)


# ---- the gap and the hubs ----


def test_modality_gap_by_hand():
    images, captions = torch.tensor([[3.0, 0.0], [0.0, 5.0]]), torch.tensor([[0.0, -2.0]])
    assert spaces.modality_gap(images, captions) == pytest.approx(np.hypot(0.5, 1.5))  # (½, ½) to (0, -1)
    assert spaces.modality_gap(images, 7 * images) == pytest.approx(0, abs=1e-7)
    assert spaces.modality_gap(at(0), at(180)) == pytest.approx(2)


def test_k_occurrence_by_hand():
    query, gallery = at(0, 10, 20, 90), at(12, 80, 200)
    assert spaces.k_occurrence(query, gallery, k=1).tolist() == [3, 1, 0]
    assert spaces.k_occurrence(query, gallery, k=3).tolist() == [4, 4, 4]


@pytest.mark.usefixtures("small_blocks")
def test_k_occurrence_is_the_whole_matrix_sorted():
    query, gallery = gaussian(75, 5), gaussian(101, 5, seed=1)
    order = np.argsort(-cosines(query, gallery), axis=1)[:, :7]
    found = spaces.k_occurrence(query, gallery, k=7)
    assert found.dtype == np.int64
    assert found.tolist() == np.bincount(order.ravel(), minlength=101).tolist()
    assert spaces.hubness(found) == pytest.approx(skew(found))


def test_hubness_by_hand():
    assert spaces.hubness(np.array([0, 0, 3])) == pytest.approx(2**-0.5)  # (-1 - 1 + 8) / 3 over √2³
    assert spaces.hubness(np.array([3, 3, 0])) == pytest.approx(-(2**-0.5))
    assert spaces.hubness(np.array([4, 4, 4])) == 0.0
    with pytest.raises(ValueError, match=r"at least one; got shape \(0,\)"):
        spaces.hubness(np.array([]))


# ---- corrections ----


def test_csls_by_hand():
    # cosines of images at 0°, 90° and captions at 0°, 60°: 1, ½ and 0, √¾; the nearest have 1, √¾
    images, captions = spaces.csls(at(0, 90), 3 * at(0, 60), k=1)
    s = 0.75**0.5
    np.testing.assert_allclose(
        images @ captions.T, [[2 - 1 - 1, 1 - 1 - s], [0 - s - 1, 2 * s - s - s]], atol=1e-6
    )


def test_inverted_softmax_by_hand():
    images, captions = spaces.inverted_softmax(2 * at(0, 90), at(0), temperature=0.5)
    of_caption = 0.5 * np.log(np.exp(2) + 1)  # cosines 1 and 0
    expected = [[1 - of_caption - 1], [0 - of_caption - 0]]
    np.testing.assert_allclose(images @ captions.T, expected, atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("n_images", "n_captions"), [(37, 91), (91, 37), (16, 24), (3, 3)])
def test_csls_is_the_whole_matrix(n_images, n_captions):
    images, captions = gaussian(n_images, 6), gaussian(n_captions, 6, seed=1)
    s = cosines(images, captions)
    rows, columns = np.sort(s, axis=1)[:, -3:].mean(axis=1), np.sort(s, axis=0)[-3:].mean(axis=0)
    left, right = spaces.csls(images, captions, k=3)
    assert (left.dtype, right.dtype) == (torch.float32, torch.float32)
    np.testing.assert_allclose(left @ right.T, 2 * s - rows[:, None] - columns, atol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("temperature", [1.0, 1 / 30, 0.001])  # exp(-1 / 0.001) is 0 in float32
@pytest.mark.parametrize(("n_images", "n_captions"), [(37, 91), (91, 37), (16, 24), (1, 1)])
def test_inverted_softmax_is_the_whole_matrix(n_images, n_captions, temperature):
    images, captions = gaussian(n_images, 6), gaussian(n_captions, 6, seed=1)
    s = cosines(images, captions)
    rows, columns = (temperature * logsumexp(s / temperature, axis=axis) for axis in (1, 0))
    left, right = spaces.inverted_softmax(images, captions, temperature)
    np.testing.assert_allclose(left @ right.T, s - rows[:, None] - columns, atol=1e-5)


@pytest.mark.parametrize("correct", [lambda *pair: spaces.csls(*pair, k=2), spaces.inverted_softmax])
def test_a_hub_falls_behind_the_right_captions(correct):
    # Four images at right angles; each one's own caption has cosine 0.45 with it and 0 with the others, the
    # fifth caption, of image 0, has cosine 0.5 with all four.
    images = torch.eye(4, 8)
    own = torch.cat([0.45 * torch.eye(4), (1 - 0.45**2) ** 0.5 * torch.eye(4)], dim=1)
    captions = torch.cat([own, torch.tensor([[0.5] * 4 + [0.0] * 4])])
    image_of = np.array([0, 1, 2, 3, 0])
    assert spaces.k_occurrence(images, captions, k=1).tolist() == [0, 0, 0, 0, 4]
    before = ranks.image_to_text(ranks.of_pairs(images, captions, image_of))
    after = ranks.image_to_text(ranks.of_pairs(*correct(images, captions), image_of))
    assert before["rank"].tolist() == [1, 2, 2, 2]
    assert after["rank"].tolist() == [1, 1, 1, 1]
    corrected = correct(images, captions)
    assert (corrected[0] @ corrected[1].T).argmax(dim=1).tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("correct", CORRECTIONS)
def test_embeddings_that_are_all_the_same_score_nothing(correct):
    found = ranks.of_pairs(*correct(torch.ones(50, 7), torch.ones(50, 7)), np.arange(50))
    for values in (ranks.image_to_text(found), ranks.text_to_image(found)):
        assert values["rank"].tolist() == [50] * 50


@pytest.mark.parametrize("correct", CORRECTIONS)
def test_lengths_and_order_do_not_matter(correct):
    images, captions = gaussian(30, 6), gaussian(40, 6, seed=1)
    left, right = correct(images, captions)
    again_left, again_right = correct(5 * images.flip(0), captions / 3)
    np.testing.assert_allclose((again_left @ again_right.T).flip(0), left @ right.T, atol=1e-5)


def test_inputs_stay_as_they_are_and_gradients_are_no_obstacle():
    images, captions = gaussian(12, 4).requires_grad_(), gaussian(15, 4, seed=1)
    before = images.detach().clone(), captions.clone()
    for correct in CORRECTIONS:
        assert not any(each.requires_grad for each in correct(images, captions))
    spaces.modality_gap(images, captions)
    assert torch.equal(images.detach(), before[0])
    assert torch.equal(captions, before[1])


def test_wrong_settings_are_named():
    for n_images, n_captions in [(4, 20), (20, 4)]:
        with pytest.raises(ValueError, match=rf"1 <= k <= 4, the smaller of {n_images} .*; got k=5"):
            spaces.csls(gaussian(n_images, 3), gaussian(n_captions, 3), k=5)
    with pytest.raises(ValueError, match=r"1 <= k <= 4, the size of the gallery; got k=5"):
        spaces.k_occurrence(gaussian(20, 3), gaussian(4, 3), k=5)
    for temperature in (0, -1, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="temperature > 0; got"):
            spaces.inverted_softmax(gaussian(4, 3), gaussian(4, 3), temperature)


@pytest.mark.parametrize("call", [*CORRECTIONS, spaces.modality_gap])
def test_rows_and_shapes_are_named(call):
    bad = gaussian(20, 4)
    bad[12, 2] = torch.nan
    with pytest.raises(ValueError, match="caption row 12 holds NaN"):
        call(gaussian(20, 4), bad)
    with pytest.raises(ValueError, match="image row 12 holds NaN"):
        call(bad, gaussian(20, 4))
    for images, captions in [((2, 3), (5, 4)), ((3,), (5, 3)), ((0, 3), (5, 3)), ((2, 3), (0, 3))]:
        with pytest.raises(ValueError, match="expected .*images"):
            call(torch.zeros(images), torch.zeros(captions))


def test_distances_are_the_slow_ones():
    images, captions = gaussian(7, 5), 3 * gaussian(9, 5, 1)
    left, right = spaces.by_distance(images, captions)
    torch.testing.assert_close(left @ right.T, -(torch.cdist(images, captions) ** 2), atol=1e-4, rtol=1e-4)
