from fractions import Fraction

import drawn
import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import image_annotation, objectives, semantic_losses
from m5utils.fitting import Descent


def test_rank_weights_are_sums_of_one_over_rank():
    exact = [sum((Fraction(1, j) for j in range(1, rank + 1)), Fraction(0)) for rank in range(8)]
    assert exact[3] == Fraction(11, 6)
    np.testing.assert_allclose(semantic_losses.rank_weights(7), [float(one) for one in exact], rtol=1e-6)


def by_draws(images, captions, image_of, margin):
    """WSABIE as it is told: the first that is drawn and comes too near; all orders of drawing alike."""
    similar, total = objectives.scores(images, captions), 0.0
    for anchor in range(len(images)):
        hinges = [
            float(margin + similar[anchor, other] - similar[anchor, anchor])
            for other in range(len(images))
            if image_of[other] != image_of[anchor]
        ]
        near = [hinge for hinge in hinges if hinge > 0]
        for hinge in near:  # each of them is the first with the same chance
            total += sum(1 / j for j in range(1, len(near) + 1)) * hinge / len(near)
    return total / len(images)


@pytest.mark.parametrize("margin", [0.05, 0.3, 2.5])
def test_warp_is_the_mean_of_its_draws(margin):
    images, captions, image_of = gaussian(9, 4), gaussian(9, 4, 1), torch.tensor([0, 0, 1, 2, 3, 3, 4, 5, 6])
    found = image_annotation.warp(margin)(images, captions, image_of, image_of)
    assert float(found) == pytest.approx(by_draws(images, captions, image_of, margin), rel=1e-5)


def test_the_gradient_of_warp_is_right():
    image_of = torch.tensor([0, 0, 1, 2, 3])
    loss = lambda x, y: image_annotation.warp(0.3)(x, y, image_of, image_of)  # noqa: E731
    inputs = [gaussian(5, 3, seed).double().requires_grad_() for seed in (2, 3)]
    assert loss(*inputs) > 0
    assert torch.autograd.gradcheck(loss, inputs)


def test_warp_asks_from_the_image_only_and_pairs_that_lie_together_cost_nothing():
    images, captions = torch.eye(4), torch.eye(4)
    same = torch.arange(4)
    assert float(image_annotation.warp(0.5)(images, captions, same, same)) == 0
    turned = image_annotation.warp(0.0)(images, captions.roll(1, 0), same, same)
    assert float(turned) == pytest.approx(1)  # one wrong caption, 1 nearer than the right one
    one_way = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # images: 1 over 0, and 0.6 over 0.8 (0.2 too near); captions: 1 over 0.8, and 0.6 over 0
    assert float(image_annotation.warp(0.0)(*one_way, same[:2], same[:2])) == pytest.approx(0.1)
    assert float(image_annotation.warp(0.5)(images, captions.roll(1, 0), torch.zeros(4), same)) == 0


def slowly(images, captions, image_of, rows, wrong, most):
    """Passive-aggressive steps with whole matrices, and the mean of the matrix after each."""
    found, seen = np.zeros((captions.shape[1], images.shape[1])), []
    for row, other in zip(rows, wrong, strict=True):
        apart = (images[image_of[row]] - images[other]).astype(np.float64)
        triplet = np.outer(captions[row], apart)
        lacks = 1 - (found * triplet).sum()
        if lacks > 0 and triplet.any():
            found = found + min(most, lacks / (triplet**2).sum()) * triplet
        seen.append(found)
    return np.mean(seen, axis=0)


@pytest.mark.parametrize("most", [0.01, 100.0])
def test_passive_aggressive_agrees_with_whole_matrices(most, monkeypatch):
    monkeypatch.setattr(image_annotation, "AT_ONCE", 7)
    random, pairs = np.random.default_rng(0), drawn.vectors(12)
    rows, wrong = random.integers(24, size=60), random.integers(12, size=60)
    assert (pairs.image_of[rows] == wrong).any()  # also steps without a wrong image
    arguments = pairs.images.numpy(), pairs.captions.numpy(), pairs.image_of, rows, wrong, most
    np.testing.assert_allclose(
        image_annotation.passive_aggressive(*arguments), slowly(*arguments), rtol=1e-3, atol=1e-5
    )


def test_a_step_without_a_limit_is_just_enough():
    images, captions = np.float32([[1, 0], [0, 2]]), np.float32([[3, 1]])
    apart, once = images[0] - images[1], (images, captions, np.array([0]), np.array([0]), np.array([1]))
    assert float(captions[0] @ image_annotation.passive_aggressive(*once, 100.0) @ apart) == pytest.approx(1)
    # caption² 10, apart² 5: a step of 0.01 gets half of the way
    assert float(captions[0] @ image_annotation.passive_aggressive(*once, 0.01) @ apart) == pytest.approx(0.5)


SMALL = Descent(epochs=30, batch=16, rate=1e-2)


@pytest.mark.parametrize(
    ("method", "make"),
    [
        (image_annotation.wsabie(SMALL, dim=8), drawn.vectors),
        (image_annotation.pamir(epochs=10), drawn.vectors),
        (image_annotation.one_vs_rest(SMALL), drawn.words),
    ],
)
def test_other_pairs_are_found(method, make):
    task = drawn.task(make)
    first = method(task, 0)
    again = method(task, 0)  # out of the cache
    assert all(torch.equal(*both) for both in zip(first, again, strict=True))
    assert drawn.recall_sum(method, task) > 2 * drawn.CHANCE


def test_one_vs_rest_knows_what_an_image_shows():
    task = drawn.task(drawn.words)
    odds, bags = image_annotation.one_vs_rest(SMALL)(task, 0)
    there = torch.zeros(odds.shape, dtype=torch.bool)
    for caption, image in enumerate(task.ranked.image_of):
        there[image] |= bags[caption] > 0
    joins = there.all(dim=0)  # "and" is in every caption and says nothing
    assert int(joins.sum()) == 1
    assert odds[:, joins].abs().max() < odds[:, ~joins].abs().max()
    assert odds[:, ~joins][there[:, ~joins]].mean() > odds[:, ~joins][~there[:, ~joins]].mean() + 1
    assert torch.allclose(bags.norm(dim=1), torch.ones(len(bags)))


def test_what_cannot_be_annotated_is_said():
    with pytest.raises(ValueError, match="a largest step above 0; got 0"):
        image_annotation.pamir(most=0)(drawn.task(), 0)
    with pytest.raises(ValueError, match="these are vectors"):
        image_annotation.one_vs_rest(SMALL)(drawn.task(), 0)
