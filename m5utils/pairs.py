"""Images and the captions that describe them, as features: what is aligned, and what is ranked.

Knows feature vectors. Must not know how they were made, or what is learned from them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from m5utils import paths, products, relevance


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Pairs:
    """Features of images and of the captions that describe them.

    Attributes:
        images: (n_images, image_dim) float32.
        captions: (n_captions, caption_dim) float32; or, with `words`, (n_captions, longest) int64: the
            numbers of each caption's words, -1 behind the last.
        image_of: (n_captions,) int64, which image each caption describes, sorted.
        words: (n_words, word_dim) float32, for heads that learn how to put words together; None for others.
    """

    images: Tensor
    captions: Tensor
    image_of: np.ndarray
    words: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse features that are not finite, and captions without an image."""
        products.check_finite(self.images, "image features")
        products.check_finite(self.captions, "caption features")
        if self.words is not None:
            products.check_finite(self.words, "word vectors")
        inside = len(self.image_of) == len(self.captions) and (self.image_of < len(self.images)).all()
        if not inside or (self.image_of < 0).any():
            raise ValueError(
                f"expected {len(self.captions)} captions' images, each from 0 to {len(self.images) - 1}"
            )

    @cached_property
    def key(self) -> str:
        """Names their content."""
        words = () if self.words is None else (self.words.numpy(),)
        parts = (self.images.numpy(), self.captions.numpy(), self.image_of, *words)
        return paths.key_of([paths.key_of_array(part) for part in parts])

    def take(self, images: np.ndarray) -> "Pairs":
        """The images in these rows, in this order, with their captions, which must be sorted by image."""
        chosen, image_of = relevance.captions_of(self.image_of, images)
        return replace(self, images=self.images[images], captions=self.captions[chosen], image_of=image_of)


@dataclass(frozen=True, eq=False)
class PairTask:
    """Pairs to learn from, and others whose images and captions are ranked for each other.

    Attributes:
        train: What is learned from.
        ranked: What is ranked; only the metrics look at which caption describes which image.
        setting: What was taken out of which dataset; every table prints it.
    """

    train: Pairs
    ranked: Pairs
    setting: str

    def held_out(self, fit_rows: np.ndarray, validation_rows: np.ndarray) -> "PairTask":
        """The task to choose by: some images of train are learned from, others are ranked."""
        return PairTask(
            self.train.take(fit_rows), self.train.take(validation_rows), "validation part of train"
        )

    def caption(self, seeds: int = 1) -> str:
        """What every table must state: setting, sizes, seeds, interval."""
        images, captions = len(self.ranked.images), len(self.ranked.captions)
        return (
            f"{self.setting}: all {images:,} images and {captions:,} captions are queries, and each other's "
            f"gallery. R@K in percent, mean over queries and {seeds} seed(s) ± standard deviation over seeds "
            "[95 % bootstrap interval over images]; median rank; rsum of 600."
        )
