import drawn
import numpy as np
import pytest
import scipy.linalg
import torch
from reference import gaussian
from sklearn.cross_decomposition import CCA

from m5utils import cca
from m5utils.fitting import Descent

ALMOST_NONE = 1e-9


def related(n=200, seed=0):
    """Three of the directions of x and y vary together, more and less."""
    shared = gaussian(n, 3, seed) * torch.tensor([3.0, 1.0, 0.5])
    x = shared @ gaussian(3, 6, 80) + gaussian(n, 6, seed + 1)
    return x, shared @ gaussian(3, 5, 81) + gaussian(n, 5, seed + 2)


def by_eigenvalues(x, y, ridge):
    """Correlations from the generalised eigenvalue problem [0 C; C' 0] w = r [A 0; 0 B] w."""
    x, y = (np.asarray(rows - rows.mean(dim=0), dtype=np.float64) for rows in (x, y))
    a, b, c = x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x)
    a, b = (of + ridge * np.trace(of) / len(of) * np.eye(len(of)) for of in (a, b))
    left = np.block([[np.zeros_like(a), c], [c.T, np.zeros_like(b)]])
    return scipy.linalg.eigh(left, scipy.linalg.block_diag(a, b), eigvals_only=True)[::-1][: min(c.shape)]


@pytest.mark.parametrize("ridge", [ALMOST_NONE, 0.1, 10.0])
def test_correlations_are_the_generalised_eigenvalues(ridge):
    x, y = related()
    _, found = cca.fit(x, y, 9, ridge, 0)
    np.testing.assert_allclose(found, by_eigenvalues(x, y, ridge), atol=1e-5)


def test_it_is_the_cca_of_scikit_learn():
    x, y = related()
    model, found = cca.fit(x, y, 3, ALMOST_NONE, 0)
    theirs = CCA(3, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy()).transform(x.numpy(), y.numpy())
    ours = [
        head.layers(head.prepared(rows)).numpy() for head, rows in ((model.images, x), (model.captions, y))
    ]
    for axis in range(3):
        their_correlation = np.corrcoef(*(side[:, axis] for side in theirs))[0, 1]
        assert float(found[axis]) == pytest.approx(their_correlation, abs=1e-5)
        for one, other in zip(ours, theirs, strict=True):
            assert abs(np.corrcoef(one[:, axis], other[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)


def test_canonical_variables_are_white_and_paired():
    x, y = related()
    model, correlations = cca.fit(x, y, 4, ALMOST_NONE, 0)
    of_x, of_y = (head.layers(head.prepared(rows)) for head, rows in ((model.images, x), (model.captions, y)))
    xx, xy, yy = cca.covariances(of_x, of_y)
    for covariance, expected in ((xx, torch.eye(4)), (yy, torch.eye(4)), (xy, correlations.diag())):
        torch.testing.assert_close(covariance, expected.float(), atol=1e-4, rtol=0)
    powered, _ = cca.fit(x, y, 4, ALMOST_NONE, 3)
    torch.testing.assert_close(
        powered.images.layers(powered.images.prepared(x)),
        of_x * correlations.float() ** 3,
        atol=1e-4,
        rtol=1e-4,
    )
    torch.testing.assert_close(powered.images(x).norm(dim=1), torch.ones(len(x)))


def test_the_loss_is_minus_the_sum_of_correlations_and_its_gradient_is_right():
    x, y = (rows.double() for rows in related(30))
    value = cca.correlation_loss(0.1)(x, y, None, None)
    assert float(value) == pytest.approx(-by_eigenvalues(x, y, 0.1).sum(), abs=1e-9)
    loss = lambda x, y: cca.correlation_loss(0.1)(x, y, None, None)  # noqa: E731
    inputs = [gaussian(12, dim, seed).double().requires_grad_() for dim, seed in ((4, 3), (3, 4))]
    assert torch.autograd.gradcheck(loss, inputs)


def test_pairs_that_belong_together_cost_less_and_a_step_brings_them_together():
    x, y = related()
    loss = cca.correlation_loss(0.1)
    assert loss(x, y, None, None) < loss(x, y.roll(1, 0), None, None) - 0.5
    wrong = y.roll(1, 0).requires_grad_()
    loss(x, wrong, None, None).backward()
    moved = wrong.detach() - wrong.grad
    assert loss(x, moved, None, None) < loss(x, wrong.detach(), None, None)


def test_a_rotation_and_a_shift_of_a_side_change_nothing():
    x, y = related()
    turned = x @ torch.linalg.qr(gaussian(6, 6, 5))[0] + 3
    loss = cca.correlation_loss(0.1)
    assert float(loss(turned, y, None, None)) == pytest.approx(float(loss(x, y, None, None)), abs=1e-4)
    skewed = turned * torch.tensor([0.2, 0.5, 1, 2, 3, 5])  # where nothing is added to the variances
    found = [cca.fit(rows, y, 9, ALMOST_NONE, 0)[1] for rows in (x, skewed)]
    torch.testing.assert_close(*found, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", [cca.linear(4), cca.deep(Descent(30, 40, 1e-2), 4, 16)])
def test_other_pairs_are_found(method):
    assert drawn.recall_sum(method) > 2.5 * drawn.CHANCE


def test_the_deep_one_sees_what_no_line_shows():
    # the caption tells the size of what the image tells with its sign
    hidden, random = gaussian(400, 1, 3), gaussian(400, 3, 4)
    x, y = torch.cat([hidden, random], dim=1), hidden.square() @ gaussian(1, 4, 5)
    y = y + 0.1 * gaussian(400, 4, 6)
    straight = float(cca.fit(x, y, 1, 0.01, 0)[1])
    torch.manual_seed(0)
    networks = [cca._network(rows, 1, 16) for rows in (x, y)]
    pairs = drawn.Pairs(x, y, np.arange(400))
    cca.fitting.fit_heads(*networks, pairs, cca.correlation_loss(0.01), Descent(60, 400, 2e-2), 0, {})
    bent = float(
        cca.fit(*(network(rows) for network, rows in zip(networks, (x, y), strict=True)), 1, 0.01, 0)[1]
    )
    assert straight < 0.4
    assert bent > 0.7


def test_what_has_no_correlation_is_said():
    x, y = related(20)
    with pytest.raises(ValueError, match="expected ridge > 0.*got 0"):
        cca.fit(x, y, 2, 0, 0)
    with pytest.raises(ValueError, match="all rows of a side are equal"):
        cca.fit(x, torch.ones_like(y), 2, 0.1, 0)
    with pytest.raises(ValueError, match="got 20, 19 and 2"):
        cca.fit(x, y[1:], 2, 0.1, 0)
    with pytest.raises(ValueError, match="got 20, 20 and 0"):
        cca.fit(x, y, 0, 0.1, 0)
    with pytest.raises(ValueError, match="more pairs in a batch than 6 outputs; got 6"):
        cca.correlation_loss(0.1)(x[:6], y[:6], None, None)
