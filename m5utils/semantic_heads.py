"""Fit heads until images whose captions are alike lie side by side: visual, joint with text, and WSABIE.

Knows features, rows of weighted words and triplets. Must not know captions, files or metrics.
Slides: Gordo and Larlus, CVPR 2017, "Proposed Methods".
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from m5utils import checkpoints, descent, heads, paths, runtime, semantic_losses, semantic_triplets
from m5utils.descent import descend
from m5utils.semantic_triplets import Described

OBJECTIVES = ("visual", "joint", "wsabie")


# ---- the model ----


class Words(nn.Module):
    """θ(t) = Wᵀt / ‖Wᵀt‖, from sparse rows of weighted words."""

    def __init__(self, n_terms: int, dim: int) -> None:
        """A random W (n_terms, dim)."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_terms, dim) / dim**0.5)

    def forward(self, texts: sparse.csr_array) -> Tensor:
        """(n, n_terms) rows to (n, dim) embeddings of length 1; of zeros for a row of zeros."""
        device = self.weight.device
        columns, starts = (
            torch.from_numpy(one.astype(np.int64)).to(device) for one in (texts.indices, texts.indptr)
        )
        weights = torch.from_numpy(texts.data).to(self.weight)
        total = functional.embedding_bag(
            columns, self.weight, starts, mode="sum", per_sample_weights=weights, include_last_offset=True
        )
        return functional.normalize(total)


class Joint(nn.Module):
    """A head φ for images and a matrix θ for texts that end in one space."""

    def __init__(self, features: Tensor, n_terms: int, dim: int) -> None:
        """An untrained model for (n, in_dim) features and texts of `n_terms` terms."""
        super().__init__()
        self.images, self.words = heads.linear(features, dim), Words(n_terms, dim)

    @torch.no_grad()
    def embed(self, described: Described) -> tuple[Tensor, Tensor]:
        """φ (n, dim) of the images and θ (n, dim) of their texts."""
        return self.images(described.features), self.words(described.texts)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        objective: "visual" for loss (1), "joint" for (1) + (2) + (3), "wsabie" for images and single words.
        dim: Of the space.
        near: Positives are drawn from so many images whose texts are most alike.
        hardest: Negatives per query and step: the hardest of the batch that are less than half as alike.
        margin: Of the loss.
        epochs: Passes over the images.
        batch: Queries per step.
        rate: Learning rate of Adam, which falls to 0 along a cosine.
    """

    objective: str = "visual"
    dim: int = 256
    near: int = 32
    hardest: int = 16
    margin: float = 0.2
    epochs: int = 15
    batch: int = 64
    rate: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"expected an objective out of {', '.join(OBJECTIVES)}; got {self.objective!r}")
        if min(self.dim, self.near, self.hardest, self.epochs, self.batch) < 1:
            raise ValueError(f"expected sizes of at least 1; got {self}")


def fit(train: Described, recipe: Recipe, seed: int = 0) -> tuple[Joint, list[float]]:
    """Train a model; kept in the cache, named by all that decides it.

    Every epoch asks with each image once, in an order drawn anew. Its positive is one of the `near` images
    whose texts are most alike; negatives are found among the queries and positives of the batch.

    Args:
        train: At least 2 images with texts.
        recipe: How.
        seed: Of the first weights, the order and the positives.

    Returns:
        The model, ready to use, and the mean loss of every epoch.

    Raises:
        ValueError: If there are too few images, or none of their words is known.
    """
    if len(train) < 2 or not train.texts.nnz:
        raise ValueError(
            f"expected at least 2 images with known words; got {len(train)} with {train.texts.nnz} words"
        )
    runtime.seed_everything(seed)
    model = Joint(train.features, train.texts.shape[1], recipe.dim)
    decided_by = {
        "train": train.key,
        "recipe": asdict(recipe),
        "seed": seed,
        "code": paths.code_key(sys.modules[__name__], descent, heads, semantic_losses, semantic_triplets),
    }

    def learn(folder: Path) -> None:
        about = {"loss": _fit(model, train, recipe)}
        checkpoints.save(folder / "semantic.safetensors", {"model": model}, about)

    done = checkpoints.trained_once("heads/semantic.safetensors", decided_by, "fitting semantic heads", learn)
    history = checkpoints.load(done, {"model": model})["loss"]
    return model.cpu().eval().requires_grad_(False), history


def _fit(model: Joint, train: Described, recipe: Recipe) -> list[float]:
    """Train a model; the mean loss of every epoch."""
    device = runtime.device()
    model, features = model.to(device), model.images.prepared(train.features).to(device)
    step = (
        _wsabie(model, features, train, recipe)
        if recipe.objective == "wsabie"
        else _triplets(model, features, train, recipe)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.rate, fused=True)
    doing = f"{recipe.objective} heads"
    return descend(optimizer, lambda rows: step(rows.numpy()), len(train), recipe.epochs, recipe.batch, doing)


def _triplets(model: Joint, features: Tensor, train: Described, recipe: Recipe):  # noqa: ANN202
    """From the rows of a batch to the visual or the joint loss of its triplets."""
    near = semantic_triplets.most_alike(train.texts, min(recipe.near, len(train) - 1))

    def step(rows: np.ndarray) -> Tensor:
        positive = near[rows, torch.randint(near.shape[1], (len(rows),)).numpy()]
        others = np.concatenate([rows, positive])
        images = model.images.project(features[torch.from_numpy(others).to(features.device)])
        alike = semantic_triplets.alike_in_batch(train.texts, rows, others)
        place = torch.arange(len(rows))
        right = alike[place, len(rows) + place]
        scores = (images[: len(rows)] @ images.T).detach()
        query, wrong = semantic_triplets.negatives(scores, alike.to(scores), right.to(scores), recipe.hardest)
        places = query, len(rows) + query, wrong
        of_images = _picked(images, places)
        if recipe.objective == "visual":
            return semantic_losses.triplet(*of_images, recipe.margin)
        of_texts = _picked(model.words(train.texts[others]), places)
        return semantic_losses.joint(of_images, of_texts, recipe.margin)

    return step


def _picked(rows: Tensor, places: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The rows at each of these places, for a loss whose gradient is the same each time.

    With `rows[one]` it is not: threads add to the gradient of a row that is picked often as they come.
    """
    return tuple(rows.index_select(0, one) for one in places)


def _wsabie(model: Joint, features: Tensor, train: Described, recipe: Recipe):  # noqa: ANN202
    """From the rows of a batch to WSABIE's loss: one word of each image, drawn by chance, against all."""
    texts, device = train.texts, features.device

    def step(rows: np.ndarray) -> Tensor:
        rows = rows[np.diff(texts.indptr)[rows] > 0]
        starts, counts = texts.indptr[rows], np.diff(texts.indptr)[rows]
        drawn = starts + (torch.rand(len(rows)).numpy() * counts).astype(np.int64)
        own = torch.from_numpy(texts[rows].toarray() > 0).to(device)
        images = model.images.project(features[torch.from_numpy(rows).to(device)])
        words = model.words.weight
        short = words / words.norm(dim=1, keepdim=True).clamp_min(1)  # no longer than 1, as in the paper
        annotation = torch.from_numpy(texts.indices[drawn].astype(np.int64)).to(device)
        return semantic_losses.warp(images @ short.T, annotation, own, recipe.margin)

    return step


# ---- queries of image and text ----


def image_and_text(images: Tensor, texts: Tensor) -> Tensor:
    """The mean of φ and θ, of length 1: what is asked for by a picture and by words.

    Args:
        images: (n, dim) φ.
        texts: (n, dim) θ; where it is zeros, the picture alone asks.
    """
    return functional.normalize(images + texts)
