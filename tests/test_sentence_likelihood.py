import itertools
import math

import drawn
import pytest
import torch
from reference import gaussian

from m5utils import ranks, sentence_likelihood
from m5utils.fitting import Descent
from m5utils.sentence_likelihood import END, UNKNOWN

SMALL = {"least": 1, "dim": 6, "width": 8}


@pytest.fixture
def model():
    model = sentence_likelihood.LanguageModel(drawn.words(12), **SMALL).eval()
    torch.nn.init.normal_(model.words.weight)  # so that words differ
    return model


def slowly(model, image, numbers):
    """Word by word, each softmax over the vocabulary on its own."""
    seen = model.see(image[None])[0]
    before, state, total = END, torch.zeros(1, 1, 8), 0.0
    for there in [*model.classes[numbers[numbers >= 0] + 1].tolist(), END]:
        output, state = model.reader(model.words(torch.tensor([[before]])), state)
        logits = model.words.weight @ (model.read(output[0, 0]) + seen) + model.bias
        total, before = total + float(logits.log_softmax(dim=0)[there].detach()), there
    return total


def test_all_images_with_all_captions_agree_with_a_loop(model, monkeypatch):
    monkeypatch.setattr(sentence_likelihood, "AT_ONCE", 3)
    images, numbers = gaussian(3, 10), torch.tensor([[2, 0, 3], [4, -1, -1], [-1, -1, -1], [1, 9, -1]])
    found = model.log_likelihood(images, numbers)
    expected = [[slowly(model, image, row) for image in images] for row in numbers]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_the_probabilities_of_all_sentences_sum_to_one(model):
    n_words, longest = 4, 5
    with torch.no_grad():  # a vocabulary of four, or the sentences would be too many to list
        model.words = torch.nn.Embedding.from_pretrained(0.3 * gaussian(n_words, 6))
        model.bias = torch.nn.Parameter(torch.tensor([-1.0, 0.0, 0.5, -0.5]))
    model.classes = torch.arange(n_words)  # number 0 is class 1 and so on; -1 is the end
    images = gaussian(2, 10)
    ended = [
        list(one) + [-1] * (longest - length)
        for length in range(longest)
        for one in itertools.product(range(n_words - 1), repeat=length)
    ]
    finished = model.log_likelihood(images, torch.tensor(ended)).exp().sum(dim=0)
    # those that go on: the same sum, of what comes before the end
    ongoing = torch.tensor(list(itertools.product(range(n_words - 1), repeat=longest)))
    said, there, whose = model.places(ongoing)
    logits = (said[:, None] + model.see(images)[None]) @ model.words.weight.T + model.bias
    each = logits.log_softmax(dim=2).gather(2, there[:, None, None].expand(-1, 2, 1))[:, :, 0]
    last = there == END
    before = torch.zeros(len(ongoing), 2).index_add_(0, whose[~last], each[~last].detach())
    torch.testing.assert_close(finished + before.exp().sum(dim=0), torch.ones(2), atol=1e-4, rtol=0)
    assert (finished > 0.1).all()
    assert (finished < 0.9).all()


def test_words_are_classes_and_rare_ones_are_unknown():
    pairs = drawn.words(12)
    model = sentence_likelihood.LanguageModel(pairs, least=9, dim=6, width=8)
    counts = torch.bincount(pairs.captions.flatten() + 1, minlength=11)
    assert model.classes[0] == END
    for number, count in enumerate(counts.tolist()[1:]):
        assert (int(model.classes[number + 1]) > UNKNOWN) == (count >= 9)
    assert len(set(model.classes.tolist())) == len(model.words.weight) == 2 + int((counts[1:] >= 9).sum())


def test_the_loss_is_minus_the_mean_log_likelihood_and_its_gradient_is_right(model):
    images, numbers = gaussian(3, 10), torch.tensor([[2, 0, 3], [4, -1, -1], [1, 9, -1]])
    found = model.loss(model.see.prepared(images), numbers)
    expected = -sum(slowly(model, *each) for each in zip(images, numbers, strict=True)) / (4 + 2 + 3)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)
    model = model.double()

    def loss(images, bias, weight):
        replaced = {"bias": bias, "words.weight": weight}
        return torch.func.functional_call(
            Loss(model), {f"of.{k}": v for k, v in replaced.items()}, (images, numbers)
        )

    inputs = [images.double(), model.bias.detach().clone(), model.words.weight.detach().clone()]
    assert torch.autograd.gradcheck(loss, [each.requires_grad_() for each in inputs])


def test_the_gradient_does_not_depend_on_which_thread_comes_first():
    pairs, found = drawn.words(256), []
    torch.set_num_threads(2)  # until the test ends
    for _ in range(8):
        torch.manual_seed(0)
        model = sentence_likelihood.LanguageModel(pairs, least=1, dim=128, width=16)
        images = model.see.prepared(pairs.images)[torch.from_numpy(pairs.image_of)]
        model.loss(images, pairs.captions).backward()
        found.append([weights.grad for weights in model.parameters()])
    for again in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], again, strict=True))


class Loss(torch.nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, images, numbers):
        return self.of.loss(images, numbers)


@pytest.mark.slow
def test_a_right_image_makes_a_caption_likelier_once_learned():
    task, method = (
        drawn.task(drawn.words),
        sentence_likelihood.likelihood(Descent(30, 16, 2e-2), 1, 8, 12, 20),
    )
    images, scores = method(task, 0)
    assert torch.equal(images @ scores.T, scores.T)
    right = scores[torch.arange(len(scores)), torch.as_tensor(task.ranked.image_of)]
    assert right.mean() > scores.mean() + 1
    assert drawn.recall_sum(method, task) > 2 * drawn.CHANCE


def test_what_a_caption_is_worth_anyway_does_not_order_images():
    task, descent = drawn.task(drawn.words), Descent(2, 16, 2e-2)
    _, scores = sentence_likelihood.likelihood(descent, 1, 8, 12, 20)(task, 0)
    model = sentence_likelihood.fit(task.train, descent, 0, 1, 8, 12)
    plain = model.log_likelihood(task.ranked.images, task.ranked.captions)
    difference = plain - scores
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), atol=1e-4, rtol=0)
    some = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:20]
    anyway = model.log_likelihood(task.train.images[some], task.ranked.captions).logsumexp(dim=1) - math.log(
        20
    )
    torch.testing.assert_close(difference[:, 0], anyway, atol=1e-4, rtol=0)
    found = [
        ranks.of_pairs(torch.eye(40), each, task.ranked.image_of).images_at_least for each in (scores, plain)
    ]
    assert (abs(found[0] - found[1]) <= 1).all()  # rounding may decide a tie


def test_captions_that_are_no_words_are_refused():
    with pytest.raises(ValueError, match="captions as numbers of words.*these are vectors"):
        sentence_likelihood.likelihood(Descent())(drawn.task(), 0)
