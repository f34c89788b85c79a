"""What turns a backbone's features into the embeddings that are compared.

Knows feature vectors. Must not know images, labels or losses.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Head(nn.Module):
    """Standardise, project, and (unless it learns a Mahalanobis matrix) normalise.

    Mean and scale of every feature are taken from the features the head is made for, and stored with it;
    `standardise=False` leaves the features as they are.
    """

    def __init__(
        self, features: Tensor, layers: nn.Module, normalise: bool = True, standardise: bool = True
    ) -> None:
        """Keep the statistics of (n, in_dim) `features` and the layers that follow."""
        super().__init__()
        self.layers, self.normalise = layers, normalise
        mean, scale = torch.zeros(features.shape[1]), torch.ones(features.shape[1])
        if standardise:
            mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, features: Tensor) -> Tensor:
        """(n, in_dim) features to (n, out_dim) embeddings, of length 1 if the head normalises."""
        return self.project(self.standardised(features))

    def standardised(self, features: Tensor) -> Tensor:
        """(n, in_dim) features with mean 0 and scale 1; no step of training changes it, so once is enough."""
        return (features - self.mean).div_(self.scale)

    def project(self, standard: Tensor) -> Tensor:
        """(n, in_dim) standardised features to (n, out_dim) embeddings."""
        projected = self.layers(standard)
        return functional.normalize(projected) if self.normalise else projected


def linear(features: Tensor, dim: int = 128, normalise: bool = True) -> Head:
    """One linear layer: (n, in_dim) to (n, dim)."""
    return Head(features, nn.Linear(features.shape[1], dim, bias=False), normalise)


def hidden(features: Tensor, dim: int = 128, width: int = 512) -> Head:
    """Linear, ReLU, linear: the head the peers put on top of their backbones."""
    layers = nn.Sequential(nn.Linear(features.shape[1], width), nn.ReLU(), nn.Linear(width, dim))
    return Head(features, layers)


def deck_a(features: Tensor, dim: int = 1000) -> Head:
    """Model A of group 7's deck: activation, linear; features and embeddings stay as long as they are."""
    layers = nn.Sequential(nn.ReLU(), nn.Linear(features.shape[1], dim))
    return Head(features, layers, normalise=False, standardise=False)


def deck_b(features: Tensor, dim: int = 200, width: int = 384) -> Head:
    """Model B of group 7's deck: linear, activation, linear."""
    layers = nn.Sequential(nn.Linear(features.shape[1], width), nn.ReLU(), nn.Linear(width, dim))
    return Head(features, layers, normalise=False, standardise=False)


HEADS = {"linear": linear, "hidden": hidden, "deck_a": deck_a, "deck_b": deck_b}


def by_name(name: str, features: Tensor, dim: int) -> nn.Module:
    """An untrained head for (n, in_dim) features.

    Raises:
        ValueError: If there is no such head.
    """
    if name not in HEADS:
        raise ValueError(f"expected a head out of {', '.join(HEADS)}; got {name!r}")
    return HEADS[name](features, dim)


def whitening(features: Tensor, dim: int = 128) -> Head:
    """PCA whitening, learned without a label: rotate to the principal axes, give each the variance 1.

    Raises:
        ValueError: If `dim` exceeds what (n, in_dim) features can span.

    Reference: Jégou, Chum, ECCV 2012.
    """
    n, in_dim = features.shape
    if dim > min(n - 1, in_dim):
        raise ValueError(
            f"{n} features of {in_dim} dimensions span at most {min(n - 1, in_dim)}; asked for {dim}."
        )
    head = linear(features, dim)
    standard = head.standardised(features).double()
    variance, left = torch.linalg.eigh(standard @ standard.T / (n - 1))  # ascending; n is small beside in_dim
    left, variance = left[:, -dim:].fliplr(), variance[-dim:].flipud()
    whiten = left.T @ standard / (variance[:, None] * (n - 1) ** 0.5)
    head.layers.weight.data = whiten.to(features.dtype)
    return head.requires_grad_(False)
