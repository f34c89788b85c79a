import numpy as np
import pytest
import torch
from reference import gaussian

from m5utils import objectives

TRAINED = {
    "rolled": {"direction": "both"},
    "sum_of_hinges": {},
    "hardest_negative": {},
    "structure_preserving": {},
    "info_nce": {},
    "sigmoid": {},
}


@pytest.fixture(params=TRAINED)
def objective(request):
    return objectives.by_name(request.param, **TRAINED[request.param])


def value(objective, images, captions, image_of=None):
    image_of = torch.arange(len(images)) if image_of is None else torch.tensor(image_of)
    return float(objective(images, captions, image_of, torch.arange(len(images))).detach())


def test_pairs_that_lie_together_cost_less(objective):
    images = torch.eye(6)
    assert value(objective, images, images) < value(objective, images, images.roll(1, 0))
    assert value(objective, images, images) < value(objective, images, torch.ones(6, 6))


def test_a_step_against_the_gradient_brings_pairs_together(objective):
    images, captions = gaussian(8, 5).requires_grad_(), gaussian(8, 5, seed=1).requires_grad_()
    objective(images, captions, torch.arange(8), torch.arange(8)).backward()
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
    found = objective(images.requires_grad_(), captions, torch.zeros(4, dtype=torch.long), torch.arange(4))
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


WEIGHTS = {
    "one-directional": {"text_to_image": 0.0, "images": 0.0, "texts": 0.0},
    "bi-directional": {"text_to_image": 1.0, "images": 0.0, "texts": 0.0},
    "structure": {"text_to_image": 1.0, "images": 0.0, "texts": 0.1},
    "all four": {"text_to_image": 0.7, "images": 0.3, "texts": 0.2},
    "images alone": {"text_to_image": 0.0, "images": 1.0, "texts": 0.0},
}
BATCHES = {  # image_of, sentence_of
    "all differ": ([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
    "repeated images": ([3, 0, 3, 1, 9, 1, 3, 2], [7, 6, 5, 4, 3, 2, 1, 0]),
    "shared sentences": ([0, 1, 2, 3, 4, 5, 6, 7], [5, 1, 5, 2, 3, 3, 5, 4]),
    "both": ([3, 0, 3, 1, 9, 1, 3, 2], [4, 4, 5, 5, 8, 8, 4, 0]),
    "one image": ([0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 6]),
    "one sentence": ([0, 1, 2, 3, 4, 5, 6, 6], [0, 0, 0, 0, 0, 0, 0, 0]),
}


def by_triplets(x, y, image_of, sentence_of, margin, hardest, text_to_image, images, texts):
    """The paper's four sums as they stand there: sets, and a loop over triplets."""
    unit = torch.nn.functional.normalize
    of_image = {number: unit(x[image_of.index(number)], dim=0) for number in image_of}
    of_sentence = {number: unit(y[sentence_of.index(number)], dim=0) for number in sentence_of}
    described = set(zip(image_of, sentence_of, strict=True))
    says = {i: {s for of, s in described if of == i} for i in of_image}
    shows = {s: {i for i, of in described if of == s} for s in of_sentence}

    def hinges(anchors, others, right):  # right: from an anchor to its matches
        total = 0.0
        for a in anchors:
            for p in right[a] - ({a} if anchors is others else set()):
                violations = [
                    margin + float((anchors[a] - others[p]).norm()) - float((anchors[a] - others[n]).norm())
                    for n in others
                    if n not in right[a]
                ]
                total += sum(sorted((max(0.0, v) for v in violations), reverse=True)[:hardest])
        return total

    near_images = {i: {i} | {j for j in says if says[i] & says[j]} for i in says}
    near_texts = {s: {s} | {t for t in shows if shows[s] & shows[t]} for s in shows}
    total = hinges(of_image, of_sentence, says) + text_to_image * hinges(of_sentence, of_image, shows)
    total += images * hinges(of_image, of_image, near_images)
    total += texts * hinges(of_sentence, of_sentence, near_texts)
    return total / len(x)


@pytest.mark.parametrize("hardest", [1, 3, 50])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_structure_preserving_is_the_papers_sums_over_triplets(weights, batch, hardest):
    x, y = gaussian(8, 4).double(), gaussian(8, 4, seed=1).double()
    numbers, settings = BATCHES[batch], {"margin": 1.0, "hardest": hardest, **WEIGHTS[weights]}
    loss = objectives.structure_preserving(**settings)(x, y, *map(torch.tensor, numbers))
    assert float(loss) == pytest.approx(by_triplets(x, y, *numbers, **settings), rel=1e-9)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("hardest", [2, 50])
def test_the_gradient_of_structure_preserving_is_right(batch, hardest):
    inputs = [gaussian(8, 3, seed).double().requires_grad_() for seed in (2, 3)]
    numbers = [torch.tensor(of) for of in BATCHES[batch]]
    weights = WEIGHTS["all four"]
    loss = objectives.structure_preserving(0.4, hardest=hardest, **weights)
    assert (float(loss(*inputs, *numbers).detach()) > 0) == (not batch.startswith("one"))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, *numbers), inputs)


def test_images_are_neighbours_only_where_they_share_a_sentence():
    def alone(batch):  # what the image structure adds, and its gradient
        images, captions = gaussian(8, 4).requires_grad_(), gaussian(8, 4, seed=1)
        numbers = [torch.tensor(of) for of in BATCHES[batch]]
        with_it, without = (objectives.structure_preserving(0.4, images=weight) for weight in (1.0, 0.0))
        added = with_it(images, captions, *numbers) - without(images, captions, *numbers)
        added.backward()
        return float(added.detach()), float(images.grad.abs().sum())

    for batch in ("all differ", "repeated images", "one image"):
        assert alone(batch) == (0, 0)
    for batch in ("shared sentences", "both"):
        assert min(alone(batch)) > 0.1


def test_structure_preserving_has_the_slides_settings_and_refuses_others():
    images, captions, numbers = gaussian(8, 4), gaussian(8, 4, seed=1), BATCHES["both"]
    settings = {"margin": 0.1, "hardest": 10, **WEIGHTS["structure"]}
    found = objectives.structure_preserving()(images, captions, *map(torch.tensor, numbers))
    assert float(found) == pytest.approx(by_triplets(images, captions, *numbers, **settings), rel=1e-4)
    for wrong in ({"texts": -0.1}, {"images": -1}, {"text_to_image": -1}, {"hardest": 0}):
        with pytest.raises(ValueError, match="images, texts >= 0 and hardest >= 1; got"):
            objectives.structure_preserving(**wrong)


def test_temperature_and_scale_are_learned():
    for loss in (objectives.InfoNCE(), objectives.Sigmoid()):
        loss(gaussian(5, 3), gaussian(5, 3, seed=1), torch.arange(5), torch.arange(5)).backward()
        assert all(parameter.grad.abs() > 0 for parameter in loss.parameters())


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="rolled, sum_of_hinges, .*; got 'triplet'"):
        objectives.by_name("triplet")
    with pytest.raises(ValueError, match="info_nce: .*margin"):
        objectives.by_name("info_nce", margin=0.2)
    with pytest.raises(ValueError, match="both, image_to_text, text_to_image; got 'up'"):
        objectives.rolled(direction="up")(torch.eye(2), torch.eye(2), torch.arange(2), torch.arange(2))
    with pytest.raises(ValueError, match="cosine or euclidean; got 'l1'"):
        objectives.scores(torch.eye(2), torch.eye(2), "l1")
    with pytest.raises(ValueError, match="cosine or euclidean; got 'l1'"):
        objectives.rolled(measured_by="l1")(torch.eye(2), torch.eye(2), torch.arange(2), torch.arange(2))
