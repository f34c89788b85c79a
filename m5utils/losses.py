"""What training pulls together and pushes apart: losses and miners for labelled images.

Knows embeddings and labels. Must not know where they come from. Losses, distances and miners are
pytorch-metric-learning's; the quadruplet loss, which it does not have, is ours.
Slides: P4, "Training strategies for image retrieval" and "Interesting features to analyze", 1.
"""

import importlib.metadata
from collections.abc import Callable

import torch
from pytorch_metric_learning import distances, miners
from pytorch_metric_learning import losses as pml
from torch import Tensor, nn
from torch.nn import functional

DISTANCES = ("cosine", "euclidean", "mahalanobis")
MINERS = ("all", "semihard", "hard", "hardest", "random")


def distance(name: str) -> distances.BaseDistance:
    """A distance (or similarity) between embeddings, by the name the slides use.

    "cosine" and "euclidean" compare unit vectors: they order a gallery alike and differ in the gradient.
    "mahalanobis" is the Euclidean distance between *unnormalised* outputs of a linear head L:
    |L(x - y)|² = (x - y)ᵀ LᵀL (x - y), so learning L is learning the matrix.

    Raises:
        ValueError: If there is no such distance.
    """
    if name == "cosine":
        return distances.CosineSimilarity()
    if name not in DISTANCES:
        raise ValueError(f"expected a distance out of {', '.join(DISTANCES)}; got {name!r}")
    return distances.LpDistance(p=2, normalize_embeddings=name == "euclidean")


def contrastive(margin: float = 0.5, measured_by: str = "euclidean") -> nn.Module:
    """The siamese loss: d for a pair of one class, max(0, margin - d) for a pair of two.

    With "cosine" a pair of one class wants similarity 1, one of two at most 1 - margin. The hinges are
    linear, as in pytorch-metric-learning; the paper squares them.

    Reference: Hadsell, Chopra, LeCun, CVPR 2006. Slides: P4 (b).
    """
    between = distance(measured_by)
    wanted = (1.0, 1.0 - margin) if between.is_inverted else (0.0, margin)
    return pml.ContrastiveLoss(*wanted, distance=between)


def triplet(margin: float = 0.2, measured_by: str = "euclidean", mined_by: str = "semihard") -> nn.Module:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), averaged over the triplets not yet at 0.

    `mined_by` chooses the triplets of the batch, see `miner`; "random" draws one positive and one
    negative for every anchor.

    Reference: Schroff, Kalenichenko, Philbin, CVPR 2015. Slides: P4 (c).
    """
    between = distance(measured_by)
    if mined_by == "random":
        return pml.TripletMarginLoss(margin, distance=between, triplets_per_anchor=1)
    return Mined(pml.TripletMarginLoss(margin, distance=between), miner(mined_by, margin, measured_by))


def miner(name: str, margin: float, measured_by: str) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """Which triplets of a batch to learn from: a function of (embeddings, labels) to three index tensors.

    | name | triplets (d₊ to the positive, d₋ to the negative) |
    |---|---|
    | all | every one with d₋ - d₊ < margin |
    | semihard | those of them with d₋ > d₊ |
    | hard | those of them with d₋ ≤ d₊ |
    | hardest | per anchor, the farthest positive and the nearest negative (Hermans 2017) |

    Raises:
        ValueError: If there is no such miner; "random" is no miner but a setting of `triplet`.
    """
    if name == "hardest":
        return miners.BatchHardMiner(distance=distance(measured_by))
    if name not in MINERS or name == "random":
        raise ValueError(f"expected a miner out of all, semihard, hard, hardest; got {name!r}")
    return miners.TripletMarginMiner(margin, type_of_triplets=name, distance=distance(measured_by))


class Mined(nn.Module):
    """A loss on what a miner finds in the batch."""

    def __init__(self, loss: nn.Module, mine: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
        """Keep the loss and its miner."""
        super().__init__()
        self.loss, self.mine = loss, mine

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The loss of (n, dim) embeddings with (n,) labels; 0, with a gradient of 0, if nothing is found."""
        return self.loss(embeddings, labels, self.mine(embeddings, labels))


def quadruplet(
    embeddings: Tensor, labels: Tensor, margin: float = 0.5, second_margin: float = 0.25
) -> Tensor:
    """The triplet term plus one that also pushes negatives of two other classes away from each other.

    mean max(0, d²(a,p) - d²(a,n) + margin) + mean max(0, d²(a,p) - d²(n,m) + second_margin), over the terms
    that are not 0, with m a member of a class that is neither the anchor's nor n's. All triplets of the
    batch are used; each n has one m, the member of its batch that lies nearest (the hardest one).

    Args:
        embeddings: (n, dim), normalised here.
        labels: (n,) class numbers.
        margin: Of the triplet term, in squared distance.
        second_margin: Of the second term; smaller, as in the paper.

    Returns:
        A scalar, 0 with a gradient of 0 if the batch holds no triplet; batches of fewer than three classes
        have the first term only.

    Reference: Chen, Chen, Zhang, Huang, CVPR 2017. Slides: P4, "Quadruplet Networks".
    """
    unit = functional.normalize(embeddings)
    squared = (2 - 2 * unit @ unit.T).clamp_min(0)  # (n, n)
    differ = labels[:, None] != labels[None, :]
    anchor, positive = (~differ).fill_diagonal_(False).nonzero(as_tuple=True)  # (pair,)
    apart, is_negative = squared[anchor, positive][:, None], differ[anchor]  # (pair, 1), (pair, n)
    first = functional.relu(apart - squared[anchor] + margin) * is_negative
    # m depends on n and on the anchor's class only: (class, n, candidate), not (pair, n, candidate)
    classes, of_anchor = labels.unique(return_inverse=True)
    not_of_class = labels[None, :] != classes[:, None]  # (class, candidate)
    third = not_of_class[:, None, :] & differ
    nearest, other = torch.where(third, squared.detach(), torch.inf).min(dim=2)  # (class, n)
    to_third = squared.gather(1, other.T).T[of_anchor[anchor]]  # (pair, n)
    there = is_negative & nearest.isfinite()[of_anchor[anchor]]
    second = functional.relu(apart - to_third + second_margin) * there
    return _mean_of_nonzero(first) + _mean_of_nonzero(second)


def _mean_of_nonzero(terms: Tensor) -> Tensor:
    return terms.sum() / (terms > 0).sum().clamp_min(1)


def multi_similarity() -> nn.Module:
    """The multi-similarity loss with its miner: pairs weighted by how hard they are among their like.

    Reference: Wang et al., CVPR 2019.
    """
    return Mined(
        pml.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1)
    )


def supervised_contrastive(temperature: float = 0.1) -> nn.Module:
    """Cross-entropy of picking the batch's positives of an anchor out of everybody else.

    Reference: Khosla et al., NeurIPS 2020 ("SupCon").
    """
    return pml.SupConLoss(temperature)


def classification(smoothing: float = 0.1) -> nn.Module:
    """Cross-entropy of (n, n_classes) class scores with (n,) labels, a little of it shared by all classes.

    Slides: P4, "Training strategies for image retrieval: Classification".
    """
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


def settings(loss: nn.Module | Callable[[Tensor, Tensor], Tensor]) -> list[object] | None:
    """What decides what a loss does, beside the code of this module, as JSON.

    None for a loss that learns weights of its own, and where a part comes from elsewhere than this package
    and the libraries: from a notebook, say, where the same name may mean something else tomorrow.
    """
    parts = list(loss.modules()) if isinstance(loss, nn.Module) else [loss]
    kinds = [type(part) if isinstance(part, nn.Module) else part for part in parts]
    public = [{name: own for name, own in vars(part).items() if not name.startswith("_")} for part in parts]
    code = [*kinds, *(own for names in public for own in names.values() if callable(own))]
    owners = {getattr(one, "__module__", "unknown").partition(".")[0] for one in code}
    learned = [own for part in parts if isinstance(part, nn.Module) for own in part.state_dict()]
    if learned or not owners <= {"m5utils", "pytorch_metric_learning", "torch"}:
        return None
    said = [importlib.metadata.version("pytorch-metric-learning")]
    for kind, names in zip(kinds, public, strict=True):
        numbers = {name: own for name, own in names.items() if not (callable(own) or name in _OF_ITS_USE)}
        said.append([kind.__qualname__, numbers])
    return said


# What a module remembers of the last batch it saw, and whether it is in training.
_OF_ITS_USE = ("training", "num_triplets", "num_pos_pairs", "num_neg_pairs")
