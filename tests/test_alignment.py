import dataclasses

import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import alignment, checkpoints, fitting, heads, objectives, paths, ranks
from m5utils.alignment import Recipe
from m5utils.pairs import Pairs, PairTask, sharing_a_sentence

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


@pytest.mark.slow
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
        "captions_per_image": 1,
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


@pytest.mark.slow
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

    def bad_after_two_epochs(*batch):
        calls.append(1)
        value = objectives.sum_of_hinges()(*batch)
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
        parts = alignment._batches(np.arange(n), 16)
        assert sorted(torch.cat(parts).tolist()) == list(range(n))
        assert min(map(len, parts)) >= 2
        assert max(map(len, parts)) <= 24


def test_captions_by_themselves_are_drawn_as_ever():
    torch.manual_seed(3)
    found = alignment._batches(np.repeat(np.arange(9), 5), 16)
    torch.manual_seed(3)
    expected = torch.randperm(45).tensor_split(3)
    assert [rows.tolist() for rows in found] == [rows.tolist() for rows in expected]


@pytest.mark.parametrize("together", [2, 3, 5, 8])
def test_captions_of_an_image_stay_together_in_groups(together):
    draw, cut = np.random.default_rng(0), 0
    for n_images in [*range(1, 30), 200]:
        counts = draw.integers(0, 8, n_images)
        counts[0] = 2
        image_of = np.repeat(np.arange(n_images), counts)
        batch = 2 * together + n_images % 4
        torch.manual_seed(n_images)
        parts = alignment._batches(image_of, batch, together)
        assert sorted(torch.cat(parts).tolist()) == list(range(len(image_of)))
        assert min(map(len, parts)) >= 2
        assert max(map(len, parts)) <= 1.5 * batch + together
        # every image is in as few groups as it can be, and each group is next to itself in one batch
        order = torch.cat([torch.full_like(rows, number) for number, rows in enumerate(parts)])
        images = image_of[torch.cat(parts)]
        borders = (np.diff(images) != 0) | (np.diff(order) != 0)
        runs = np.split(images, 1 + np.flatnonzero(borders))
        found = {image: [len(run) for run in runs if run[0] == image] for image in set(images.tolist())}
        for image, lengths in found.items():
            assert len(lengths) <= -(-counts[image] // together)
            assert sum(length % together for length in lengths) == counts[image] % together
        cut += len(parts) - 1
        torch.manual_seed(n_images)
        again = alignment._batches(image_of, batch, together)
        assert all(torch.equal(one, other) for one, other in zip(parts, again, strict=True))
        torch.manual_seed(n_images + 1)
        if n_images > 3:
            assert not torch.equal(torch.cat(alignment._batches(image_of, batch, together)), torch.cat(parts))
    assert cut > 100


def test_a_group_is_drawn_out_of_all_captions_of_its_image():
    image_of, seen = np.repeat(np.arange(4), 5), set()
    for _ in range(200):
        (rows,) = alignment._batches(image_of, 20, 2)
        first = rows[:2].tolist()
        assert first[0] // 5 == first[1] // 5
        seen.add(tuple(first))
    assert len(seen) > 60  # of 4 images × 5 × 4 ordered pairs


@pytest.mark.parametrize("fit", ["alignment", "fitting"])
def test_an_objective_is_told_images_and_sentences_of_its_rows(monkeypatch, fit):
    sentence_of = np.random.default_rng(0).integers(0, 50, 80)
    train = dataclasses.replace(pairs(), sentence_of=sentence_of)
    seen = []

    def told(images, captions, image_of, of_rows):
        seen.append((image_of.tolist(), of_rows.tolist()))
        return objectives.sum_of_hinges()(images, captions, image_of, of_rows)

    def once(train):
        seen.clear()
        if fit == "fitting":
            both = heads.linear(train.images, 8), heads.linear(train.captions, 8)
            fitting.fit_heads(*both, train, told, fitting.Descent(1, 16), 0, {})
        else:
            monkeypatch.setitem(objectives.OBJECTIVES, "rolled", lambda: told)
            alignment.fit(train, dataclasses.replace(SMALL, objective="rolled", epochs=1))
        return sorted(both for part in seen for both in zip(*part, strict=True))

    assert once(train) == sorted(zip(train.image_of.tolist(), sentence_of.tolist(), strict=True))
    assert once(pairs()) == list(zip(train.image_of.tolist(), range(80), strict=True))


def test_captions_of_an_image_reach_the_objective_together(monkeypatch):
    seen = []

    def told(images, captions, image_of, sentence_of):
        seen.append(image_of)
        return objectives.structure_preserving()(images, captions, image_of, sentence_of)

    monkeypatch.setitem(objectives.OBJECTIVES, "rolled", lambda: told)
    recipe = dataclasses.replace(SMALL, objective="rolled", epochs=1, captions_per_image=5)
    alignment.fit(pairs(per_image=5), recipe)
    assert all((image_of.bincount() % 5 == 0).all() for image_of in seen)
    assert len(seen) == 12


@pytest.mark.parametrize("together", [1, 2, 5])
def test_an_image_goes_through_its_head_once_where_captions_stay_together(monkeypatch, together):
    projected, told = [], []
    project = heads.Head.project

    def counted(head, rows):
        projected.append(rows.clone())
        return project(head, rows)

    def objective(images, captions, image_of, _):
        told.append((images, image_of))
        return objectives.sum_of_hinges()(images, captions, image_of, None)

    monkeypatch.setattr(heads.Head, "project", counted)
    monkeypatch.setitem(objectives.OBJECTIVES, "rolled", lambda: objective)
    recipe = dataclasses.replace(SMALL, objective="rolled", epochs=1, captions_per_image=together)
    alignment.fit(pairs(per_image=5), recipe)
    of_images = [rows for rows in projected if rows.shape[1] == 10]
    assert len(of_images) == len(told) == 12
    for rows, (embedded, image_of) in zip(of_images, told, strict=True):
        assert len(rows) == len(image_of if together == 1 else image_of.unique())
        same = image_of[:, None] == image_of  # and stands beside each of its captions
        assert torch.equal((embedded[:, None] - embedded).abs().amax(dim=2) < 1e-5, same)
    assert any(len(image_of.unique()) < len(image_of) for _, image_of in told)


def test_a_batch_of_one_image_is_no_error():
    recipe = dataclasses.replace(SMALL, image_head="branch", caption_head="branch", batch=8)
    recipe = dataclasses.replace(recipe, captions_per_image=4)
    of_three = pairs(3, per_image=4)
    assert sorted(map(len, alignment._batches(of_three.image_of, 8, 4))) == [4, 8]
    assert np.isfinite(alignment.fit(of_three, recipe).loss).all()


@pytest.mark.parametrize("head", ["branch", "branch_linear"])
def test_batch_norm_is_what_training_left_and_the_batch_does_not_matter(monkeypatch, head):
    recipe = dataclasses.replace(SMALL, image_head=head, caption_head=head)
    learned = []

    def measured(model, of):
        value = recall_sum(model, of)
        assert model.training
        learned.append(value)
        return value

    recall_sum = alignment._recall_sum
    monkeypatch.setattr(alignment, "_recall_sum", measured)
    fitted, others = alignment.fit(pairs(), recipe, validation=pairs(seed=7)), pairs(seed=7)
    assert learned == fitted.validation
    assert recall_sum(fitted.model.eval(), others) == pytest.approx(max(learned))
    again = alignment.fit(pairs(), recipe, validation=pairs(seed=7))  # out of the file
    assert not again.model.training
    statistics = again.model.images.layers[-1].running_mean
    assert statistics.abs().sum() > 0
    assert torch.equal(statistics, fitted.model.eval().images.layers[-1].running_mean)
    whole = again.model.embed(others)
    few = again.model.embed(others.take(np.arange(3)))
    torch.testing.assert_close(few[0], whole[0][:3])
    torch.testing.assert_close(few[1], whole[1][:6])


def test_take_brings_the_captions_along():
    some = pairs(5, 3)
    taken = some.take(np.array([4, 1]))
    assert torch.equal(taken.images, some.images[[4, 1]])
    assert torch.equal(taken.captions, some.captions[[12, 13, 14, 3, 4, 5]])
    assert taken.image_of.tolist() == [0, 0, 0, 1, 1, 1]
    assert taken.sentence_of is None
    said = dataclasses.replace(some, sentence_of=np.arange(15) // 2)
    assert said.take(np.array([4, 1])).sentence_of.tolist() == [6, 6, 7, 1, 2, 2]


def test_sentences_are_part_of_the_key_only_where_they_are_given():
    some = pairs(5, 3)
    said = [dataclasses.replace(some, sentence_of=np.arange(15) // n) for n in (1, 2)]
    assert len({of.key for of in (some, *said)}) == 3
    before = [
        paths.key_of_array(part) for part in (some.images.numpy(), some.captions.numpy(), some.image_of)
    ]
    assert some.key == paths.key_of(before)


def test_sentences_that_images_share_are_counted_by_pairs_of_images():
    some = pairs(4, 3)
    count = lambda of: sharing_a_sentence(dataclasses.replace(some, sentence_of=np.array(of)))  # noqa: E731
    assert sharing_a_sentence(some) == 0
    assert count([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8]) == 0  # an image that says a thing twice
    assert count([0, 1, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9]) == 1  # two sentences, the same two images
    assert count([0, 1, 2, 0, 3, 4, 0, 5, 9, 8, 9, 9]) == 4  # 0-1, 0-2, 1-2; 2-3


def test_wrong_pairs_are_named():
    good = pairs(4, 1)
    bad = good.captions.clone()
    bad[2, 0] = torch.inf
    with pytest.raises(ValueError, match="caption features must be finite; row 2"):
        Pairs(good.images, bad, good.image_of)
    for image_of in (np.array([0, 1, 2, 4]), np.array([0, 1, 2, -1]), np.array([0, 1])):
        with pytest.raises(ValueError, match="expected 4 captions' images, each from 0 to 3"):
            Pairs(good.images, good.captions, image_of)
    for sentence_of in (np.arange(3), np.arange(8).reshape(4, 2)):
        with pytest.raises(ValueError, match=r"sentence's number for each of 4 captions; got \([34]"):
            Pairs(good.images, good.captions, good.image_of, sentence_of=sentence_of)
    with pytest.raises(ValueError, match="at least 2 pairs.*got 1 and 1"):
        alignment.fit(good, dataclasses.replace(SMALL, batch=1))
    with pytest.raises(ValueError, match="at least 10 pairs.*got 5 and 9"):
        alignment.fit(good, dataclasses.replace(SMALL, batch=9, captions_per_image=5))
    with pytest.raises(ValueError, match="captions_per_image >= 1.*got 0 and 16"):
        alignment.fit(good, dataclasses.replace(SMALL, captions_per_image=0))
    with pytest.raises(ValueError, match="linear, hidden, .*; got 'cubic'"):
        alignment.fit(good, dataclasses.replace(SMALL, image_head="cubic"))
    with pytest.raises(ValueError, match="got 'triplet'"):
        alignment.fit(good, dataclasses.replace(SMALL, objective="triplet"))
