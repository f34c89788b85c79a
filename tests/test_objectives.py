import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import objectives

TRAINED = {
    "rolled": {"direction": "both"},
    "sum_of_hinges": {},
    "hardest_negative": {},
    "info_nce": {},
    "sigmoid": {},
}


@pytest.fixture(params=TRAINED)
def objective(request):
    return objectives.by_name(request.param, **TRAINED[request.param])


def value(objective, images, captions, image_of=None):
    image_of = torch.arange(len(images)) if image_of is None else torch.tensor(image_of)
    return float(objective(images, captions, image_of).detach())


def test_pairs_that_lie_together_cost_less(objective):
    images = torch.eye(6)
    assert value(objective, images, images) < value(objective, images, images.roll(1, 0))
    assert value(objective, images, images) < value(objective, images, torch.ones(6, 6))


def test_a_step_against_the_gradient_brings_pairs_together(objective):
    images, captions = gaussian(8, 5).requires_grad_(), gaussian(8, 5, seed=1).requires_grad_()
    objective(images, captions, torch.arange(8)).backward()
    for rows in (images, captions):
        assert rows.grad.isfinite().all()
        assert rows.grad.abs().sum() > 0
    before = objectives.scores(images, captions).diagonal().mean()
    with torch.no_grad():
        moved = images - 0.1 * images.grad, captions - 0.1 * captions.grad
    assert value(objective, *moved) < value(objective, images.detach(), captions.detach())
    assert objectives.scores(*moved).diagonal().mean() > before


def test_captions_of_the_same_image_are_no_negatives(objective):
    images, captions = gaussian(3, 4), gaussian(3, 4, seed=1)
    images[1] = images[0]
    captions[1] = captions[0] + 0.1  # so near to image 0 that it is the hardest of the wrong ones

    assert value(objective, images, captions, [0, 0, 1]) < value(objective, images, captions, [0, 1, 2])


def test_a_batch_of_one_image_teaches_nothing_or_only_its_pairs(objective):
    images, captions = gaussian(4, 3), gaussian(4, 3, seed=1)
    found = objective(images.requires_grad_(), captions, torch.zeros(4, dtype=torch.long))
    assert found.isfinite()
    found.backward()
    assert images.grad.isfinite().all()
    if not isinstance(objective, objectives.Sigmoid):
        assert float(found.detach()) == 0


def test_a_batch_of_one_pair_is_finite(objective):
    assert np.isfinite(value(objective, gaussian(1, 3), gaussian(1, 3, seed=1)))


def test_rolled_by_hand():
    # Euclidean: caption 0 is right (0 away), its negative, caption 1, is 3 away: 0 - 3 + margin
    images, captions = torch.tensor([[0.0], [10.0]]), torch.tensor([[0.0], [3.0]])
    there = objectives.rolled(4.0, "euclidean")  # image 0: 0 - 3 + 4 = 1; image 1: 7 - 10 + 4 = 1
    assert value(there, images, captions) == pytest.approx(1)
    back = objectives.rolled(4.0, "euclidean", "text_to_image")  # caption 0: 0 - 10 + 4 < 0; 1: 7 - 3 + 4 = 8
    assert value(back, images, captions) == pytest.approx(4)
    both = objectives.rolled(4.0, "euclidean", "both")
    assert value(both, images, captions) == pytest.approx(2.5)
    assert value(there, images, captions, [5, 5]) == 0  # the only negative shows the same image


def test_rolled_is_the_triplet_loss_of_torch_with_the_batch_shifted():
    images, captions = gaussian(9, 6), gaussian(9, 6, seed=1)
    deck = torch.nn.TripletMarginLoss(margin=0.5, p=2)(images, captions, captions.roll(-1, 0))
    ours = objectives.rolled(measured_by="euclidean")
    assert value(ours, images, captions) == pytest.approx(float(deck), abs=1e-4)


def test_hinges_by_hand():
    images, captions = torch.eye(3), torch.eye(3)
    captions[1] = torch.tensor([0.6, 0.8, 0.0])
    # scores: 1 .6 0 / 0 .8 0 / 0 0 1, margin .5: rows .1+0, 0+0, 0+0; columns 0, .3 (0.6 - 0.8 + 0.5), 0
    total = objectives.sum_of_hinges(margin=0.5)
    assert value(total, images, captions) == pytest.approx((0.1 + 0.3) / 3)
    there = objectives.sum_of_hinges(margin=0.5, direction="image_to_text")
    assert value(there, images, captions) == pytest.approx(0.1 / 3)


def test_hardest_takes_one_negative_per_anchor():
    images, captions = gaussian(6, 4), gaussian(6, 4, seed=1)
    scores = objectives.scores(images, captions)
    worst = sum(
        max(0.0, max(float(rows[i, j] - rows[i, i]) + 0.2 for j in range(6) if j != i))
        for rows in (scores, scores.T)
        for i in range(6)
    )
    assert value(objectives.hardest_negative(), images, captions) == pytest.approx(worst / 6, rel=1e-5)


def test_info_nce_is_the_cross_entropy_of_the_diagonal():
    images, captions = gaussian(7, 4), gaussian(7, 4, seed=1)
    logits, right = objectives.scores(images, captions) / 0.07, torch.arange(7)
    expected = (
        torch.nn.functional.cross_entropy(logits, right) + torch.nn.functional.cross_entropy(logits.T, right)
    ) / 2
    assert value(objectives.InfoNCE(), images, captions) == pytest.approx(float(expected), rel=1e-5)


def test_sigmoid_by_hand():
    loss = objectives.Sigmoid(scale=2.0, bias=-1.0)
    expected = (2 * np.log1p(np.exp(-1)) + 2 * np.log1p(np.exp(-1))) / 2  # right: 2·1 - 1 = 1; wrong: -1
    assert value(loss, torch.eye(2), torch.eye(2)) == pytest.approx(expected, rel=1e-6)


def test_temperature_and_scale_are_learned():
    for loss in (objectives.InfoNCE(), objectives.Sigmoid()):
        loss(gaussian(5, 3), gaussian(5, 3, seed=1), torch.arange(5)).backward()
        assert all(parameter.grad.abs() > 0 for parameter in loss.parameters())


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="rolled, sum_of_hinges, .*; got 'triplet'"):
        objectives.by_name("triplet")
    with pytest.raises(ValueError, match="info_nce: .*margin"):
        objectives.by_name("info_nce", margin=0.2)
    with pytest.raises(ValueError, match="both, image_to_text, text_to_image; got 'up'"):
        objectives.rolled(direction="up")(torch.eye(2), torch.eye(2), torch.arange(2))
    with pytest.raises(ValueError, match="cosine or euclidean; got 'l1'"):
        objectives.scores(torch.eye(2), torch.eye(2), "l1")
