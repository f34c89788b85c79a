"""Captions as Fisher vectors on few axes: what describes a caption is learned on train, then it is fixed.

Knows word vectors and captions. Must not know datasets, pictures, trained heads or metrics.
Slides: structure-preserving embeddings, "Text feature extraction": words, mixtures, Fisher vectors, PCA.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m5utils import heads
from m5utils.encoders import fisher, text
from m5utils.encoders.fisher import Mixture
from m5utils.encoders.text import Words, WordVectors
from m5utils.heads import Head

KINDS = ("gaussian", "hybrid")  # of the mixtures whose Fisher vectors stand side by side
WORDS, CAPTIONS = 20_000, 8_192  # that axes are learned from, at most, spread over all of train
PER_COMPONENT = 8  # different words, at least


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class FisherText:
    """From captions to vectors.

    Attributes:
        words: Vectors of words.
        word_axes: From (n, word_dim) to the axes that the mixtures stand on.
        mixtures: Of words, by kind.
        axes: From a Fisher vector to what is kept of it.
    """

    words: WordVectors
    word_axes: Head
    mixtures: dict[str, Mixture]
    axes: Head

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """(n, dim) float32 of n captions."""
        split_into = text.split(captions)
        blocks = _blocks(self.mixtures, split_into, placed(self.words, self.word_axes, split_into.vocabulary))
        return torch.cat([self.axes(torch.from_numpy(block)) for block in blocks])

    @property
    def fisher_dim(self) -> int:
        """Length of a Fisher vector, before its axes."""
        return sum(mixture.dim for mixture in self.mixtures.values())


def fit(
    captions: Sequence[str], words: WordVectors, components: int, word_dim: int, dim: int, seed: int = 0
) -> FisherText:
    """Learn the words' axes, the mixtures and the captions' axes, each from what the one before gives.

    Args:
        captions: Of train, and of nothing else.
        words: Vectors of words.
        components: Of a mixture; fewer where train has fewer than eight different words for each.
        word_dim: Axes of the words, at most: along a PCA's they hardly correlate, as a diagonal model wants.
        dim: Axes of the captions that are kept, at most.
        seed: Of the mixtures' start.

    Raises:
        ValueError: If train has fewer than two different words, or as `fisher.fit`.

    Reference: Klein, Lev, Sadeh, Wolf, "Associating neural word embeddings with deep image representations
    using Fisher vectors", CVPR 2015: 30 components of 300 dimensions.
    """
    split_into = text.split(captions)
    rows = words.table(split_into.vocabulary)
    n_known = int(rows.any(axis=1).sum())
    if n_known < 2:
        raise ValueError(
            "expected at least two different words with a vector, or captions cannot differ; "
            f"{len(captions)} captions have {n_known}. Fit on the captions of train."
        )
    spoken = split_into.of_caption[_spread(len(split_into.of_caption), WORDS)]
    word_axes = heads.principal_axes(torch.from_numpy(rows[spoken]), word_dim)
    vectors, counts = placed(words, word_axes, split_into.vocabulary), split_into.matrix.sum(axis=0)
    components = min(components, max(1, len(counts) // PER_COMPONENT))
    mixtures = {kind: fisher.fit(vectors, counts, components, kind, seed) for kind in KINDS}
    some = text.split([captions[row] for row in _spread(len(captions), CAPTIONS)])
    blocks = list(_blocks(mixtures, some, placed(words, word_axes, some.vocabulary)))
    axes = heads.principal_axes(torch.from_numpy(np.concatenate(blocks)), dim)
    return FisherText(words, word_axes, mixtures, axes)


def placed(words: WordVectors, word_axes: Head, vocabulary: Sequence[str]) -> np.ndarray:
    """(n, word_dim) float64: words on the axes of a mixture; zeros for a word that has no vector."""
    rows = words.table(vocabulary)
    known = rows.any(axis=1)[:, None]
    return word_axes(torch.from_numpy(rows)).double().numpy() * known


def _blocks(mixtures: dict[str, Mixture], split_into: Words, vectors: np.ndarray) -> Iterator[np.ndarray]:
    return fisher.blocks(list(mixtures.values()), split_into, vectors)


def _spread(n: int, most: int) -> np.ndarray:
    """(at most `most`,) rows from first to last, evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))
