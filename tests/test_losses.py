"""Each loss against a slow loop, and the sign test: a closer positive lowers it."""

import itertools
import json
import math
from functools import partial

import pytest
import torch

from m5utils import losses

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def at_degrees(*degrees: float) -> torch.Tensor:
    """Points on the unit circle, which can be drawn and checked by eye."""
    angle = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], dim=1)


LOSSES = {
    "contrastive": losses.contrastive(margin=0.8),
    "contrastive cosine": losses.contrastive(margin=0.8, measured_by="cosine"),
    "triplet all": losses.triplet(0.5, mined_by="all"),
    "triplet cosine": losses.triplet(0.5, measured_by="cosine", mined_by="all"),
    "triplet hardest": losses.triplet(0.5, mined_by="hardest"),
    "triplet mahalanobis": losses.triplet(0.5, measured_by="mahalanobis", mined_by="all"),
    "quadruplet": losses.quadruplet,
    "multi-similarity": losses.multi_similarity(),
    "supervised contrastive": losses.supervised_contrastive(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_moving_a_positive_closer_lowers_the_loss(name):
    loss = LOSSES[name]
    near = loss(at_degrees(20, 40, 60, 80, 120, 140), LABELS)
    far = loss(at_degrees(-20, 40, 60, 80, 120, 140), LABELS)
    assert near < far


@pytest.mark.parametrize("name", LOSSES)
def test_moving_the_classes_apart_lowers_the_loss(name):
    loss = LOSSES[name]
    apart = loss(at_degrees(0, 20, 120, 140, 240, 260), LABELS)
    mixed = loss(at_degrees(0, 20, 15, 35, 30, 50), LABELS)
    assert apart < mixed


@pytest.mark.parametrize("name", LOSSES)
def test_one_class_alone_teaches_no_separation(name):
    points = at_degrees(10, 10, 10, 10).requires_grad_()
    value = LOSSES[name](points, torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(points.grad).all()


def triplet_by_loop(points: torch.Tensor, labels: torch.Tensor, margin: float) -> float:
    """The definition, triplet by triplet."""
    terms = [
        max(0.0, float((points[a] - points[p]).norm() - (points[a] - points[n]).norm() + margin))
        for a, p, n in itertools.product(range(len(points)), repeat=3)
        if a != p and labels[a] == labels[p] != labels[n]
    ]
    active = [term for term in terms if term > 0]
    return sum(active) / len(active)


@pytest.mark.parametrize("mined_by", ["all"])
def test_triplet_is_its_definition(mined_by):
    points = at_degrees(0, 25, 40, 90, 130, 155)
    value = losses.triplet(0.5, mined_by=mined_by)(points, LABELS)
    assert float(value) == pytest.approx(triplet_by_loop(points, LABELS, 0.5))


def quadruplet_by_loop(
    points: torch.Tensor, labels: torch.Tensor, margin: float, second_margin: float
) -> float:
    """The definition, quadruplet by quadruplet, with the nearest fourth of a third class."""
    n = len(points)
    squared = [[float((points[i] - points[j]).square().sum()) for j in range(n)] for i in range(n)]
    first, second = [], []
    for a, p, neg in itertools.product(range(n), repeat=3):
        if a == p or labels[a] != labels[p] or labels[a] == labels[neg]:
            continue
        first.append(max(0.0, squared[a][p] - squared[a][neg] + margin))
        fourth = [squared[neg][m] for m in range(n) if labels[m] not in (labels[a], labels[neg])]
        if fourth:
            second.append(max(0.0, squared[a][p] - min(fourth) + second_margin))
    return sum(sum(t) / max(1, sum(x > 0 for x in t)) for t in (first, second))


@pytest.mark.parametrize("labels", [LABELS, torch.tensor([0, 0, 0, 1, 1, 1])])
def test_quadruplet_is_its_definition(labels):
    points = at_degrees(0, 25, 40, 90, 130, 155)
    assert float(losses.quadruplet(points, labels, 0.7, 0.4)) == pytest.approx(
        quadruplet_by_loop(points, labels, 0.7, 0.4)
    )


def test_quadruplet_gradient():
    points = at_degrees(0, 25, 40, 90, 130, 155).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.quadruplet(x, LABELS, 0.7, 0.4), points)


def test_contrastive_by_hand():
    # One pair of one class at 60 degrees (distance 1), two of two classes at 120 (sqrt 3) and 180 (2).
    points = at_degrees(0, 60, 180)
    value = losses.contrastive(margin=1.9)(points, torch.tensor([0, 0, 1]))
    assert float(value) == pytest.approx(1.0 + (1.9 - math.sqrt(3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Anchor at 0, positive at 40, negatives at 20 (hard), 60 (semihard), 150 (too easy for the margin).
        ("hard", {20}),
        ("semihard", {60}),
        ("all", {20, 60}),
    ],
)
def test_miner_finds_the_triplets_one_would_draw(name, expected):
    degrees = torch.tensor([0, 40, 20, 60, 150])
    found = losses.miner(name, 0.5, "euclidean")(at_degrees(*degrees.tolist()), torch.tensor([0, 0, 1, 2, 3]))
    negatives = {int(degrees[n]) for a, p, n in zip(*found, strict=True) if (a, p) == (0, 1)}
    assert negatives == expected


def test_hardest_miner_takes_the_farthest_positive_and_the_nearest_negative():
    a, p, n = losses.miner("hardest", 0.5, "euclidean")(
        at_degrees(0, 10, 30, 50, 90), torch.tensor([0, 0, 0, 1, 1])
    )
    assert (0, 2, 3) in set(zip(a.tolist(), p.tolist(), n.tolist(), strict=True))


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match="out of cosine, euclidean, mahalanobis; got 'manhattan'"):
        losses.distance("manhattan")
    with pytest.raises(ValueError, match="got 'soft'"):
        losses.miner("soft", 0.2, "euclidean")


def test_a_loss_is_known_by_what_it_does():
    known = [
        losses.triplet(0.2, "euclidean", "semihard"),
        losses.triplet(0.3, "euclidean", "semihard"),
        losses.triplet(0.2, "cosine", "semihard"),
        losses.triplet(0.2, "euclidean", "hard"),
        losses.triplet(0.2, "euclidean", "random"),
        losses.contrastive(0.5),
        losses.contrastive(1.0),
        losses.quadruplet,
        losses.multi_similarity(),
        losses.supervised_contrastive(),
        losses.supervised_contrastive(0.2),
        losses.classification(),
    ]
    assert len({json.dumps(losses.settings(loss)) for loss in known}) == len(known)
    assert losses.settings(torch.nn.L1Loss()) != losses.settings(
        torch.nn.MSELoss()
    )  # their numbers are equal
    for loss in known[:-1]:  # what they have seen since is no part of it
        before = losses.settings(loss)
        loss(at_degrees(0, 10, 90, 100, 200, 210).requires_grad_(), LABELS)
        assert losses.settings(loss.eval() if isinstance(loss, torch.nn.Module) else loss) == before


def test_a_loss_of_ones_own_is_not_known():
    changed, weighted = losses.supervised_contrastive(), losses.supervised_contrastive()
    changed.forward = lambda embeddings, _: embeddings.sum()
    weighted.layer = torch.nn.Linear(2, 2)
    own = lambda embeddings, _: embeddings.sum()  # noqa: E731
    for loss in (own, changed, weighted, partial(losses.quadruplet, margin=1.0)):
        assert losses.settings(loss) is None
