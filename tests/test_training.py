"""Training: it learns, twice the same, and goes on after a kill as if nothing had happened."""

import dataclasses
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from m5utils import checkpoints, heads, losses, paths, training
from m5utils.encoders import image


@pytest.fixture
def features():
    labels = np.arange(48) % 3
    return torch.eye(3)[labels].repeat(1, 5) + torch.randn(48, 15), labels


def agreement(embeddings: torch.Tensor, labels: np.ndarray) -> float:
    """Share of items whose nearest other item has their class."""
    scores = embeddings @ embeddings.T - 10 * torch.eye(len(labels))
    return float((labels[scores.argmax(dim=1)] == labels).mean())


def test_a_head_learns_its_training_set(features):
    values, labels = features
    head, history = training.fit_head(values, labels, losses.supervised_contrastive(), epochs=60, rate=3e-3)
    assert agreement(head(values), labels) > 0.9 > agreement(nn.functional.normalize(values), labels)
    assert len(history) == 60
    assert history[-1] < history[0]


def test_two_fits_with_one_seed_are_equal_and_with_two_are_not(features):
    values, labels = features
    fits = []
    for seed in (1, 1, 2):
        shutil.rmtree(paths.cache())
        head, _ = training.fit_head(values, labels, losses.triplet(mined_by="random"), epochs=2, seed=seed)
        fits.append(head(values))
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_a_head_that_was_fitted_before_is_not_fitted_again(features, monkeypatch):
    values, labels = features
    as_it_is = lambda some: heads.deck_a(some, 5)  # noqa: E731 - nothing of the features stays in it

    def doubled(some):
        head = as_it_is(some)
        head.layers.weight.data.mul_(2)
        return head

    def of_length_one(some):
        head = as_it_is(some)
        head.normalise = True
        return head

    fitted = lambda **changed: training.fit_head(  # noqa: E731
        **{"features": values, "labels": labels, "loss": losses.contrastive(), "make": as_it_is, "epochs": 2}
        | changed
    )
    head, history = fitted()
    monkeypatch.setattr(training, "_fit", lambda *_: pytest.fail("fitted again"))
    same, remembered = fitted()
    assert torch.equal(same(values), head(values))
    assert remembered == history
    assert not same.layers.weight.requires_grad
    others = (
        {"features": values + 1e-3},
        {"labels": labels[::-1].copy()},
        {"loss": losses.contrastive(0.6)},
        {"make": lambda some: heads.deck_a(some, 7)},
        {"make": doubled},
        {"make": of_length_one},
        {"epochs": 3},
        {"seed": 1},
        {"rate": 1e-3},
        {"batch": 12},
        {"loss": lambda embeddings, _: embeddings.sum()},
    )
    for changed in others:
        with pytest.raises(pytest.fail.Exception, match="fitted again"):
            fitted(**changed)


def test_what_another_run_has_trained_while_this_one_waited_is_taken(monkeypatch):
    @contextmanager
    def waiting(lock, _doing):
        lock.parent.mkdir(parents=True)
        (lock.parent / "one").write_text("theirs")
        yield

    monkeypatch.setattr(paths, "lock", waiting)
    done = checkpoints.trained_once("kind/one", {}, "training", lambda _: pytest.fail("trained again"))
    assert done.read_text() == "theirs"


def test_a_loss_with_weights_of_its_own_is_trained_too(features):
    values, labels = features
    loss = nn.Module()
    loss.layer = nn.Linear(4, 3)
    loss.forward = lambda e, y: nn.functional.cross_entropy(loss.layer(e), y)
    before = loss.layer.weight.detach().clone()
    training.fit_head(values, labels, loss, lambda f: heads.linear(f, 4), epochs=1)
    assert not torch.equal(before, loss.layer.weight)


def test_a_head_is_trained_on_standardised_features_and_handed_over_still(features):
    values, labels = features
    head, _ = training.fit_head(100 + 50 * values, labels, losses.supervised_contrastive(), epochs=2)
    same, _ = training.fit_head(values, labels, losses.supervised_contrastive(), epochs=2)
    torch.testing.assert_close(head.layers.weight, same.layers.weight, atol=1e-4, rtol=0)
    assert not head.layers.weight.requires_grad


def test_the_history_is_the_mean_loss_and_the_rate_falls_to_nothing(features, monkeypatch):
    values, labels = features
    rates, step = [], torch.optim.AdamW.step

    def recorded(optimizer):
        rates.append(optimizer.param_groups[0]["lr"])
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    one = lambda embeddings, _: 0 * embeddings.sum() + 1  # noqa: E731
    _, history = training.fit_head(values, labels, one, epochs=3, rate=0.1, batch=12)
    assert history == [1, 1, 1]
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * np.arange(12) / 12)))  # 3 × 4 steps


def test_a_step_forgets_the_gradient_of_the_step_before(features, monkeypatch):
    values, labels = features
    seen, step = [], torch.optim.AdamW.step

    def recorded(optimizer):
        seen.append(optimizer.param_groups[0]["params"][0].grad.clone())
        step(optimizer)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    squared = lambda embeddings, _: embeddings.square().sum()  # noqa: E731
    head = lambda some: heads.linear(some, 4, normalise=False)  # noqa: E731
    training.fit_head(values, labels, squared, head, epochs=3, rate=1e-6, batch=48)
    torch.testing.assert_close(seen[1], seen[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("batch", "rows"), [(13, 12), (2, 6), (600, 600)])
def test_batches_are_balanced_and_an_epoch_is_about_every_row(batch, rows):
    labels = np.repeat([0, 1, 2], [30, 15, 3])
    batches = list(training._balanced(labels, batch))
    assert [np.bincount(labels[rows_of]).tolist() for rows_of in batches] == [[rows // 3] * 3] * max(
        1, 48 // rows
    )


def test_what_cannot_be_trained_on_is_refused(features):
    values, labels = features
    with pytest.raises(ValueError, match="at least two classes"):
        training.fit_head(values, np.zeros(48, dtype=int), losses.contrastive())
    values[7, 3] = torch.nan
    with pytest.raises(ValueError, match="row 7 is not"):
        training.fit_head(values, labels, losses.contrastive())


# --- fine-tuning ------------------------------------------------------------------------------------------


class TinyEncoder(nn.Module):
    """Stands in for an encoder: two convolutions, the second with batch normalisation."""

    def __init__(self):
        super().__init__()
        self.upper = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.dim = 2 * 4 + 2 * 3


class TinySource:
    shape = torch.Size((3, 2, 2))

    def unflattened(self, values):
        return values.float().unflatten(1, self.shape)


@pytest.fixture
def views(monkeypatch, tmp_path):
    monkeypatch.setenv("M5_CACHE", str(tmp_path))
    torch.manual_seed(0)
    labels = np.arange(24) % 3
    maps = [(torch.eye(3)[labels].repeat_interleave(4, dim=1) + torch.randn(24, 12)).half() for _ in range(2)]
    pictures = tuple(f"picture {row}" for row in range(24))
    shards = [[of_view[:10].numpy(), of_view[10:20].numpy(), of_view[20:].numpy()] for of_view in maps]
    made_by = [{"view": 1}, {"view": 2}]
    return image.Views(TinyEncoder().eval(), TinySource(), shards, np.arange(24), pictures, made_by), labels


@pytest.mark.parametrize("loss", training.TUNING_LOSSES)
def test_finetuning_changes_the_network(views, loss):
    some, labels = views
    file = training.finetune(some, labels, loss, epochs=2, dim=4, rate=3e-2)
    state = image.read_weights(file)
    start = image.for_inference(some.encoder.upper).state_dict()
    assert set(state) == {"embed.weight", "embed.bias", *(f"upper.{key}" for key in start)}
    assert not torch.equal(state["upper.0.weight"], start["0.weight"])
    assert all(value.isfinite().all() for value in state.values())


def test_finetuning_lowers_the_loss(views, monkeypatch):
    some, labels = views
    values, loss_of = [], training._loss
    monkeypatch.setattr(training, "_loss", lambda *args: values.append(loss_of(*args)) or values[-1])
    training.finetune(some, labels, "supcon", epochs=20, dim=4, rate=1e-2)
    assert sum(values[-5:]) < 0.9 * sum(values[:5])


def test_finetuning_is_done_once(views, monkeypatch):
    some, labels = views
    file = training.finetune(some, labels, "supcon", epochs=1, dim=4)
    monkeypatch.setattr(training, "_trained", lambda *_: pytest.fail("trained again"))
    assert training.finetune(some, labels, "supcon", epochs=1, dim=4) == file
    every_row = some.take(np.arange(24))
    assert training.finetune(every_row, labels, "supcon", epochs=1, dim=4) == file


def test_views_are_named_by_what_they_hold(views):
    some, _ = views
    other = dataclasses.replace(some, made_by=[{"view": 1}, {"view": 3}])
    half, turned = some.take(np.arange(12)), some.take(np.arange(23, -1, -1))
    assert len({some.key, other.key, half.key, turned.key}) == 4
    assert half.take(np.arange(6)).key == some.take(np.arange(6)).key


def test_views_are_read_by_picture_and_view(views):
    some, _ = views
    first, second = (np.concatenate(shards) for shards in some.maps)
    np.testing.assert_array_equal(some.values([0, 9, 10, 23], [0, 0, 0, 0]), first[[0, 9, 10, 23]])
    taken = some.take(np.array([23, 3, 11]))
    np.testing.assert_array_equal(taken.values([0, 1, 2], [1, 1, 0]), [second[23], second[3], first[11]])
    np.testing.assert_array_equal(taken.take(np.array([2])).values([0], [1]), second[[11]])


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "triplet"},
        {"epochs": 2},
        {"seed": 1},
        {"dim": 5},
        {"rate": 1e-2},
        {"batch": 12},
        {"labels": np.arange(23, -1, -1) % 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_are_another_file(views, change):
    some, labels = views
    usual = {"labels": labels, "loss": "supcon", "epochs": 1, "dim": 4}
    assert training.finetune(some, **usual) != training.finetune(some, **usual | change)


def test_other_views_code_or_torch_are_another_file(views, monkeypatch):
    some, labels = views
    files = [training.finetune(some, labels, "supcon", epochs=1, dim=4)]
    other = dataclasses.replace(some, made_by=[{"view": 1}, {"view": 3}])
    files.append(training.finetune(other, labels, "supcon", epochs=1, dim=4))
    monkeypatch.setattr(torch, "__version__", "1.0")
    files.append(training.finetune(some, labels, "supcon", epochs=1, dim=4))
    monkeypatch.setattr(paths, "code_key", lambda *_: "other code")
    files.append(training.finetune(some, labels, "supcon", epochs=1, dim=4))
    assert len(set(files)) == 4


def test_every_epoch_draws_rows_and_views_anew(views, monkeypatch):
    some, labels = views
    drawn, values = [], image.Views.values
    monkeypatch.setattr(
        image.Views, "values", lambda self, *which: drawn.append(which) or values(self, *which)
    )
    training.finetune(some, labels, "supcon", epochs=2, dim=4, batch=24)
    (first, views_of_first), (second, views_of_second) = drawn
    assert first != second
    assert set(views_of_first) == set(views_of_second) == {0, 1}
    taken = dict(zip(first, views_of_first, strict=True))
    assert [taken[row] for row in second] != views_of_second


def test_what_is_kept_is_the_average_and_new_layers_learn_three_times_as_fast(views, monkeypatch):
    some, labels = views
    save, ends = checkpoints.save, []
    monkeypatch.setattr(checkpoints, "save", lambda *args: ends.append(args) or save(*args))
    tuned = training.finetune(some, labels, "supcon", epochs=2, dim=4, rate=1e-3, batch=12)
    kept = image.read_weights(tuned)
    _, modules, _, optimizer = ends[-1]
    network, average = modules["network"], modules["average"]
    assert torch.equal(kept["embed.weight"], average.module.embed.weight)
    assert not torch.equal(kept["embed.weight"], network.embed.weight)
    old, new = (group["lr"] for group in optimizer.param_groups)
    assert 0 < old < 1e-3 / 2
    assert new == pytest.approx(3 * old)
    assert len(optimizer.param_groups[1]["params"]) == 4  # of the embedding and the classifier


def test_the_losses_are_those_of_their_names(views):
    some, labels = views
    network, targets = training._network(some, 4, 3).eval(), torch.as_tensor(labels)
    maps = some.unflattened(some.values(range(24), [0] * 24))
    embedding = network(maps)
    classified = losses.classification()(network.classifier(embedding), targets)
    expected = {
        "classification": classified,
        "contrastive": losses.contrastive(0.5, "cosine")(embedding, targets),
        "triplet": losses.triplet(0.2, "cosine", "all")(embedding, targets),
        "supcon": losses.supervised_contrastive()(embedding, targets) + classified,
    }
    found = {name: training._loss(network, maps, targets, name) for name in training.TUNING_LOSSES}
    torch.testing.assert_close(found, expected)


def test_the_moving_average_by_hand():
    average = torch.tensor([1.0])
    training._moving_average([average], [torch.tensor([12.0])], torch.tensor(1))
    assert average.item() == pytest.approx(11)  # a weight of 1/11 on what was there
    training._moving_average([average], [torch.tensor([111.0])], torch.tensor(10_000))
    assert average.item() == pytest.approx(12)  # never less than one in a hundred of the new


def test_the_schedule_by_hand():
    found = [training._schedule(progress) for progress in (0, 0.05, 0.5, 1)]
    assert found == pytest.approx([0.01, 0.51 * (1 + np.cos(0.05 * np.pi)) / 2, 0.5, 0], abs=1e-12)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(views, monkeypatch, tmp_path):
    some, labels = views
    whole = image.read_weights(training.finetune(some, labels, "supcon", epochs=3, dim=4))
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    save, saved = checkpoints.save, []

    def killed_after_two(file, modules, about, optimizer):
        save(file, modules, about, optimizer)
        saved.append(about["epochs"])
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        training.finetune(some, labels, "supcon", epochs=3, dim=4)
    monkeypatch.setattr(checkpoints, "save", save)
    resumed = image.read_weights(training.finetune(some, labels, "supcon", epochs=3, dim=4))
    assert saved == [1, 2]
    assert {key: torch.equal(value, resumed[key]) for key, value in whole.items()} == dict.fromkeys(
        whole, True
    )
    assert not list(paths.cache().rglob("resume.safetensors"))


def test_an_unknown_loss_is_refused(views):
    with pytest.raises(ValueError, match="out of classification, contrastive, triplet, supcon; got 'hinge'"):
        training.finetune(*views, "hinge", epochs=1)


def test_a_loss_that_explodes_stops_with_advice(views):
    some, labels = views
    with pytest.raises(ValueError, match="lower the rate"):
        training.finetune(some, labels, "classification", epochs=20, dim=4, rate=1e30)
