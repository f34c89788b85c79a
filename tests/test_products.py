"""Products and their gradients: on any kernel what the formula says."""

import pytest
import torch
from reference import gaussian

from m5utils import products


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradients_are_those_of_the_product(dtype):
    left, right = (gaussian(n, 50, n).to(dtype).requires_grad_() for n in (37, 20))
    above = gaussian(37, 20, 3).to(dtype)
    made = products.Multiplied.apply(left, right)
    torch.testing.assert_close(made, left @ right.T)
    made.backward(above)
    torch.testing.assert_close(left.grad, above @ right)
    torch.testing.assert_close(right.grad, above.T @ left)


def test_what_is_not_learned_gets_no_gradient():
    rows, weight = gaussian(5, 3), gaussian(4, 3, 1).requires_grad_()
    products.Multiplied.apply(rows, weight).sum().backward()
    torch.testing.assert_close(weight.grad, rows.sum(dim=0).expand(4, 3))
    assert rows.grad is None


def test_it_is_the_gradient_of_differences():
    rows = [gaussian(4, 3, seed).double().requires_grad_() for seed in (0, 1)]
    assert torch.autograd.gradcheck(products.Multiplied.apply, rows)
