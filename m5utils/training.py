"""Fit: a head on cached features in seconds, or a whole network in minutes, the same numbers each time.

Knows features, images, labels and losses. Must not know a metric, a gallery or a figure.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from m5utils import checkpoints, heads, losses, paths, products, runtime
from m5utils.encoders.image import Views, for_inference, pooled


def fit_head(
    features: Tensor,
    labels: np.ndarray,
    loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
    make: Callable[[Tensor], heads.Head] = heads.linear,
    epochs: int = 15,
    seed: int = 0,
    rate: float = 5e-4,
    batch: int = 128,
) -> tuple[heads.Head, list[float]]:
    """Train a head on features that were computed once; seconds, because no image is touched.

    Every batch holds equally many of each class (`MPerClassSampler`), so that every anchor meets a
    positive. AdamW, its rate falling to 0 along a cosine. Kept in the cache, named by all that decides it,
    unless the loss is your own: no version names its code, so it is fitted each time.

    Args:
        features: (n, in_dim) float32, from a frozen network.
        labels: (n,) class numbers.
        loss: From (batch, dim) embeddings and (batch,) labels to a scalar; its own weights are trained too.
        make: Makes the untrained head from the features.
        epochs: Passes over the features.
        seed: Of the head's first weights and of the batches.
        rate: Learning rate.
        batch: Features per step, at most.

    Returns:
        The head, ready to use, and the mean loss of every epoch.

    Raises:
        ValueError: If the features are not finite, or fewer than two classes are there.
    """
    products.check_finite(features, "features")
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"expected at least two classes to tell apart, got {len(classes)}.")
    runtime.seed_everything(seed)
    head, about_loss = make(features), losses.settings(loss)
    if about_loss is None:
        history = _fit(head, features, labels, loss, epochs, rate, batch)
    else:
        settings = {
            "head": [
                repr(head),
                *(paths.key_of_array(value.numpy()) for value in head.state_dict().values()),
            ],
            "features": paths.key_of_array(features.numpy()),
            "labels": [int(label) for label in labels],
            "loss": about_loss,
            "epochs": epochs,
            "seed": seed,
            "rate": rate,
            "batch": batch,
            "code": paths.code_key(sys.modules[__name__], heads, losses),
        }

        def train(folder: Path) -> None:
            about = {"loss": _fit(head, features, labels, loss, epochs, rate, batch)}
            checkpoints.save(folder / "head.safetensors", {"head": head}, about)

        done = checkpoints.trained_once("heads/head.safetensors", settings, "fitting a head", train)
        history = checkpoints.load(done, {"head": head})["loss"]
    return head.cpu().eval().requires_grad_(False), history


def _fit(
    head: heads.Head,
    features: Tensor,
    labels: np.ndarray,
    loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    rate: float,
    batch: int,
) -> list[float]:
    """Train a head; the mean loss of every epoch."""
    device = runtime.device()
    head = head.to(device)
    trained = [*head.parameters(), *(loss.to(device).parameters() if isinstance(loss, nn.Module) else [])]
    standard, targets = head.prepared(features.to(device)), torch.as_tensor(labels, device=device)
    sampler = _balanced(labels, batch)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(sampler))
    history = []
    for _ in range(epochs):
        total = 0.0
        for rows in sampler:
            optimizer.zero_grad()
            value = loss(head.project(standard[rows]), targets[rows])
            value.backward()
            optimizer.step()
            schedule.step()
            total += float(value.detach())
        history.append(total / len(sampler))
    return history


# What the embedding is trained by, and whether a classifier on top of it is trained as well.
TUNING_LOSSES = {
    "classification": (None, losses.classification()),
    "contrastive": (losses.contrastive(0.5, "cosine"), None),
    "triplet": (losses.triplet(0.2, "cosine", "all"), None),
    "supcon": (losses.supervised_contrastive(), losses.classification()),
}


def finetune(
    views: Views,
    labels: np.ndarray,
    loss: str,
    epochs: int,
    seed: int = 0,
    dim: int = 256,
    rate: float = 3e-4,
    batch: int = 64,
) -> Path:
    """Train the upper part of a network on the cached maps of its lower part; minutes on two cores.

    Every epoch takes about as many pictures as there are, each in a view drawn anew. Above the pooled
    features comes a linear layer to the embedding, on which the loss works; "classification" and "supcon"
    also train a classifier on the embedding, which is thrown away afterwards: the last layer removed, as the
    slides say. Batch normalisation keeps ImageNet's statistics and is folded into the convolutions. What is
    kept is the moving average of the weights. After every epoch all that the next one needs is saved: a run
    that was killed goes on from there and ends with the same weights to the last digit.

    Args:
        views: Maps of n pictures in several views, see `embeddings.views`.
        labels: (n,) class numbers.
        loss: One of `TUNING_LOSSES`.
        epochs: Passes over the pictures.
        seed: Of the new layers' first weights, the batches and the views.
        dim: Length of the embedding.
        rate: Highest learning rate of the convolutions; that of the new layers is three times as high.
        batch: Pictures per step, at most.

    Returns:
        The file of what was learned, for `embeddings.features(..., tuned=)`.

    Raises:
        ValueError: If there is no such loss, or the loss stops being finite.
    """
    if loss not in TUNING_LOSSES:
        raise ValueError(f"expected a loss out of {', '.join(TUNING_LOSSES)}; got {loss!r}")
    settings = {
        "views": views.key,
        "labels": [int(label) for label in labels],
        "loss": loss,
        "epochs": epochs,
        "seed": seed,
        "dim": dim,
        "rate": rate,
        "batch": batch,
        "code": paths.code_key(sys.modules[__name__], losses),
    }

    def train(folder: Path) -> None:
        runtime.seed_everything(seed)
        network = _network(views, dim, len(np.unique(labels)))
        learned = _trained(network, views, labels, loss, epochs, seed, rate, batch, folder)
        kept = {k: v for k, v in learned.state_dict().items() if not k.startswith("classifier.")}
        with paths.published(folder / "tuned.safetensors") as part:
            safetensors.torch.save_file({k: v.contiguous().cpu() for k, v in kept.items()}, part)
        (folder / "resume.safetensors").unlink(missing_ok=True)

    return checkpoints.trained_once("weights/tuned.safetensors", settings, "fine-tuning", train)


class _Network(nn.Module):
    """The part of a network that is trained."""

    def __init__(self, upper: nn.Module, features: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.upper, self.drop = upper, nn.Dropout(0.2)
        self.embed, self.classifier = nn.Linear(features, dim), nn.Linear(dim, n_classes)

    def forward(self, maps: Tensor) -> Tensor:
        return self.embed(self.drop(pooled(maps, self.upper(maps))))


def _network(views: Views, dim: int, n_classes: int) -> _Network:
    upper = for_inference(views.encoder.upper).requires_grad_(True)
    return _Network(upper, views.encoder.dim, dim, n_classes)


def _trained(
    network: _Network,
    views: Views,
    labels: np.ndarray,
    loss: str,
    epochs: int,
    seed: int,
    rate: float,
    batch: int,
    folder: Path,
) -> nn.Module:
    """The moving average of the network's weights after these epochs, going on from what `folder` has."""
    device = runtime.device()
    network = network.to(device)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=_moving_average)
    new_layers = [*network.embed.parameters(), *network.classifier.parameters()]
    groups = [{"params": network.upper.parameters()}, {"params": new_layers}]
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=1e-2, fused=True)
    targets = torch.as_tensor(labels, device=device)
    resume, modules = folder / "resume.safetensors", {"network": network, "average": average}
    saved = checkpoints.load(resume, modules, optimizer) or {"epochs": 0}
    for epoch in range(saved["epochs"], epochs):
        runtime.seed_everything(seed * 10_000 + epoch)  # nothing to remember of a generator between epochs
        view_of = torch.randint(len(views.maps), (len(labels),)).tolist()
        batches = list(_balanced(labels, batch))
        doing = f"{loss}, seed {seed}, epoch {epoch + 1} of {epochs}"
        for step, rows in enumerate(runtime.progress(batches, len(batches), doing, "steps")):
            for group, factor in zip(optimizer.param_groups, (1, 3), strict=True):
                group["lr"] = factor * rate * _schedule((epoch + step / len(batches)) / epochs)
            maps = views.unflattened(views.values(rows, [view_of[row] for row in rows]).to(device))
            value = _loss(network.train(), maps, targets[rows], loss)
            if not value.isfinite():
                raise ValueError(f"{doing}: the loss is {value.item()}; lower the rate ({rate}).")
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            average.update_parameters(network)
        checkpoints.save(resume, modules, {"epochs": epoch + 1}, optimizer)
    return average.module


def _loss(network: _Network, maps: Tensor, labels: Tensor, loss: str) -> Tensor:
    of_embedding, of_classifier = TUNING_LOSSES[loss]
    embedding = network(maps)
    terms = [of_embedding(embedding, labels)] if of_embedding else []
    terms += [of_classifier(network.classifier(embedding), labels)] if of_classifier else []
    return torch.stack(terms).sum()


@torch.no_grad()
def _moving_average(averages: list[Tensor], values: list[Tensor], n_averaged: Tensor) -> None:
    """An average over the last hundred steps, of fewer at the start."""
    decay = min(0.99, float(n_averaged / (n_averaged + 10)))
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, 1 - decay)


def _schedule(progress: float) -> float:
    """A tenth of the way up to the full rate, then down to 0 along a cosine."""
    return min(progress / 0.1 + 0.01, 1.0) * 0.5 * (1 + math.cos(math.pi * progress))


def _balanced(labels: np.ndarray, batch: int) -> BatchSampler:
    """Batches of row numbers with equally many rows of each class, about len(labels) rows in all."""
    n_classes = len(np.unique(labels))
    per_class = max(2, batch // n_classes)
    one_batch = per_class * n_classes
    rows = MPerClassSampler(labels, per_class, length_before_new_iter=max(len(labels), one_batch))
    return BatchSampler(rows, one_batch, drop_last=True)
