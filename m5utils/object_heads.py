"""Fit a head until pictures that share objects lie side by side, by one of the slides' three rules.

Knows features and counts of categories. Must not know pictures, galleries or metrics. Slides: P4 (e).
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from m5utils import checkpoints, heads, object_tasks, paths, relevance, runtime
from m5utils.object_tasks import Pictures


def fit(
    train: Pictures,
    rule: str,
    dim: int = 256,
    epochs: int = 15,
    seed: int = 0,
    rate: float = 5e-4,
    batch: int = 256,
) -> tuple[heads.Head, list[float]]:
    """Train a linear head by triplets; kept in the cache, named by all that decides it.

    Anchors, positives and negatives are found in the batch: who answers whom is computed for its pictures
    only, from their counts, by the full labels. AdamW, its rate falling to 0 along a cosine.

    Args:
        train: n pictures with their counts.
        rule: One of `relevance.RULES`.
        dim: Of the embeddings.
        epochs: Passes over the pictures.
        seed: Of the first weights and of the order.
        rate: Learning rate.
        batch: Pictures per step.

    Returns:
        The head, ready to use, and the mean loss of every epoch.

    Raises:
        ValueError: If there is no such rule, or fewer than two pictures.
    """
    if rule not in relevance.RULES or len(train.ids) < 2:
        raise ValueError(
            f"expected at least 2 pictures and a rule out of {', '.join(relevance.RULES)}; "
            f"got {len(train.ids)} and {rule!r}"
        )
    runtime.seed_everything(seed)
    head = heads.linear(train.features, dim)
    decided_by = {
        "features": paths.key_of_array(train.features.numpy()),
        "counts": paths.key_of_array(train.counts),
        "rule": rule,
        "dim": dim,
        "epochs": epochs,
        "seed": seed,
        "rate": rate,
        "batch": batch,
        "code": paths.code_key(sys.modules[__name__], heads, object_tasks, relevance),
    }

    def learn(folder: Path) -> None:
        about = {"loss": _fit(head, train, rule, epochs, rate, batch)}
        checkpoints.save(folder / "head.safetensors", {"head": head}, about)

    done = checkpoints.trained_once("heads/head.safetensors", decided_by, "fitting a head", learn)
    history = checkpoints.load(done, {"head": head})["loss"]
    return head.cpu().eval().requires_grad_(False), history


def _fit(head: heads.Head, train: Pictures, rule: str, epochs: int, rate: float, batch: int) -> list[float]:
    """Train a head; the mean loss of every epoch."""
    device, n = runtime.device(), len(train.ids)
    head = head.to(device)
    features = train.features.to(device)
    n_batches = max(1, round(n / batch))
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * n_batches)
    history = []
    for _ in range(epochs):
        total = torch.zeros((), device=device)
        for rows in torch.randperm(n).tensor_split(n_batches):
            counts = train.counts[rows.numpy()]
            alike = torch.from_numpy(object_tasks.answers(counts, counts, rule)).to(device)
            value = triplet(head(features[rows.to(device)]), alike)  # all prepared at once: twice the memory
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.detach()
        history.append(float(total) / n_batches)
    return history


def triplet(embeddings: Tensor, alike: Tensor, margin: float = 0.2) -> Tensor:
    """max(0, s(anchor, negative) - s(anchor, positive) + margin), averaged over the triplets.

    Every pair that is alike is an anchor with its positive. Its negative is the nearest of those that are
    farther than the positive, or the nearest of all if none is ("semi-hard": the hardest ones of a batch are
    often pictures that only the rule calls different). Relevance need not go both ways.

    Args:
        embeddings: (n, dim) of length 1; s is their inner product.
        alike: (n, n) bool: whether the second answers the first; what it says of a picture and itself does
            not matter.
        margin: How much nearer the positive has to be.

    Returns:
        A scalar, 0 with a gradient of 0 if the batch holds no triplet.

    Reference: Schroff, Kalenichenko, Philbin, CVPR 2015. Slides: P4 (e), "triplet network".
    """
    scores = embeddings @ embeddings.T
    with torch.no_grad():  # which triplets count; given those, the loss is a weighted sum of scores
        itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        positive, negative = alike & ~itself, ~alike & ~itself
        picked = _semi_hard(scores, negative)
        triplets = positive & negative.any(dim=1, keepdim=True)
        violated = (triplets & (scores.gather(1, picked) - scores + margin > 0)).to(scores.dtype)
        n_triplets = triplets.sum().clamp_min(1)
        weights = (-violated).scatter_add_(1, picked, violated) / n_triplets
    return (weights * scores).sum() + margin * violated.sum() / n_triplets


def _semi_hard(scores: Tensor, negative: Tensor) -> Tensor:
    """(n, n): for every anchor and every other picture the negative that is next below it in score.

    Each row is sorted once; the next negative at or behind every place of the order is then a running minimum
    from the end. Where there is none, the anchor's highest negative is taken.
    """
    order = scores.argsort(dim=1, descending=True)
    place = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    is_negative = negative.gather(1, order)
    none = scores.shape[1]
    next_place = place.where(is_negative, none).flip(1).cummin(dim=1).values.flip(1)
    first = next_place[:, :1].clamp_max(none - 1)  # of the highest negative
    picked = order.gather(1, next_place.where(next_place < none, first))
    return torch.empty_like(picked).scatter_(1, order, picked)
