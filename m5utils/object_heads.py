"""Fit a head until pictures that share objects lie side by side, by one of the slides' three rules.

Knows features and counts of categories. Must not know pictures, galleries or metrics. Slides: P4 (e).
"""

import sys
from pathlib import Path

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from m5utils import checkpoints, descent, heads, object_tasks, paths, products, relevance, runtime
from m5utils.descent import descend, gathered
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
        ValueError: If there is no such rule, fewer than two pictures, or the loss stops being finite.
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
        "code": paths.code_key(sys.modules[__name__], descent, heads, object_tasks, products, relevance),
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
    features = gathered(train.features.to(device))
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-2, fused=True)

    def loss(rows: Tensor) -> Tensor:
        counts = train.counts[rows.numpy()]
        alike = torch.from_numpy(object_tasks.answers(counts, counts, rule))
        standard = head.prepared(features(rows.to(device)))  # all at once would take twice the memory
        projected = products.Multiplied.apply(standard, head.layers.weight)
        return triplet(functional.normalize(projected), alike)

    return descend(optimizer, loss, n, epochs, batch, f"triplets by {rule}")


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
    seen = scores.detach().cpu().numpy()
    counted = np.zeros_like(seen)
    n_triplets, n_violated = _count(seen, alike.cpu().numpy(), seen.dtype.type(margin), counted)
    weights = torch.from_numpy(counted / max(1, n_triplets)).to(scores)
    return (weights * scores).sum() + margin * n_violated / max(1, n_triplets)


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _count(scores, alike, margin, counted):  # noqa: ANN001, ANN202
    """Which triplets count: given those, the loss is a weighted sum of scores.

    Args:
        scores: (n, n).
        alike: (n, n) bool.
        margin: Of the scores' type.
        counted: (n, n) zeros; every violated triplet takes 1 from its positive and adds 1 to its negative.

    Returns:
        How many triplets there are, and how many are violated.
    """
    n, n_triplets, n_violated = len(scores), 0, 0
    others, their = np.empty(n, dtype=np.int64), np.empty_like(scores[0])
    lowest = their.dtype.type(-np.inf)
    for anchor in range(n):
        n_others = 0
        for each in range(n):
            if not alike[anchor, each] and each != anchor:
                others[n_others], their[n_others] = each, scores[anchor, each]
                n_others += 1
        for positive in range(n):
            if n_others == 0 or not alike[anchor, positive] or positive == anchor:
                continue
            own, farther, highest = scores[anchor, positive], lowest, lowest
            for each in range(n_others):  # without a way out: several are compared at once
                highest = max(highest, their[each])
                farther = max(farther, their[each] if their[each] <= own else lowest)
            nearest = farther if farther > lowest else highest
            n_triplets += 1
            if nearest - own + margin > 0:
                n_violated += 1
                negative = 0
                while their[negative] != nearest and negative + 1 < n_others:
                    negative += 1
                counted[anchor, positive] -= 1
                counted[anchor, others[negative]] += 1
    return n_triplets, n_violated
