"""Images and the captions that describe them, as features: what is aligned, and what is ranked.

Knows feature vectors. Must not know how they were made, or what is learned from them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from torch import Tensor

from m5utils import metrics, paths, products, relevance


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Pairs:
    """Features of images and of the captions that describe them.

    Attributes:
        images: (n_images, image_dim) float32.
        captions: (n_captions, caption_dim) float32; or, with `words`, (n_captions, longest) int64: the
            numbers of each caption's words, -1 behind the last.
        image_of: (n_captions,) int64, which image each caption describes, sorted.
        words: (n_words, word_dim) float32, for heads that learn how to put words together; None for others.
        sentence_of: (n_captions,) int64, which sentence each caption is: captions that say the same, of one
            image or of several, have the same number. None: each is a sentence of its own.
    """

    images: Tensor
    captions: Tensor
    image_of: np.ndarray
    words: Tensor | None = None
    sentence_of: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse features that are not finite, and captions without an image or a sentence."""
        products.check_finite(self.images, "image features")
        products.check_finite(self.captions, "caption features")
        if self.words is not None:
            products.check_finite(self.words, "word vectors")
        inside = len(self.image_of) == len(self.captions) and (self.image_of < len(self.images)).all()
        if not inside or (self.image_of < 0).any():
            raise ValueError(
                f"expected {len(self.captions)} captions' images, each from 0 to {len(self.images) - 1}"
            )
        if self.sentence_of is not None and self.sentence_of.shape != self.image_of.shape:
            raise ValueError(
                f"expected a sentence's number for each of {len(self.captions)} captions; "
                f"got {self.sentence_of.shape}"
            )

    @cached_property
    def key(self) -> str:
        """Names their content."""
        words = () if self.words is None else (self.words.numpy(),)
        sentences = () if self.sentence_of is None else (self.sentence_of,)
        parts = (self.images.numpy(), self.captions.numpy(), self.image_of, *words, *sentences)
        return paths.key_of([paths.key_of_array(part) for part in parts])

    @property
    def sentences(self) -> np.ndarray:
        """(n_captions,) int64: `sentence_of`, or a number of its own for each caption."""
        return np.arange(len(self.image_of)) if self.sentence_of is None else self.sentence_of

    def take(self, images: np.ndarray) -> "Pairs":
        """The images in these rows, in this order, with their captions, which must be sorted by image."""
        chosen, image_of = relevance.captions_of(self.image_of, images)
        sentence_of = None if self.sentence_of is None else self.sentence_of[chosen]
        return replace(
            self,
            images=self.images[images],
            captions=self.captions[chosen],
            image_of=image_of,
            sentence_of=sentence_of,
        )


def sharing_a_sentence(pairs: Pairs) -> int:
    """How many pairs of different images have a caption that says the same: 0 where no two do.

    What `objectives.structure_preserving` calls neighbours among images; slides of Wang, Li, Lazebnik, 23:
    "No images have the same caption".
    """
    said, sentence = np.unique(pairs.sentences, return_inverse=True)
    ones, shape = np.ones(len(sentence), dtype=np.int64), (len(pairs.images), len(said))
    says = sparse.csr_array((ones, (pairs.image_of, sentence)), shape=shape)
    return sparse.triu(says @ says.T, k=1).nnz


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
            f"gallery. R@K in percent, mean over queries and {metrics.over_seeds(seeds)} "
            "[95 % bootstrap interval over images]; median rank; rsum of 600."
        )
