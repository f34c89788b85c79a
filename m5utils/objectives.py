"""What training pulls together and pushes apart when the labels are pairs: an image and what describes it.

Knows embeddings of a batch of pairs, and which of them show the same image. Must not know how they were
made. Every objective is a function of the batch's scores, images × captions, whose diagonal holds the
right pairs. Captions of one image are never each other's negatives: their places are masked.
Slides: P5 (a), (b); deck of group 7, "Training instances".
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = ("both", "image_to_text", "text_to_image")
Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From (n, dim) images, (n, dim) captions and (n,) image numbers to a scalar loss."""


def scores(images: Tensor, captions: Tensor, measured_by: str = "cosine") -> Tensor:
    """(n, n) scores of a batch's images (rows) and captions: cosine, or minus the Euclidean distance.

    Raises:
        ValueError: If there is no such measure.
    """
    if measured_by == "cosine":
        return functional.normalize(images) @ functional.normalize(captions).T
    if measured_by == "euclidean":
        return -torch.cdist(images, captions)
    raise ValueError(f"expected cosine or euclidean; got {measured_by!r}")


def negatives(image_of: Tensor) -> Tensor:
    """(n, n) bool: whether the caption of a column does not describe the image of a row.

    Args:
        image_of: (n,) the number of each pair's image.
    """
    return image_of[:, None] != image_of[None, :]


def rolled(margin: float = 0.5, measured_by: str = "cosine", direction: str = "image_to_text") -> Objective:
    """One negative for every pair, the next pair's: what group 7's deck trains with, by Euclidean distance.

    mean max(0, s(anchor, negative) - s(anchor, positive) + margin). The anchor is the image, or the caption,
    or each in turn. A pair whose neighbour in the batch shows the same image has no negative and counts 0.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor) -> Tensor:
        similar = scores(images, captions, measured_by)
        this = torch.arange(len(similar), device=similar.device)
        following = this.roll(-1)
        wrong = {"image_to_text": similar[this, following], "text_to_image": similar[following, this]}
        differ = image_of != image_of[following]
        terms = [
            functional.relu(wrong[each] - similar.diagonal() + margin) * differ for each in _each(direction)
        ]
        return torch.stack(terms).mean()

    return loss


def sum_of_hinges(margin: float = 0.2, measured_by: str = "cosine", direction: str = "both") -> Objective:
    """Every negative of the batch: Σ max(0, s(anchor, negative) - s(anchor, positive) + margin), per anchor.

    Reference: Kiros, Salakhutdinov, Zemel, 2014.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor) -> Tensor:
        hinges = _hinges(images, captions, image_of, margin, measured_by, direction)
        return torch.stack([terms.sum(dim=1).mean() for terms in hinges]).sum()

    return loss


def hardest_negative(margin: float = 0.2, measured_by: str = "cosine", direction: str = "both") -> Objective:
    """Of the batch's negatives only the one that violates the margin most.

    Reference: Faghri, Fleet, Kiros, Fidler, "VSE++", BMVC 2018.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor) -> Tensor:
        hinges = _hinges(images, captions, image_of, margin, measured_by, direction)
        return torch.stack([terms.amax(dim=1).mean() for terms in hinges]).sum()

    return loss


class InfoNCE(nn.Module):
    """Cross-entropy of picking the right caption out of the batch's, and the right image; the mean of both.

    The temperature that divides the scores is learned, between 1/100 and 1.

    References: van den Oord, Li, Vinyals, 2018; Radford et al., "CLIP", ICML 2021.
    """

    def __init__(self, temperature: float = 0.07, direction: str = "both") -> None:
        """Start with this temperature."""
        super().__init__()
        self.direction = _known(direction)
        self.log_scale = nn.Parameter(torch.tensor(1 / temperature).log())

    def forward(self, images: Tensor, captions: Tensor, image_of: Tensor) -> Tensor:
        """The loss of a batch; see `Objective`."""
        logits = scores(images, captions) * self.log_scale.exp().clamp(1, 100)
        others = ~negatives(image_of)
        others.fill_diagonal_(False)  # the same image's captions: neither right nor wrong
        logits = logits.masked_fill(others, -torch.inf)
        right = torch.arange(len(logits), device=logits.device)
        by_anchor = {"image_to_text": logits, "text_to_image": logits.T}
        return torch.stack(
            [functional.cross_entropy(by_anchor[each], right) for each in _each(self.direction)]
        ).mean()


class Sigmoid(nn.Module):
    """Every pair of the batch is a yes or a no of its own: -log sigmoid(±(t s + b)), summed per anchor.

    It has no direction: a pair is one question, whoever asks. Scale and bias are learned.

    Reference: Zhai, Mustafa, Kolesnikov, Beyer, "Sigmoid loss for language image pre-training", ICCV 2023.
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0) -> None:
        """Start with the paper's scale and bias."""
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(scale).log())
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, images: Tensor, captions: Tensor, image_of: Tensor) -> Tensor:
        """The loss of a batch; see `Objective`."""
        logits = scores(images, captions) * self.log_scale.exp() + self.bias
        wrong = negatives(image_of)
        terms = functional.softplus(torch.where(wrong, logits, -logits))
        counted = wrong | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        return (terms * counted).sum() / len(logits)


OBJECTIVES = {
    "rolled": rolled,
    "sum_of_hinges": sum_of_hinges,
    "hardest_negative": hardest_negative,
    "info_nce": InfoNCE,
    "sigmoid": Sigmoid,
}


def by_name(name: str, **settings: float | str) -> Objective:
    """An objective with its settings.

    Raises:
        ValueError: If there is no such objective, or it has no such setting.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"expected an objective out of {', '.join(OBJECTIVES)}; got {name!r}")
    try:
        return OBJECTIVES[name](**settings)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _hinges(
    images: Tensor, captions: Tensor, image_of: Tensor, margin: float, measured_by: str, direction: str
) -> list[Tensor]:
    """Per direction (n, n): by how much each negative violates each anchor's margin; 0 where it is none."""
    similar = scores(images, captions, measured_by)
    required = margin - similar.diagonal()[:, None]
    wrong = similar.masked_fill(~negatives(image_of), -torch.inf)
    by_anchor = {"image_to_text": wrong, "text_to_image": wrong.T}
    return [functional.relu(by_anchor[each] + required) for each in _each(direction)]


def _each(direction: str) -> tuple[str, ...]:
    return DIRECTIONS[1:] if _known(direction) == "both" else (direction,)


def _known(direction: str) -> str:
    if direction not in DIRECTIONS:
        raise ValueError(f"expected a direction out of {', '.join(DIRECTIONS)}; got {direction!r}")
    return direction
