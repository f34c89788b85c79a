"""What training pulls together and pushes apart when the labels are pairs: an image and what describes it.

Knows embeddings of a batch of pairs, and which of them show the same image or say the same. Must not know
how they were made. An objective is a function of the batch's scores, images × captions, whose diagonal holds
the right pairs; `structure_preserving` looks at those among images and among captions too. Captions of one
image are never each other's negatives: their places are masked.
Slides: P5 (a), (b); deck of group 7, "Training instances"; Wang, Li, Lazebnik, 18 to 23.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

DIRECTIONS = ("both", "image_to_text", "text_to_image")
Objective = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""From (n, dim) images, (n, dim) captions, (n,) image and (n,) sentence numbers to a scalar loss."""


def scores(images: Tensor, captions: Tensor, measured_by: str = "cosine") -> Tensor:
    """(n, n) scores of a batch's images (rows) and captions: cosine, or minus the Euclidean distance.

    Raises:
        ValueError: If there is no such measure.
    """
    if measured_by == "cosine":
        return _unit(images) @ _unit(captions).T
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

    def loss(images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
        of_next = {
            "image_to_text": (images, captions.roll(-1, 0)),
            "text_to_image": (images.roll(-1, 0), captions),
        }
        right, differ = _own_scores(images, captions, measured_by), image_of != image_of.roll(-1)
        terms = [
            functional.relu(_own_scores(*of_next[each], measured_by) - right + margin) * differ
            for each in _each(direction)
        ]
        return torch.stack(terms).mean()

    return loss


def sum_of_hinges(margin: float = 0.2, measured_by: str = "cosine", direction: str = "both") -> Objective:
    """Every negative of the batch: Σ max(0, s(anchor, negative) - s(anchor, positive) + margin), per anchor.

    Reference: Kiros, Salakhutdinov, Zemel, 2014.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
        hinges = _hinges(images, captions, image_of, margin, measured_by, direction)
        return torch.stack([terms.sum() for terms, _ in hinges]).sum() / len(images)

    return loss


def hardest_negative(margin: float = 0.2, measured_by: str = "cosine", direction: str = "both") -> Objective:
    """Of the batch's negatives only the one that violates the margin most.

    Reference: Faghri, Fleet, Kiros, Fidler, "VSE++", BMVC 2018.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
        hinges = _hinges(images, captions, image_of, margin, measured_by, direction)
        return torch.stack([terms.amax(dim=along).mean() for terms, along in hinges]).sum()

    return loss


def structure_preserving(
    margin: float = 0.1,
    text_to_image: float = 1.0,
    images: float = 0.0,
    texts: float = 0.1,
    hardest: int = 10,
) -> Objective:
    """Hinges over triplets across images and sentences, and within each so that neighbours stay together.

    Σ max(0, margin + d(anchor, match) - d(anchor, other)) over the batch's triplets, where d is the Euclidean
    distance between embeddings of length 1. Of each anchor and match only the `hardest` others count that
    violate it most. There are four such sums, each with a weight:

    * 1: an image, a sentence that describes it, one that does not;
    * `text_to_image`: a sentence, an image that it describes, one that it does not;
    * `images`: an image, another that shares a sentence with it, one that shares none;
    * `texts`: a sentence, another of the same image, one that shares no image with it.

    An image or a sentence that is in the batch several times counts once, as it stands there first, and is no
    neighbour of itself. What describes what is what the batch's pairs say: `Recipe.captions_per_image` keeps
    those of an image together. A sum without triplets is 0. The total is divided by the batch's pairs, which
    leaves the weights as they are and makes the loss comparable between batches.

    The defaults are the slides' "bi-directional, structure"; `text_to_image=0` is one-directional. No two
    images of their data share a caption, so the weight of `images` is 0 in all of their rows.

    Raises:
        ValueError: If a weight is below 0, or `hardest` below 1.

    Reference: Wang, Li, Lazebnik, "Learning deep structure-preserving image-text embeddings", CVPR 2016.
    """
    if min(text_to_image, images, texts) < 0 or hardest < 1:
        raise ValueError(
            "expected text_to_image, images, texts >= 0 and hardest >= 1; "
            f"got {text_to_image}, {images}, {texts} and {hardest}"
        )
    among_images, among_texts = images, texts

    def loss(images: Tensor, captions: Tensor, image_of: Tensor, sentence_of: Tensor) -> Tensor:
        (first_images, image), (first_texts, text) = _distinct(image_of), _distinct(sentence_of)
        x, y = _unit(images[first_images]), _unit(captions[first_texts])
        describes = torch.zeros(len(x), len(y), dtype=torch.bool, device=x.device)
        describes[image, text] = True
        across = torch.cdist(x, y)
        total = _violations(across, describes, ~describes, margin, hardest)
        if text_to_image:
            total = total + text_to_image * _violations(across.T, describes.T, ~describes.T, margin, hardest)
        for weight, rows, of_rows in ((among_images, x, describes), (among_texts, y, describes.T)):
            if weight:
                within = torch.cdist(rows, rows)
                total = total + weight * _violations(within, *_neighbours(of_rows), margin, hardest)
        return total / len(images)

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

    def forward(self, images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
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

    def forward(self, images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
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
    "structure_preserving": structure_preserving,
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


def _own_scores(images: Tensor, captions: Tensor, measured_by: str) -> Tensor:
    """(n,) scores of each image and the caption in its row: the diagonal of `scores`."""
    if measured_by == "cosine":
        return (_unit(images) * _unit(captions)).sum(dim=1)
    if measured_by == "euclidean":
        return -torch.linalg.vector_norm(images - captions, dim=1)
    raise ValueError(f"expected cosine or euclidean; got {measured_by!r}")


def _hinges(
    images: Tensor, captions: Tensor, image_of: Tensor, margin: float, measured_by: str, direction: str
) -> list[tuple[Tensor, int]]:
    """Per direction (n, n) images × captions, and the dimension along which an anchor's negatives lie.

    By how much each negative violates its anchor's margin; 0 where it is none.
    """
    similar = scores(images, captions, measured_by)
    required = margin - similar.diagonal()
    wrong = torch.where(negatives(image_of), similar, -torch.inf)
    of_anchor = {"image_to_text": (required[:, None], 1), "text_to_image": (required, 0)}
    chosen = [of_anchor[each] for each in _each(direction)]
    return [((wrong + enough).relu_(), along) for enough, along in chosen]


def _unit(rows: Tensor) -> Tensor:
    """`functional.normalize`, with a gradient that takes half as many passes over (n, dim)."""
    return rows * torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-12).reciprocal()


def _distinct(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Where each different number stands first, and for each place which of these holds its number."""
    _, which = numbers.unique(return_inverse=True)
    places = torch.arange(len(numbers), device=numbers.device)
    after_all = places.new_full((int(which.max()) + 1,), len(numbers))
    return after_all.scatter_reduce(0, which, places, "amin"), which


def _neighbours(has: Tensor) -> tuple[Tensor, Tensor]:
    """From (n, m) bool to (n, n) bool: which other rows have a column in common with each, and which none."""
    shared = has.float() @ has.float().T > 0
    return shared.clone().fill_diagonal_(False), ~shared


def _violations(distances: Tensor, right: Tensor, wrong: Tensor, margin: float, hardest: int) -> Tensor:
    """Sum over anchors and right ones of the `hardest` largest hinges, those of the nearest wrong ones.

    Args:
        distances: (n, m) of anchors and others.
        right: (n, m) bool, what should be near.
        wrong: (n, m) bool, what should be farther by the margin.
        margin: By how much.
        hardest: Triplets for each right one, at most.
    """
    too_near = distances.masked_fill(~wrong, torch.inf)
    too_near = too_near.topk(min(hardest, distances.shape[1]), largest=False).values
    anchor, match = right.nonzero(as_tuple=True)
    return functional.relu(margin + distances[anchor, match][:, None] - too_near[anchor]).sum()


def _each(direction: str) -> tuple[str, ...]:
    return DIRECTIONS[1:] if _known(direction) == "both" else (direction,)


def _known(direction: str) -> str:
    if direction not in DIRECTIONS:
        raise ValueError(f"expected a direction out of {', '.join(DIRECTIONS)}; got {direction!r}")
    return direction
