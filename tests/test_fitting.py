import dataclasses

import drawn
import pytest
import torch
from torch import nn

from m5utils import fitting, heads, objectives, paths
from m5utils.fitting import Descent

QUICK = Descent(epochs=3, batch=8, rate=0.1)


def line(seed=0, descent=QUICK, said=None, factor=3.0):
    """Learn y = 3 x by least squares."""
    torch.manual_seed(1)
    model, x = nn.Linear(1, 1), torch.linspace(-1, 1, 32)[:, None]

    def loss(rows):
        return (model(x[rows]) - factor * x[rows]).square().mean()

    return model, fitting.minimise(model, loss, 32, descent, seed, said or {"factor": factor})


def test_the_loss_falls_and_the_rate_ends_at_zero():
    model, history = line(descent=Descent(epochs=30, batch=8, rate=0.2, decay=0.0))
    assert len(history) == 30
    assert history[-1] < 0.01 * history[0]
    assert float(model.weight) == pytest.approx(3, abs=0.05)
    assert not model.training
    assert not model.weight.requires_grad


def test_it_is_done_once_and_named_by_all_that_decides_it(monkeypatch):
    first, history = line()
    with monkeypatch.context() as patched:
        patched.setattr(fitting, "_steps", lambda *_: pytest.fail("done again"))
        again, same = line()
    assert torch.equal(first.weight, again.weight)
    assert same == history
    others = [line(seed=1), line(descent=dataclasses.replace(QUICK, decay=0.5)), line(factor=2.0)]
    assert len({float(model.weight) for model, _ in [(first, 0), *others]}) == 4
    assert len(list(paths.cache().glob("heads/*/fitted.safetensors"))) == 4


def test_every_row_once_an_epoch_whatever_the_batch():
    model = nn.Linear(1, 1)
    for batch in (2, 5, 7, 100):
        seen = []

        def loss(rows, seen=seen):
            seen.append(rows)
            return model.weight.sum() ** 2

        fitting._steps(model, loss, 13, Descent(epochs=1, batch=batch), 0)
        assert sorted(torch.cat(seen).tolist()) == list(range(13))
        assert min(map(len, seen)) >= 2


@pytest.mark.parametrize("name", ["sum_of_hinges", "info_nce"])  # a function, a module that learns along
def test_heads_learn_by_any_objective(name):
    def method(task, seed):
        torch.manual_seed(seed)
        of_images, of_captions = heads.linear(task.train.images, 8), heads.linear(task.train.captions, 8)
        objective = objectives.by_name(name)
        fitting.fit_heads(of_images, of_captions, task.train, objective, Descent(20, 16, 1e-2), seed, {})
        if isinstance(objective, nn.Module):
            assert float(objective.log_scale.detach().exp()) != pytest.approx(1 / 0.07)
        return of_images(task.ranked.images), of_captions(task.ranked.captions)

    assert drawn.recall_sum(method) > 2 * drawn.CHANCE


def test_what_cannot_be_fitted_is_said():
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="at least 2 rows, and 2 in a batch; got 1 in batches of 8"):
        fitting.minimise(model, lambda _: model.weight.sum(), 1, QUICK, 0, {})
    with pytest.raises(ValueError, match="got 9 in batches of 1"):
        fitting.minimise(model, lambda _: model.weight.sum(), 9, Descent(batch=1), 0, {})
    with pytest.raises(
        ValueError, match=r"Linear, seed 0, epoch 1 of 3: the loss is nan. Lower the rate \(0.1\)"
    ):
        fitting.minimise(model, lambda _: model.weight.sum() * torch.nan, 9, QUICK, 0, {})
    assert not list(paths.cache().glob("heads/*/fitted.safetensors"))
