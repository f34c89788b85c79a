"""Caption transfer: an image is described by the captions of the training images that look most like it.

Knows features of pairs. Must not know words, pictures or a metric of the report.
Slides: Gordo & Larlus, "image captioning as a retrieval problem".
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from m5utils import search
from m5utils.pairs import Pairs, PairTask


def described(images: Tensor, train: Pairs, k: int, sharpness: float) -> Tensor:
    """What an image's k nearest images of train are said to show: (n, caption_dim) weighted mean of captions.

    Args:
        images: (n, image_dim).
        train: Images with captions as vectors; an image counts once, however many captions it has.
        k: Neighbours by cosine, 1 <= k <= images of train that have a caption.
        sharpness: The weights are a softmax of this times the cosine.

    Raises:
        ValueError: If captions are numbers of words, or k is out of range.
    """
    if train.words is not None:
        raise ValueError("expected captions as vectors; these are numbers of words")
    image_of = torch.as_tensor(train.image_of)
    counts = torch.bincount(image_of, minlength=len(train.images))
    has = counts > 0
    if not 1 <= k <= int(has.sum()):
        raise ValueError(f"expected 1 <= k <= {int(has.sum())}, the images with a caption; got {k}")
    total = torch.zeros(len(train.images), train.captions.shape[1]).index_add_(0, image_of, train.captions)
    means = total[has] / counts[has, None]
    similar, near = search.nearest(images, train.images[has], k)
    return ((sharpness * similar).softmax(dim=1)[:, :, None] * means[near]).sum(dim=1)


def transfer(k: int = 50, sharpness: float = 10.0) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: an image is compared with a caption as `described`; nothing is learned.

    The mean caption of train is taken off both, or the words of every caption would decide.

    Reference: Hodosh, Young, Hockenmaier, "Framing image description as a ranking task", JAIR 2013.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001 - nothing is random
        images = described(task.ranked.images, task.train, k, sharpness)
        centre = task.train.captions.mean(dim=0)
        return functional.normalize(images - centre), functional.normalize(task.ranked.captions - centre)

    return method
