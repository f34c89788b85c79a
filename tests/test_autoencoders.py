import drawn
import pytest
import torch
from reference import gaussian
from torch.nn import functional

from m5utils import autoencoders
from m5utils.fitting import Descent


@pytest.fixture
def model():
    return autoencoders.Bimodal(drawn.vectors(), dim=3, width=5)


def test_features_are_scaled_by_one_number_a_side(model):
    pairs = drawn.vectors()
    for scaled, rows in zip(
        model.scaled(pairs.images, pairs.captions), (pairs.images, pairs.captions), strict=True
    ):
        assert float(scaled.std()) == pytest.approx(1, rel=1e-5)
        torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(scaled.shape[1]), atol=1e-5, rtol=0)
        ratio = scaled.std(dim=0) / rows.std(dim=0)
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_what_is_missing_is_zeros_behind_its_layer(model):
    images, captions = gaussian(4, 10), gaussian(4, 6, 1)
    entered = functional.relu(model.enter[0](images)), torch.zeros(4, 5)
    torch.testing.assert_close(model.code(images, None), model.join(torch.cat(entered, dim=1)))
    entered = torch.zeros(4, 5), functional.relu(model.enter[1](captions))
    torch.testing.assert_close(model.code(None, captions), model.join(torch.cat(entered, dim=1)))
    assert not torch.equal(model.code(images, captions), model.code(images, None))


def test_the_loss_tells_both_from_each_of_three(model):
    images, captions = gaussian(4, 10), gaussian(4, 6, 1)
    total = 0.0
    for given in ((images, captions), (images, None), (None, captions)):
        told = functional.relu(model.part(functional.relu(model.code(*given))))
        total += (model.leave[0](told[:, :5]) - images).square().mean()
        total += (model.leave[1](told[:, 5:]) - captions).square().mean()
    torch.testing.assert_close(model.loss(images, captions), total)


def test_its_gradient_is_right(model):
    images, captions = (gaussian(3, dim).double().requires_grad_() for dim in (10, 6))
    assert torch.autograd.gradcheck(model.double().loss, (images, captions))


@pytest.mark.slow
def test_other_pairs_are_found():
    method = autoencoders.bimodal(Descent(40, 16, 1e-2), dim=4, width=32)
    assert drawn.recall_sum(method) > 1.5 * drawn.CHANCE
