"""Losses by which images come near to others that mean the same, and to words: the paper's three, WSABIE's.

Knows embeddings and scores. Must not know which images are alike, or what is trained.
Slides: Gordo and Larlus, CVPR 2017, "Proposed Methods", (1) to (3).
"""

import torch
from torch import Tensor
from torch.nn import functional


def triplet(query: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """½ max(0, m - qᵀd⁺ + qᵀd⁻), averaged over the triplets.

    All three losses of the paper are this one: (1) with images in all three places, (2) with an image that
    asks for texts, (3) with a text that asks for images.

    Args:
        query: (n, dim), of length 1.
        positive: (n, dim), alike in meaning.
        negative: (n, dim), not alike.
        margin: By how much the positive has to be nearer.

    Returns:
        A scalar; 0 with a gradient of 0 where there is no triplet.

    Slides: "Proposed Methods", (1) to (3).
    """
    violated = margin - (query * positive).sum(dim=1) + (query * negative).sum(dim=1)
    return 0.5 * violated.clamp_min(0).sum() / max(len(query), 1)


def joint(
    images: tuple[Tensor, Tensor, Tensor], texts: tuple[Tensor, Tensor, Tensor], margin: float
) -> Tensor:
    """The sum of (1), (2) and (3) on triplets whose images have texts.

    Args:
        images: φ of query, positive and negative, (n, dim) each.
        texts: θ of the same.
        margin: See `triplet`.
    """
    (image, *_), (text, *_) = images, texts
    return (
        triplet(*images, margin)
        + triplet(image, texts[1], texts[2], margin)
        + triplet(text, images[1], images[2], margin)
    )


def rank_weights(n: int) -> Tensor:
    """(n + 1,) what it costs that 0, 1, ... n wrong ones stand before the right one: 1 + 1/2 + ... + 1/rank.

    Example:
        >>> rank_weights(3)
        tensor([0.0000, 1.0000, 1.5000, 1.8333])
    """
    return functional.pad((1 / torch.arange(1, n + 1, dtype=torch.float64)).cumsum(0), (1, 0)).float()


def warp(scores: Tensor, annotation: Tensor, own: Tensor, margin: float) -> Tensor:
    """WSABIE's loss: an annotation that stands low costs as much as the ranks above it.

    With r wrong annotations within the margin of the right one or above it, the loss is
    (1 + 1/2 + … + 1/r) times their mean max(0, m - f⁺ + f⁻). The paper estimates r by drawing wrong
    annotations until one is found; with a few thousand words all of them are looked at.

    Args:
        scores: (n, n_annotations) of every annotation for every image.
        annotation: (n,) int64, a right one of each image.
        own: (n, n_annotations) bool, all right ones, which are never wrong.
        margin: See above.

    Returns:
        A scalar, the mean over the images.

    Reference: Weston, Bengio, Usunier, "WSABIE", IJCAI 2011, equations (4) to (6).
    """
    right = scores.gather(1, annotation[:, None])
    violated = (margin - right + scores).clamp_min(0).masked_fill(own, 0)
    rank = (violated > 0).sum(dim=1)
    cost = rank_weights(scores.shape[1]).to(scores)
    return (cost[rank] * violated.sum(dim=1) / rank.clamp_min(1)).mean()
