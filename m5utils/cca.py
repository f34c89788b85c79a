"""Canonical correlation analysis: the directions in which pictures and captions vary together, linear, deep.

Knows features of pairs. Must not know words, pictures or a metric of the report.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from m5utils import fitting, heads, paths, runtime
from m5utils.alignment import Aligned
from m5utils.fitting import Descent
from m5utils.objectives import Objective
from m5utils.pairs import PairTask


def covariances(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How (n, x_dim) and (n, y_dim) rows that belong together vary: x with x, x with y, y with y."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    return x.T @ x / len(x), x.T @ y / len(x), y.T @ y / len(x)


def whitened(xx: Tensor, xy: Tensor, yy: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """The covariance of two sides after each was made white, and what makes it so.

    Args:
        xx: (x_dim, x_dim) of `covariances`.
        xy: (x_dim, y_dim).
        yy: (y_dim, y_dim).
        ridge: This much of a side's mean variance is added to each of its variances: few pairs say little of
            the directions that vary least, and whitening makes these as loud as the others.

    Returns:
        (x_dim, y_dim), whose singular values are the canonical correlations; and the lower triangles of
        Cholesky, (x_dim, x_dim) and (y_dim, y_dim), through which a side is divided. Any other square root of
        the covariance gives the same but for a rotation, and has no such simple gradient.

    Raises:
        ValueError: If the ridge is not above 0, or a side does not vary at all.
    """
    if ridge <= 0:
        raise ValueError(
            f"expected ridge > 0, or directions that do not vary cannot be whitened; got {ridge}"
        )
    if min(xx.diagonal().mean(), yy.diagonal().mean()) <= 0:
        raise ValueError("expected features that differ from pair to pair; all rows of a side are equal")
    left, right = (
        torch.linalg.cholesky(of + ridge * of.diagonal().mean() * torch.eye(len(of)).to(of))
        for of in (xx, yy)
    )
    half = torch.linalg.solve_triangular(left, xy, upper=False)
    return torch.linalg.solve_triangular(right, half.T, upper=False).T, left, right


def fit(images: Tensor, captions: Tensor, dim: int, ridge: float, power: float) -> tuple[Aligned, Tensor]:
    """Linear heads whose outputs are the canonical variables, each times a power of its correlation.

    Args:
        images: (n, image_dim), one row per pair.
        captions: (n, caption_dim), the row of the same pair.
        dim: Directions to keep, at most; those of the largest correlations.
        ridge: See `whitened`.
        power: 0 gives every direction the same weight; the larger, the less the uncertain ones count.

    Returns:
        The heads, whose outputs have length 1, and the (dim,) correlations.

    Raises:
        ValueError: If rows do not belong together, dim is below 1, or as `whitened`.

    References: Hotelling, "Relations between two sets of variates", Biometrika 1936; Gong, Ke, Isard,
    Lazebnik, "A multi-view embedding space for modeling internet images", IJCV 2014.
    """
    if len(images) != len(captions) or dim < 1:
        raise ValueError(
            f"expected as many images as captions and dim >= 1; got {len(images)}, {len(captions)} and {dim}"
        )
    parts = (part.double() for part in covariances(images, captions))
    turned, left, right = whitened(*parts, ridge)
    of_images, correlations, of_captions = torch.linalg.svd(turned, full_matrices=False)
    kept = correlations[:dim]
    sides = (images, left, of_images[:, :dim]), (captions, right, of_captions[:dim].T)
    return Aligned(*(_canonical(rows, root, axes * kept**power) for rows, root, axes in sides)), kept


def _canonical(rows: Tensor, root: Tensor, axes: Tensor) -> heads.Head:
    """Centre, whiten, turn to the axes; frozen."""
    weight = torch.linalg.solve_triangular(root.T, axes, upper=True).T
    head = heads.Head(rows, nn.Linear(*weight.T.shape, bias=False), standardise=False)
    head.mean.copy_(rows.mean(dim=0))
    head.layers.weight.data = weight.to(rows.dtype).contiguous()
    return head.requires_grad_(False)


def linear(
    dim: int = 256, ridge: float = 0.1, power: float = 4.0
) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge, see `fit`; in closed form, so the seed does not matter."""

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - nothing is random
        train = task.train
        return fit(train.images[train.image_of], train.captions, dim, ridge, power)[0].embed(task.ranked)

    return method


def correlation_loss(ridge: float) -> Objective:
    """Minus the sum of a batch's canonical correlations, the trace norm of `whitened`.

    It compares a batch's pairs as a whole and knows no negatives. A batch must hold more pairs than a head
    has outputs: below that, any features correlate.

    Reference: Andrew, Arora, Bilmes, Livescu, "Deep canonical correlation analysis", ICML 2013.
    """

    def loss(images: Tensor, captions: Tensor, _image_of: Tensor, _sentence_of: Tensor) -> Tensor:
        if len(images) <= images.shape[1]:
            raise ValueError(
                f"expected more pairs in a batch than {images.shape[1]} outputs; got {len(images)}"
            )
        return -torch.linalg.svdvals(whitened(*covariances(images, captions), ridge)[0]).sum()

    return loss


def deep(
    descent: Descent, dim: int = 64, width: int = 512, ridge: float = 0.1, power: float = 4.0
) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: two networks with a hidden layer fitted by `correlation_loss`, then `fit` on top.

    Reference: Yan, Mikolajczyk, "Deep correlation for matching images and text", CVPR 2015.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        train = task.train
        runtime.seed_everything(seed)
        networks = [_network(rows, dim, width) for rows in (train.images, train.captions)]
        said = {"ridge": ridge, "code": paths.code_key(sys.modules[__name__])}
        fitting.fit_heads(*networks, train, correlation_loss(ridge), descent, seed, said)
        network = Aligned(*networks)
        images, captions = (rows.cpu() for rows in network.embed(train))
        last, _ = fit(images[train.image_of], captions, dim, ridge, power)
        images, captions = (rows.cpu() for rows in network.embed(task.ranked))
        return last.images(images), last.captions(captions)

    return method


def _network(features: Tensor, dim: int, width: int) -> heads.Head:
    layers = nn.Sequential(nn.Linear(features.shape[1], width), nn.ReLU(), nn.Linear(width, dim))
    return heads.Head(features, layers, normalise=False)
