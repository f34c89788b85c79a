"""What turns a backbone's features into the embeddings that are compared.

Knows feature vectors, and the vectors of words. Must not know images, captions, labels or losses.
"""

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.nn import functional


class Head(nn.Module):
    """Standardise, project, and (unless it learns a Mahalanobis matrix) normalise.

    Mean and scale of every feature are taken from the features the head is made for, and stored with it;
    `standardise=False` leaves the features as they are. `rectify` sets those below 0 to 0 first thing.
    """

    def __init__(
        self,
        features: Tensor,
        layers: nn.Module,
        normalise: bool = True,
        standardise: bool = True,
        rectify: bool = False,
    ) -> None:
        """Keep the statistics of (n, in_dim) `features` and the layers that follow."""
        super().__init__()
        self.layers, self.normalise, self.rectify = layers, normalise, rectify
        mean, scale = torch.zeros(features.shape[1]), torch.ones(features.shape[1])
        if standardise:
            mean, scale = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, features: Tensor) -> Tensor:
        """(n, in_dim) features to (n, out_dim) embeddings, of length 1 if the head normalises."""
        return self.project(self.prepared(features))

    def prepared(self, features: Tensor) -> Tensor:
        """(n, in_dim) features, standardised; no step of training changes it, so once is enough."""
        standard = (features - self.mean).div_(self.scale)
        return standard.relu_() if self.rectify else standard

    def project(self, prepared: Tensor) -> Tensor:
        """(n, in_dim) prepared features to (n, out_dim) embeddings."""
        projected = self.layers(prepared)
        return functional.normalize(projected) if self.normalise else projected

    def extra_repr(self) -> str:
        """What layers and weights do not tell of it."""
        return f"normalise={self.normalise}, rectify={self.rectify}"


def linear(features: Tensor, dim: int = 128, normalise: bool = True) -> Head:
    """One linear layer: (n, in_dim) to (n, dim)."""
    return Head(features, nn.Linear(features.shape[1], dim, bias=False), normalise)


def hidden(features: Tensor, dim: int = 128, width: int = 512) -> Head:
    """Linear, ReLU, linear: the head the peers put on top of their backbones."""
    layers = nn.Sequential(nn.Linear(features.shape[1], width), nn.ReLU(), nn.Linear(width, dim))
    return Head(features, layers)


def deck_a(features: Tensor, dim: int = 1000) -> Head:
    """Model A of group 7's deck: activation, linear; features and embeddings stay as long as they are."""
    layers = nn.Linear(features.shape[1], dim)
    return Head(features, layers, normalise=False, standardise=False, rectify=True)


def deck_b(features: Tensor, dim: int = 200, width: int = 384) -> Head:
    """Model B of group 7's deck: linear, activation, linear."""
    layers = nn.Sequential(nn.Linear(features.shape[1], width), nn.ReLU(), nn.Linear(width, dim))
    return Head(features, layers, normalise=False, standardise=False)


def branch(features: Tensor, dim: int = 512, width: int = 2048) -> Head:
    """A branch of the structure-preserving network: linear, ReLU, dropout, linear, batch norm, length 1.

    Dropout and the batch's statistics are of training alone: embed after `eval()`.

    Reference: Wang, Li, Lazebnik, "Learning deep structure-preserving image-text embeddings", CVPR 2016.
    """
    layers = nn.Sequential(
        nn.Linear(features.shape[1], width),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(width, dim),
        nn.BatchNorm1d(dim),
    )
    return Head(features, layers)


def branch_linear(features: Tensor, dim: int = 512) -> Head:
    """The same paper's linear variant: one linear layer, batch norm, length 1."""
    return Head(features, nn.Sequential(nn.Linear(features.shape[1], dim), nn.BatchNorm1d(dim)))


class Attention(nn.Module):
    """Learns which words of a caption count: weighted means of its word vectors, then a linear layer.

    Each of `looks` weighings scores every word by an inner product with its vector and takes a softmax over
    the caption. The word vectors stay as they are; a word's neighbours do not change its score.

    Reference: Lin et al., "A structured self-attentive sentence embedding", ICLR 2017.
    """

    def __init__(self, words: Tensor, dim: int, looks: int = 4) -> None:
        """Keep the (n_words, word_dim) vectors; place 0 is put before them for "no word"."""
        super().__init__()
        table = torch.cat([torch.zeros(1, words.shape[1]), (words - words.mean(dim=0)) / words.std()])
        self.register_buffer("words", table, persistent=False)  # given again with the captions
        self.score = nn.Linear(words.shape[1], looks, bias=False)
        self.layers = nn.Linear(looks * words.shape[1], dim, bias=False)
        nn.init.zeros_(self.score.weight)  # starts as the mean

    def forward(self, numbers: Tensor) -> Tensor:
        """(n, longest) numbers of words, -1 behind the last, to (n, dim) embeddings of length 1."""
        return self.project(self.prepared(numbers))

    def prepared(self, numbers: Tensor) -> Tensor:
        """(n, longest) places in the table; no step of training changes them."""
        return numbers + 1

    def project(self, places: Tensor) -> Tensor:
        """(n, longest) places in the table to (n, dim) embeddings; a caption without words gives zeros."""
        vectors = self.words[places]  # (n, longest, word_dim)
        scores = self.score(vectors).masked_fill(places[:, :, None] == 0, -1e4)
        weighted = scores.softmax(dim=1).transpose(1, 2) @ vectors  # (n, looks, word_dim)
        return functional.normalize(self.layers(weighted.flatten(1)))


HEADS = {
    "linear": linear,
    "hidden": hidden,
    "deck_a": deck_a,
    "deck_b": deck_b,
    "branch": branch,
    "branch_linear": branch_linear,
}


def by_name(name: str, features: Tensor, dim: int, words: Tensor | None = None) -> nn.Module:
    """An untrained head.

    Args:
        name: One of `HEADS`, or "attention".
        features: (n, in_dim) that the head is made for; (n, longest) numbers of words for "attention".
        dim: Length of an embedding.
        words: (n_words, word_dim) that the numbers stand for; None if the features are vectors.

    Raises:
        ValueError: If there is no such head, or it does not fit the features.
    """
    if name not in (*HEADS, "attention"):
        raise ValueError(f"expected a head out of {', '.join(HEADS)}, attention; got {name!r}")
    if (name == "attention") != (words is not None):
        needs, has = ("words", "vectors") if name == "attention" else ("vectors", "numbers of words")
        raise ValueError(f"the head {name} takes captions as {needs}; these are {has}")
    return Attention(words, dim) if name == "attention" else HEADS[name](features, dim)


def principal_axes(features: Tensor, dim: int) -> Head:
    """Rotate to the directions in which features differ most, and keep the first: PCA, frozen.

    A head standardises what it is given, which makes rare directions as loud as frequent ones; with few
    images they are noise. Leaving them out before is the strongest regulariser of a linear head, and makes it
    faster. `dim` is the number of axes, fewer where (n, in_dim) features span fewer.
    """
    n, in_dim = features.shape
    dim = min(dim, n - 1, in_dim)
    head = Head(features, nn.Linear(in_dim, dim, bias=False), normalise=False, standardise=False)
    head.mean.copy_(features.mean(dim=0))
    pca = PCA(dim, svd_solver="randomized", iterated_power=2, random_state=0).fit(features.numpy())
    head.layers.weight.data = torch.from_numpy(pca.components_).to(features.dtype).contiguous()
    return head.requires_grad_(False)


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
    standard = head.prepared(features).double()
    variance, left = torch.linalg.eigh(standard @ standard.T / (n - 1))  # ascending; n is small beside in_dim
    left, variance = left[:, -dim:].fliplr(), variance[-dim:].flipud()
    whiten = left.T @ standard / (variance[:, None] * (n - 1) ** 0.5)
    head.layers.weight.data = whiten.to(features.dtype)
    return head.requires_grad_(False)
