import dataclasses

import drawn
import pytest
import torch
from reference import gaussian
from torch.nn import functional

from m5utils import sentence_models
from m5utils.fitting import Descent


@pytest.fixture
def reader():
    return sentence_models.Recurrent(gaussian(7, 4), dim=5, width=6)


def test_a_caption_is_the_state_after_its_last_word(reader):
    numbers = torch.tensor([[0, 3, 6, -1], [5, -1, -1, -1], [1, 2, 3, 4]])
    found = reader(numbers)
    for row, of_caption in zip(numbers, found, strict=True):
        state = torch.zeros(1, 6)
        for word in row[row >= 0]:
            read = reader.words[word + 1][None, None]
            state = reader.reader(read, state[None])[1][0]
        torch.testing.assert_close(of_caption[None], functional.normalize(reader.layers(state)))


def test_neither_padding_nor_company_matters_but_order_does(reader):
    numbers = torch.tensor([[0, 3, 6], [6, 3, 0], [2, -1, -1]])
    found = reader(numbers)
    torch.testing.assert_close(reader(functional.pad(numbers, (0, 4), value=-1)), found)
    torch.testing.assert_close(reader(numbers[2:]), found[2:])
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_a_caption_without_words_is_finite(reader):
    assert reader(torch.full((2, 3), -1)).isfinite().all()


def test_many_captions_are_read_in_parts(reader, monkeypatch):
    numbers = torch.randint(7, (11, 3))
    whole = reader(numbers)
    monkeypatch.setattr(sentence_models, "AT_ONCE", 4)
    torch.testing.assert_close(reader(numbers), whole)


def test_its_gradient_is_right(reader):
    reader, numbers = reader.double(), torch.tensor([[0, 3], [5, -1]])

    def of_weights(weight, bias):
        replaced = {"reader.weight_ih_l0": weight, "reader.bias_hh_l0": bias}
        return torch.func.functional_call(reader, replaced, (numbers,))

    weight, bias = reader.reader.weight_ih_l0, reader.reader.bias_hh_l0
    inputs = [each.detach().clone().requires_grad_() for each in (weight, bias)]
    assert torch.autograd.gradcheck(of_weights, inputs)


@pytest.mark.slow
def test_other_pairs_are_found():
    task = drawn.task(drawn.words)
    method = sentence_models.recurrent(Descent(20, 16, 1e-2), dim=8, width=12)
    assert drawn.recall_sum(method, task) > 2 * drawn.CHANCE
    with pytest.raises(ValueError, match="captions as numbers of words.*these are vectors"):
        method(drawn.task(), 0)
    wordless = dataclasses.replace(task.train, words=None)
    with pytest.raises(ValueError, match="these are vectors"):
        method(dataclasses.replace(task, train=wordless), 0)
