"""Heads fitted by shared objects: the loss against loops, and what training must do and must not."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from m5utils import metrics, object_heads, paths, relevance, search
from m5utils.object_tasks import Pictures, answers
from tests import reference


def slowly(embeddings: torch.Tensor, alike: torch.Tensor, margin: float) -> float:
    """The loss, triplet by triplet."""
    terms, n = [], len(embeddings)
    score = [[float(a @ b) for b in embeddings] for a in embeddings]
    for anchor in range(n):
        others = [each for each in range(n) if each != anchor]
        wrong = [each for each in others if not alike[anchor, each]]
        for right in (each for each in others if alike[anchor, each]):
            farther = [score[anchor][each] for each in wrong if score[anchor][each] <= score[anchor][right]]
            if wrong:
                nearest = max(farther or [score[anchor][each] for each in wrong])
                terms.append(max(0.0, nearest - score[anchor][right] + margin))
    return sum(terms) / max(1, len(terms))


@pytest.mark.parametrize("margin", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_loss_agrees_with_loops(margin, share):
    embeddings = functional.normalize(reference.gaussian(17, 5))
    alike = torch.from_numpy(np.random.default_rng(1).random((17, 17)) < share)  # goes one way only
    found = object_heads.triplet(embeddings, alike, margin)
    assert float(found) == pytest.approx(slowly(embeddings, alike, margin), abs=1e-6)
    assert float(found) > 0


def test_the_gradient_is_that_of_differences():
    rows = reference.gaussian(9, 4).double().requires_grad_()
    alike = torch.from_numpy(np.random.default_rng(2).random((9, 9)) < 0.4)
    assert torch.autograd.gradcheck(lambda x: object_heads.triplet(functional.normalize(x), alike), [rows])


def test_equal_embeddings_violate_by_the_margin_and_bad_ones_do_not_hang():
    same, alike = torch.ones(5, 1), torch.eye(5, dtype=torch.bool).roll(1, 0)
    assert float(object_heads.triplet(same, alike, 0.3)) == pytest.approx(0.3)
    assert object_heads.triplet(same * torch.nan, alike).isnan()


def test_a_nearer_positive_lowers_the_loss():
    embeddings = functional.normalize(torch.tensor([[1.0, 0.2], [0.2, 1.0], [0.8, 0.8]])).requires_grad_()
    alike = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    object_heads.triplet(embeddings, alike).backward()
    nearer = functional.normalize(embeddings.detach() - 0.1 * embeddings.grad)
    assert object_heads.triplet(nearer, alike) < object_heads.triplet(embeddings, alike)


def test_without_a_triplet_loss_and_gradient_are_zero():
    embeddings = functional.normalize(reference.gaussian(4, 3)).requires_grad_()
    for alike in (torch.ones(4, 4, dtype=torch.bool), torch.eye(4, dtype=torch.bool)):
        loss = object_heads.triplet(embeddings, alike)
        loss.backward()
        assert float(loss.detach()) == 0
        assert not embeddings.grad.any()


def drawn(n: int, seed: int = 0) -> Pictures:
    """Features in which a few numbers say what objects are there, and louder ones say nothing."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.5, (n, 6))
    said = np.concatenate(
        [counts + 0.3 * random.normal(size=(n, 6)), 2 * random.normal(size=(n, 20))], axis=1
    )
    return Pictures(torch.from_numpy(said).float(), counts, (counts > 0).astype(np.int64), np.arange(n))


@pytest.mark.slow
@pytest.mark.parametrize("rule", relevance.RULES)
def test_a_head_learns_its_rule(rule):
    train, other = drawn(600), drawn(200, seed=1)
    head, history = object_heads.fit(train, rule, dim=16, epochs=20, rate=5e-3, batch=100)
    assert len(history) == 20
    assert history[-1] < history[0]
    query, gallery = other.take(np.arange(50)), other.take(np.arange(50, 200))
    relevant = answers(query.counts, gallery.counts, rule)
    asked = relevant.any(axis=1)

    def score(as_they_are):
        scores = search.scores(*(as_they_are(part.features) for part in (query, gallery))).numpy()
        return metrics.average_precision(scores[asked], relevant[asked]).mean()

    assert score(head) > 1.2 * score(lambda rows: rows)
    assert not any(parameter.requires_grad for parameter in head.parameters())


def test_a_head_is_fitted_once_and_named_by_all_that_decides_it(monkeypatch):
    train, fitted, really = drawn(40), [], object_heads._fit
    monkeypatch.setattr(object_heads, "_fit", lambda *given: fitted.append(given) or really(*given))
    given = {"rule": "selection", "dim": 4, "epochs": 2, "seed": 0, "rate": 1e-3, "batch": 20}
    first, history = object_heads.fit(train, **given)
    again, same = object_heads.fit(train, **given)
    assert len(fitted) == 1
    assert same == history
    assert torch.equal(first.layers.weight, again.layers.weight)
    changes = ({"rule": "weighted"}, {"dim": 5}, {"epochs": 1}, {"seed": 1}, {"rate": 1e-4}, {"batch": 40})
    for number, change in enumerate(changes, start=2):
        object_heads.fit(train, **given | change)
        assert len(fitted) == number
    object_heads.fit(drawn(40, seed=1), **given)
    fewer = Pictures(train.features, np.minimum(train.counts, 1), train.listed, train.ids)
    object_heads.fit(fewer, **given)
    assert len(fitted) == 9


def test_the_same_seed_gives_the_same_head(monkeypatch, tmp_path):
    first, _ = object_heads.fit(drawn(60), "aggregation", dim=4, epochs=2, batch=20)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    again, _ = object_heads.fit(drawn(60), "aggregation", dim=4, epochs=2, batch=20)
    assert torch.equal(first.layers.weight, again.layers.weight)


def test_never_more_than_a_batch_is_compared(monkeypatch):
    compared, really = [], object_heads.object_tasks.answers
    monkeypatch.setattr(
        object_heads.object_tasks,
        "answers",
        lambda query, gallery, rule: (
            compared.append((len(query), len(gallery))) or really(query, gallery, rule)
        ),
    )
    object_heads.fit(drawn(90), "selection", dim=4, epochs=1, batch=30)
    assert compared == [(30, 30)] * 3


def test_a_loss_that_is_not_finite_stops_with_its_epoch_and_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(object_heads, "triplet", lambda embeddings, _: embeddings.sum() * torch.nan)
    with pytest.raises(
        ValueError, match=r"triplets by selection, epoch 1 of 2: the loss is nan\. Lower the rate"
    ):
        object_heads.fit(drawn(20), "selection", dim=4, epochs=2, batch=10)
    assert not list(paths.cache().glob("heads/*/head.safetensors"))


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match=r"rule out of selection, .*got 20 and 'any'"):
        object_heads.fit(drawn(20), "any")
    with pytest.raises(ValueError, match=r"at least 2 pictures .*got 1 and 'selection'"):
        object_heads.fit(drawn(1), "selection")
