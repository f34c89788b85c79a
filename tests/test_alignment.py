import dataclasses

import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import alignment, checkpoints, heads, objectives, paths, ranks
from m5utils.alignment import Recipe
from m5utils.pairs import Pairs, PairTask

SMALL = Recipe(dim=8, epochs=4, batch=16, rate=1e-2)


def pairs(n=40, per_image=2, seed=0):
    """Images, and captions that are another linear view of the same hidden thing, with noise."""
    hidden, noise = gaussian(n, 4, seed), 0.3 * gaussian(n * per_image, 6, seed + 1)
    image_of = np.repeat(np.arange(n), per_image)
    return Pairs(hidden @ gaussian(4, 10, 90), hidden[image_of] @ gaussian(4, 6, 91) + noise, image_of)


def recall(fitted, of):
    found = ranks.of_pairs(*fitted.model.embed(of), of.image_of)
    return ranks.image_to_text(found)["recall@1"].mean() + ranks.text_to_image(found)["recall@1"].mean()


@pytest.mark.slow
@pytest.mark.parametrize("objective", objectives.OBJECTIVES)
def test_every_objective_learns_pairs_of_other_images(objective):
    untrained = alignment.fit(pairs(), dataclasses.replace(SMALL, objective=objective, epochs=1, rate=1e-9))
    trained = alignment.fit(pairs(), dataclasses.replace(SMALL, objective=objective, epochs=30))
    others = pairs(seed=7)
    assert recall(trained, others) > recall(untrained, others) + 0.3
    assert trained.loss[-1] < trained.loss[0]
    assert len(trained.loss) == trained.epochs == 30


@pytest.mark.slow
@pytest.mark.parametrize("head", heads.HEADS)
def test_every_head_learns(head):
    recipe = dataclasses.replace(SMALL, image_head=head, caption_head=head, epochs=30)
    trained, others = alignment.fit(pairs(), recipe), pairs(seed=7)
    images, captions = trained.model.embed(others)
    assert images.shape == (40, 8)
    assert captions.shape == (80, 8)
    lengths = images.norm(dim=1)
    assert torch.allclose(lengths, torch.ones(40)) == (not head.startswith("deck"))
    assert recall(trained, others) > 0.2


def test_attention_starts_as_the_mean_and_learns_which_words_count():
    words = gaussian(6, 4)
    numbers = torch.tensor([[0, 3, -1], [5, -1, -1], [-1, -1, -1]])
    head = heads.by_name("attention", numbers, 8, words)
    table = (words - words.mean(dim=0)) / words.std()
    means = torch.stack([(table[0] + table[3]) / 2, table[5]])
    by_hand = torch.nn.functional.normalize(head.layers(means.repeat(1, 4)))
    torch.testing.assert_close(head(numbers)[:2], by_hand)
    assert head(numbers)[2].eq(0).all()  # no word
    longer = torch.nn.functional.pad(numbers, (0, 5), value=-1)
    torch.testing.assert_close(head(longer), head(numbers))  # how many places are empty does not matter
    # one word says which image it is, the others have nothing to say and, as such words do, lie together
    vectors, others = gaussian(60, 30, 3), torch.randint(40, 60, (40, 5))
    vectors[40:, 0] += 4
    numbers = torch.cat([torch.arange(40)[:, None], others], dim=1)
    recipe = dataclasses.replace(SMALL, caption_head="attention", dim=32, epochs=60, rate=3e-2)
    fitted = alignment.fit(Pairs(gaussian(40, 10), numbers, np.arange(40), vectors), recipe)
    scores = fitted.model.captions.score(fitted.model.captions.words[1:])
    assert scores[:40].mean() > scores[40:].mean() + 0.5
    with pytest.raises(ValueError, match="takes captions as words; these are vectors"):
        heads.by_name("attention", words, 8)
    with pytest.raises(ValueError, match="takes captions as vectors; these are numbers of words"):
        heads.by_name("linear", numbers, 8, words)


def test_a_method_ranks_by_what_it_was_trained_by():
    others = pairs(seed=7)
    task = PairTask(pairs(), others, "made up")
    deck = dataclasses.replace(alignment.DECK, dim=8, epochs=2)
    images, captions = alignment.aligned(deck)(task, 3)
    raw = alignment.fit(pairs(), deck, 3).model.embed(others)
    torch.testing.assert_close(images @ captions.T, -(torch.cdist(*raw) ** 2), atol=1e-4, rtol=1e-4)
    images, captions = alignment.aligned(SMALL, members=2)(task, 3)
    models = [alignment.fit(pairs(), SMALL, seed).model for seed in (3, 1003)]
    means = sum(one @ other.T for one, other in (model.embed(others) for model in models)) / 2
    torch.testing.assert_close(images @ captions.T, means)


def test_the_deck_is_an_activation_and_a_linear_layer():
    head = heads.by_name("deck_a", gaussian(5, 3), 4)
    linear, rows = head.layers, gaussian(2, 3, 8)
    torch.testing.assert_close(head(rows), rows.clamp(min=0) @ linear.weight.T + linear.bias)
    first, _, second = heads.by_name("deck_b", gaussian(5, 3), 4).layers
    assert (first.out_features, second.in_features, second.out_features) == (384, 384, 4)
    assert dataclasses.asdict(alignment.DECK) == {
        "objective": "rolled", "settings": (), "image_head": "deck_a", "caption_head": "deck_a", "dim": 1000,
        "epochs": 4, "batch": 32, "rate": 2e-5, "constant": True, "decay": 0.01, "measured_by": "euclidean",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_weights_and_another_does_not(monkeypatch, tmp_path):
    first = alignment.fit(pairs(), SMALL, seed=1)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    again, other = alignment.fit(pairs(), SMALL, seed=1), alignment.fit(pairs(), SMALL, seed=2)
    assert same(first, again)
    assert not same(first, other)


def same(one, other):
    states = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_fit_is_done_once(monkeypatch):
    first = alignment.fit(pairs(), SMALL)
    monkeypatch.setattr(alignment, "_train", lambda *_: pytest.fail("trained again"))
    again = alignment.fit(pairs(), SMALL)
    assert same(first, again)
    assert (again.loss, again.validation, again.seconds) == (first.loss, first.validation, first.seconds)


def test_everything_that_counts_names_it():
    changes = [
        {},
        {"dim": 9},
        {"epochs": 3},
        {"settings": (("temperature", 0.1),)},
        {"caption_head": "hidden"},
    ]
    for change in changes:
        alignment.fit(pairs(), dataclasses.replace(SMALL, **change))
    alignment.fit(pairs(seed=3), SMALL)
    alignment.fit(pairs(), SMALL, validation=pairs(seed=7))
    alignment.fit(pairs(), SMALL, seed=1)
    assert len(list(paths.cache().glob("heads/*/aligned.safetensors"))) == len(changes) + 3


def test_validation_stops_and_keeps_the_best_epoch():
    # so high a rate that it gets worse again
    recipe = dataclasses.replace(SMALL, epochs=60, rate=0.3, constant=True)
    found = alignment.fit(pairs(), recipe, validation=pairs(seed=7), patience=2)
    assert len(found.loss) == len(found.validation) < 60
    assert found.epochs == 1 + int(np.argmax(found.validation)) == len(found.loss) - 2
    assert alignment._recall_sum(found.model, pairs(seed=7)) == pytest.approx(max(found.validation))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("validation", [None, pairs(seed=7)])
def test_a_killed_training_goes_on_to_the_same_weights(monkeypatch, tmp_path, validation):
    recipe = dataclasses.replace(SMALL, epochs=6)
    undisturbed = alignment.fit(pairs(), recipe, validation=validation, patience=9)
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(alignment, "SAVE_EVERY", -1.0)
    for stop in (2, 3):
        saves, save = [], checkpoints.save

        def save_and_die(file, *rest, saves=saves, save=save, stop=stop):
            save(file, *rest)
            saves.append(file)
            if len(saves) == stop:
                raise KilledError

        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "save", save_and_die)
            with pytest.raises(KilledError):
                alignment.fit(pairs(), recipe, validation=validation, patience=9)
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr(alignment, "_batches", lambda *args: seen.append(1) or batches(*args))
        again = alignment.fit(pairs(), recipe, validation=validation, patience=9)
    assert len(seen) == 1  # 2 + 3 epochs were saved
    assert same(undisturbed, again)
    assert again.loss == undisturbed.loss
    assert again.validation == undisturbed.validation
    assert not list(paths.cache().glob("heads/*/resume.safetensors"))


batches = alignment._batches


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_saved(monkeypatch):
    calls = []

    def bad_after_two_epochs(images, captions, image_of):
        calls.append(1)
        value = objectives.sum_of_hinges()(images, captions, image_of)
        return value * (torch.nan if len(calls) > 12 else 1)

    monkeypatch.setitem(objectives.OBJECTIVES, "rolled", lambda: bad_after_two_epochs)
    monkeypatch.setattr(alignment, "SAVE_EVERY", -1.0)
    recipe = dataclasses.replace(SMALL, objective="rolled")
    with pytest.raises(
        ValueError, match=r"rolled, seed 0, epoch 3 of 4, step 3: the loss is nan. Lower the rate"
    ):
        alignment.fit(pairs(), recipe)
    (left,) = paths.cache().glob("heads/*/resume.safetensors")
    model = alignment.Aligned(*alignment._untrained(pairs(), recipe, 0))
    assert len(checkpoints.load(left, {"model": model})["loss"]) == 2


def test_batches_are_all_rows_once_and_never_a_single_one():
    for n in range(2, 70):
        parts = alignment._batches(n, 16)
        assert sorted(torch.cat(parts).tolist()) == list(range(n))
        assert min(map(len, parts)) >= 2
        assert max(map(len, parts)) <= 24


def test_take_brings_the_captions_along():
    some = pairs(5, 3)
    taken = some.take(np.array([4, 1]))
    assert torch.equal(taken.images, some.images[[4, 1]])
    assert torch.equal(taken.captions, some.captions[[12, 13, 14, 3, 4, 5]])
    assert taken.image_of.tolist() == [0, 0, 0, 1, 1, 1]


def test_wrong_pairs_are_named():
    good = pairs(4, 1)
    bad = good.captions.clone()
    bad[2, 0] = torch.inf
    with pytest.raises(ValueError, match="caption features must be finite; row 2"):
        Pairs(good.images, bad, good.image_of)
    for image_of in (np.array([0, 1, 2, 4]), np.array([0, 1, 2, -1]), np.array([0, 1])):
        with pytest.raises(ValueError, match="expected 4 captions' images, each from 0 to 3"):
            Pairs(good.images, good.captions, image_of)
    with pytest.raises(ValueError, match="at least 2 pairs.*got 1"):
        alignment.fit(good, dataclasses.replace(SMALL, batch=1))
    with pytest.raises(ValueError, match="linear, hidden, .*; got 'cubic'"):
        alignment.fit(good, dataclasses.replace(SMALL, image_head="cubic"))
    with pytest.raises(ValueError, match="got 'triplet'"):
        alignment.fit(good, dataclasses.replace(SMALL, objective="triplet"))
