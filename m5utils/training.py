"""Fit: a head on cached features in seconds, or a whole network in minutes, the same numbers each time.

Knows features, images, labels and losses. Must not know a metric, a gallery or a figure.
"""

import copy
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.utils.data import BatchSampler

from m5utils import heads, losses, paths, runtime
from m5utils.encoders.image import Views, pooled


def fit_head(
    features: Tensor,
    labels: np.ndarray,
    loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
    make: Callable[[Tensor], heads.Head] = heads.linear,
    epochs: int = 15,
    seed: int = 0,
    rate: float = 1e-3,
    batch: int = 256,
) -> tuple[heads.Head, list[float]]:
    """Train a head on features that were computed once; seconds, because no image is touched.

    Every batch holds equally many of each class (`MPerClassSampler`), so that every anchor meets a
    positive. AdamW, its rate falling to 0 along a cosine.

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
    if not features.isfinite().all():
        row = int((~features.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(
            f"features must be finite; row {row} is not. Encode that image again or leave it out."
        )
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(f"expected at least two classes to tell apart, got {len(classes)}.")
    runtime.seed_everything(seed)
    device = runtime.device()
    head = make(features).to(device)
    trained = [*head.parameters(), *(loss.to(device).parameters() if isinstance(loss, nn.Module) else [])]
    features, targets = features.to(device), torch.as_tensor(labels, device=device)
    sampler = _balanced(labels, batch)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(sampler))
    history = []
    for _ in range(epochs):
        total = 0.0
        for rows in sampler:
            optimizer.zero_grad()
            value = loss(head(features[rows]), targets[rows])
            value.backward()
            optimizer.step()
            schedule.step()
            total += float(value.detach())
        history.append(total / len(sampler))
    return head.cpu().eval().requires_grad_(False), history


TUNING_LOSSES = {
    "classification": losses.classification(),
    "contrastive": losses.contrastive(0.5, "cosine"),
    "triplet": losses.triplet(0.2, "cosine", "all"),
    "supcon": losses.supervised_contrastive(),
}


def finetune(
    views: Views,
    labels: np.ndarray,
    loss: str,
    epochs: int,
    seed: int = 0,
    rate: float = 3e-4,
    batch: int = 64,
) -> Path:
    """Train the upper part of a network on the cached maps of its lower part; minutes on two cores.

    Every epoch takes each picture once, in a view drawn anew. The loss is applied behind a linear layer that
    is thrown away afterwards (for "classification" that layer is the classifier): what is kept are the weights
    below it. Batch normalisation keeps ImageNet's statistics. After every epoch all that the next one needs
    is saved; a run that was killed goes on from there and ends with the same weights to the last digit.

    Args:
        views: Maps of n pictures in several views, see `embeddings.views`.
        labels: (n,) class numbers.
        loss: One of `TUNING_LOSSES`.
        epochs: Passes over the pictures.
        seed: Of the layer's first weights, the batches and the views.
        rate: Highest learning rate.
        batch: Pictures per step, at most.

    Returns:
        The file of the trained upper part, for `embeddings.features(..., tuned=)`.

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
        "rate": rate,
        "batch": batch,
        "torch": torch.__version__,
        "code": paths.code_key(sys.modules[__name__], losses),
    }
    folder = paths.cache() / "weights" / paths.key_of(settings)
    tuned = folder / "upper.safetensors"
    if not tuned.is_file():
        with paths.lock(folder / ".lock", f"fine-tuning into {folder.name}"):
            if not tuned.is_file():
                _train(views, labels, loss, epochs, seed, rate, batch, folder)
    return tuned


def _train(
    views: Views, labels: np.ndarray, loss: str, epochs: int, seed: int, rate: float, batch: int, folder: Path
) -> None:
    runtime.seed_everything(seed)
    device = runtime.device()
    upper = copy.deepcopy(views.encoder.upper).requires_grad_(True).eval()
    n_classes = len(np.unique(labels))
    top = nn.Linear(views.encoder.dim, n_classes if loss == "classification" else 256)
    network = nn.ModuleDict({"upper": upper, "top": top}).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=5e-2)
    measure = TUNING_LOSSES[loss]
    targets = torch.as_tensor(labels, device=device)
    steps = epochs * len(_balanced(labels, batch))
    done = _resume(folder, network, optimizer)
    for epoch in range(done, epochs):
        runtime.seed_everything(seed * 10_000 + epoch)  # nothing to remember of a generator between epochs
        view_of = torch.randint(len(views.maps), (len(labels),))
        batches = list(_balanced(labels, batch))
        for step, rows in enumerate(
            runtime.progress(batches, len(batches), f"{loss}, epoch {epoch + 1}/{epochs}")
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * _schedule((epoch * len(batches) + step) / steps)
            maps = torch.stack([views.maps[view_of[row]][row] for row in rows]).to(device)
            features = pooled(upper(views.unflattened(maps)))
            value = measure(network["top"](features), targets[rows])
            if not value.isfinite():
                raise ValueError(
                    f"{loss}: the loss is {float(value)} in epoch {epoch + 1}; lower the rate ({rate})."
                )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        _save(folder / "resume.safetensors", network, optimizer, epoch + 1)
    with paths.published(folder / "upper.safetensors") as part:
        safetensors.torch.save_file({k: v.contiguous().cpu() for k, v in upper.state_dict().items()}, part)
    (folder / "resume.safetensors").unlink(missing_ok=True)


def _schedule(progress: float) -> float:
    """A tenth of the way up to the full rate, then down to 0 along a cosine."""
    return min(progress / 0.1 + 0.01, 1.0) * 0.5 * (1 + math.cos(math.pi * progress))


def _save(file: Path, network: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    """Everything the next epoch needs, in one file without code in it."""
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{number}.{key}": value for key, value in values.items()}
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with paths.published(file) as part:
        safetensors.torch.save_file(state, part, metadata={"epochs": str(epochs)})


def _resume(folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load what `_save` wrote, and return how many epochs it had seen; 0 if there is nothing."""
    file = folder / "resume.safetensors"
    if not file.is_file():
        return 0
    with safetensors.safe_open(file, framework="pt") as stored:
        state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - it is no dict
        epochs = int(stored.metadata()["epochs"])
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    )
    of_optimizer = optimizer.state_dict()
    for key, value in state.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".")
            of_optimizer["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(of_optimizer)
    return epochs


def _balanced(labels: np.ndarray, batch: int) -> BatchSampler:
    """Batches of row numbers with equally many rows of each class, about len(labels) rows in all."""
    n_classes = len(np.unique(labels))
    per_class = max(2, batch // n_classes)
    one_batch = per_class * n_classes
    rows = MPerClassSampler(labels, per_class, length_before_new_iter=max(len(labels), one_batch))
    return BatchSampler(rows, one_batch, drop_last=True)
