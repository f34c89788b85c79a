"""The three losses and WSABIE's: by hand, against loops, their gradients, and what they must not do."""

import pytest
import torch
from reference import gaussian
from torch.nn import functional

from m5utils import semantic_losses


def unit(n: int, dim: int, seed: int) -> torch.Tensor:
    return functional.normalize(gaussian(n, dim, seed).double())


def test_the_triplet_loss_by_hand():
    query = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    positive = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    negative = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    # ½ max(0, 0.2 - 0 + 0.6) = 0.4, and ½ max(0, 0.2 - 1 + 0) = 0
    assert float(semantic_losses.triplet(query, positive, negative, 0.2)) == pytest.approx(0.2)


def test_the_joint_loss_is_the_sum_of_the_three():
    images, texts = ([unit(6, 4, 3 * kind + place) for place in range(3)] for kind in range(2))
    slow = 0.0
    for row in range(6):
        q, p, n = (one[row] for one in images)
        tq, tp, tn = (one[row] for one in texts)
        for asks, right, wrong in ((q, p, n), (q, tp, tn), (tq, p, n)):
            slow += 0.5 * max(0.0, 0.3 - float(asks @ right) + float(asks @ wrong)) / 6
    assert float(semantic_losses.joint(tuple(images), tuple(texts), 0.3)) == pytest.approx(slow)


def slow_warp(scores, annotation, own, margin):
    total = 0.0
    for row, right in enumerate(annotation.tolist()):
        hinges = [
            max(0.0, margin - float(scores[row, right]) + float(scores[row, wrong]))
            for wrong in range(scores.shape[1])
            if not own[row, wrong]
        ]
        above = [one for one in hinges if one > 0]
        if above:
            total += sum(1 / place for place in range(1, len(above) + 1)) * sum(above) / len(above)
    return total / len(scores)


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_warp_agrees_with_loops(margin):
    scores = gaussian(7, 9).double()
    own = gaussian(7, 9, seed=1) > 0.5
    annotation = torch.arange(7)
    own[torch.arange(7), annotation] = True
    found = float(semantic_losses.warp(scores, annotation, own, margin))
    assert found == pytest.approx(slow_warp(scores, annotation, own, margin))
    assert found > 0


def test_warp_costs_more_the_lower_the_right_one_stands():
    own = torch.tensor([[True, False, False, False]])
    annotation = torch.tensor([0])
    costs = [
        float(semantic_losses.warp(torch.tensor([[right, 3.0, 2.0, 1.0]]), annotation, own, 0.1))
        for right in (4.0, 2.5, 1.5, 0.5)
    ]
    assert costs[0] == 0
    assert costs == sorted(costs)
    assert len(set(costs)) == 4


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_right(seed):
    rows = [gaussian(5, 4, seed=10 * seed + part).double().requires_grad_() for part in range(6)]

    def visual(q, p, n):
        return semantic_losses.triplet(q, p, n, 0.3)

    def joint(*six):
        return semantic_losses.joint(six[:3], six[3:], 0.3)

    def warp(scores):
        own = torch.eye(5, 4, dtype=torch.bool)
        own[4, 0] = True
        return semantic_losses.warp(scores, torch.tensor([0, 1, 2, 3, 0]), own, 0.7)

    assert torch.autograd.gradcheck(visual, rows[:3])
    assert torch.autograd.gradcheck(joint, rows)
    assert torch.autograd.gradcheck(warp, rows[:1])


def test_a_step_against_the_gradient_brings_what_is_alike_together():
    query, positive, negative = (unit(8, 5, seed).requires_grad_() for seed in range(3))
    loss = semantic_losses.triplet(query, positive, negative, 1.0)
    loss.backward()
    nearer = [functional.normalize(one.detach() - 0.1 * one.grad) for one in (query, positive, negative)]
    assert semantic_losses.triplet(*nearer, 1.0) < loss


def test_without_a_triplet_loss_and_gradient_are_zero():
    nothing = torch.zeros(0, 3, requires_grad=True)
    loss = semantic_losses.triplet(nothing, nothing, nothing, 0.2)
    loss.backward()
    assert float(loss.detach()) == 0
