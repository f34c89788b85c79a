"""Products and their gradients: on any kernel what the formula says."""

import pytest
import torch
from reference import gaussian

from m5utils import products


@pytest.mark.parametrize(
    ("instructions", "processor", "idle"),
    [("AVX512", "znver4", True), ("AVX512", "emeraldrapids", False), ("AVX2", "znver3", False)],
)
def test_onednn_is_for_processors_whose_avx512_mkl_leaves_idle(instructions, processor, idle):
    assert products.left_idle_by_mkl(instructions, processor) is idle


@pytest.fixture(params=["taken", "onednn"])
def kernel(request, monkeypatch):
    """The one that this processor takes, and the one that AMD's with AVX-512 would."""
    if request.param == "onednn":
        if not torch.backends.mkldnn.is_available():
            pytest.skip("this torch has no oneDNN")
        monkeypatch.setattr(products, "_WIDE", True)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dim", [3, 30, 257, 1024])
def test_equal_rows_give_equal_products_wherever_they_stand(dim):
    left, right = gaussian(48 + 3, dim), gaussian(640 + 5, dim, 1)
    left[::3], right[::7] = left[0].clone(), right[0].clone()
    expected = None
    for first in (0, 3):  # what comes before them in memory does not matter either
        rows, columns = left[first : first + 48], right[2:642]
        out = torch.full((48, 640), torch.nan)
        made = products.multiply(rows, columns, out)
        assert made is out
        exact, most = rows.double() @ columns.double().T, rows.abs() @ columns.abs().T
        assert ((made - exact).abs() <= dim * torch.finfo().eps * most).all()  # what rounding may do
        assert torch.equal(products.multiply(rows, columns), made)
        same_rows, same_columns = (rows == left[0]).all(dim=1), (columns == right[0]).all(dim=1)
        values = made[same_rows][:, same_columns].unique()
        expected = values if expected is None else expected
        assert len(values) == 1
        assert torch.equal(values, expected)


@pytest.mark.usefixtures("kernel")
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
