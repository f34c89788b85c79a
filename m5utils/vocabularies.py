"""Which words of the captions of train are known, and which of them stand in a caption.

Knows captions as numbers of words. Must not know the words themselves, their vectors, images or metrics.
"""

import torch
from torch import Tensor

from m5utils.pairs import Pairs


def known(train: Pairs, least: int) -> Tensor:
    """The words that stand often enough in the captions of train.

    Args:
        train: Captions as numbers of words, see `text.padded`.
        least: How often a word must occur.

    Returns:
        (n_words + 1,) int64: from a word's number, plus 1, to its place among the known ones, counted from 1;
        0 for the others and for "no word".

    Raises:
        ValueError: If captions are vectors, or no word occurs that often.
    """
    if train.words is None:
        raise ValueError("expected captions as numbers of words, see `text.padded`; these are vectors")
    often = torch.bincount(train.captions.flatten() + 1, minlength=len(train.words) + 1) >= least
    often[0] = False  # no word
    if not often.any():
        raise ValueError(f"expected a word that occurs {least} times or more in train; there is none")
    return torch.where(often, often.cumsum(0), 0)


def bags(pairs: Pairs, places: Tensor, by: str = "caption") -> Tensor:
    """Which known words stand in each caption, however often, or in any of the captions of each image.

    Args:
        pairs: Captions as numbers of the same words.
        places: Of `known`.
        by: "caption" or "image".

    Returns:
        (n_captions, n_known) or (n_images, n_known) bool.

    Raises:
        ValueError: If `by` is neither.
    """
    if by not in ("caption", "image"):
        raise ValueError(f"expected by caption or image; got {by!r}")
    whose = torch.arange(len(pairs.captions)) if by == "caption" else torch.as_tensor(pairs.image_of)
    n = len(pairs.captions) if by == "caption" else len(pairs.images)
    found = torch.zeros(n, int(places.max()) + 1, dtype=torch.bool)
    found[whose[:, None], places[pairs.captions + 1]] = True
    return found[:, 1:]
