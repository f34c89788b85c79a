"""Training: it learns, twice the same, and goes on after a kill as if nothing had happened."""

import dataclasses

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
    fits = [
        training.fit_head(values, labels, losses.triplet(mined_by="random"), epochs=2, seed=s)[0](values)
        for s in (1, 1, 2)
    ]
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


def test_a_loss_with_weights_of_its_own_is_trained_too(features):
    values, labels = features
    loss = nn.Module()
    loss.layer = nn.Linear(4, 3)
    loss.forward = lambda e, y: nn.functional.cross_entropy(loss.layer(e), y)
    before = loss.layer.weight.detach().clone()
    training.fit_head(values, labels, loss, lambda f: heads.linear(f, 4), epochs=1)
    assert not torch.equal(before, loss.layer.weight)


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
def test_finetuning_changes_the_network_and_lowers_the_loss(views, loss):
    some, labels = views
    file = training.finetune(some, labels, loss, epochs=2, dim=4, rate=3e-2)
    state = image.read_weights(file)
    start = image.for_inference(some.encoder.upper).state_dict()
    assert set(state) == {"embed.weight", "embed.bias", *(f"upper.{key}" for key in start)}
    assert not torch.equal(state["upper.0.weight"], start["0.weight"])
    assert all(value.isfinite().all() for value in state.values())


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


def test_other_settings_are_another_file(views):
    some, labels = views
    files = [
        training.finetune(some, labels, "supcon", epochs=1, dim=4, seed=seed, rate=rate)
        for seed, rate in ((0, 1e-3), (1, 1e-3), (0, 1e-2))
    ]
    files.append(
        training.finetune(some.take(np.arange(12)), labels[:12], "supcon", epochs=1, dim=4, rate=1e-3)
    )
    assert len(set(files)) == 4


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
