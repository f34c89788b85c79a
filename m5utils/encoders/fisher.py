"""Fisher vectors of captions: which way a model of all words would have to move to explain these few.

Knows word vectors and which words stand in which caption. Must not know files, caches, images or heads.
Slides: structure-preserving embeddings, "Text feature extraction".

A model is a mixture with diagonal scales. In each dimension of each component it is a Gaussian, a Laplacian,
or ("hybrid") whichever of the two explains that component's words better. Everything is computed once per
word of the vocabulary and weighted by how often the word occurs: 30,000 captions are 320,000 words, but only
8,000 different ones. That is also why scikit-learn's `GaussianMixture`, which knows no weights, and
scikit-image's `fisher_vector`, which takes one caption at a time, are what the tests compare with, not what
runs here.

Reference: Klein, Lev, Sadeh, Wolf, "Associating neural word embeddings with deep image representations using
Fisher vectors", CVPR 2015.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from m5utils.encoders.text import Words

KINDS = ("gaussian", "laplacian", "hybrid")
SMALLEST = 1e-3  # of a scale, in standard deviations of all words: one word alone would have none
GAIN = 1e-2  # nats per word, below which a round of EM is the last
ROUNDS = 100  # of EM, at most
AT_ONCE = 8192  # captions


@dataclass(frozen=True, eq=False)  # equal if it is the same one: arrays have no one answer to ==
class Mixture:
    """A model of word vectors, of K components in D dimensions.

    Attributes:
        weights: (K,) float64, they add up to 1.
        centres: (K, D) means of Gaussians, medians of Laplacians.
        scales: (K, D) standard deviations, or mean absolute deviations.
        laplacian: (K, D) bool, which of the two.
    """

    weights: np.ndarray
    centres: np.ndarray
    scales: np.ndarray
    laplacian: np.ndarray

    @property
    def dim(self) -> int:
        """Length of a Fisher vector, 2 K D."""
        return 2 * self.centres.size

    def log_joint(self, vectors: np.ndarray) -> np.ndarray:
        """(n, K) the log of each component's weight times its density at each of (n, D) vectors."""
        found = np.empty((len(vectors), len(self.weights)))
        for k, weight in enumerate(self.weights):
            away = np.abs(vectors - self.centres[k]) / self.scales[k]
            gaussian = 0.5 * away**2 + 0.5 * np.log(2 * np.pi)
            costs = np.where(self.laplacian[k], away + np.log(2), gaussian).sum(axis=1)
            found[:, k] = np.log(weight) - np.log(self.scales[k]).sum() - costs
        return found

    def log_likelihood(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) the log of the density at each of (n, D) vectors."""
        return np.logaddexp.reduce(self.log_joint(vectors), axis=1)


def fit(vectors: np.ndarray, counts: np.ndarray, components: int, kind: str, seed: int = 0) -> Mixture:
    """Learn a mixture from the words of train, by expectation maximisation from a k-means start.

    The likelihood rises with every round: where a dimension of a component may be either, both are fitted and
    the likelier is taken.

    Args:
        vectors: (n, D) of the different words, on axes along which they hardly correlate (PCA or ICA).
        counts: (n,) how often each word occurs.
        components: K.
        kind: One of `KINDS`.
        seed: Of k-means.

    Raises:
        ValueError: If there is no such kind, a vector is not finite, or fewer than K different words occur,
            or they all lie in one place along a dimension.

    Example:
        >>> words = np.array([[-1.0], [-1.1], [1.0], [1.1]])
        >>> np.sort(fit(words, np.array([1, 1, 3, 3]), 2, "gaussian").weights).round(2)
        array([0.25, 0.75])
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind out of {', '.join(KINDS)}; got {kind!r}")
    vectors, counts = _there(vectors, counts)
    different = len(np.unique(vectors, axis=0))
    if not 1 <= components <= different:
        raise ValueError(
            f"expected 1 to {different} components, as many as different words occur; got {components}. Ask "
            "for fewer, or fit on more captions."
        )
    mean = np.average(vectors, axis=0, weights=counts)
    spread = np.sqrt(np.average((vectors - mean) ** 2, axis=0, weights=counts))
    if not spread.all():
        raise ValueError(
            f"all words lie in one place along dimension {int(spread.argmin())}: expected axes along which "
            "they differ, such as the first of a PCA."
        )
    with threadpool_limits(1):  # sums whose last digit does not depend on the threads
        start = KMeans(components, n_init=1, random_state=seed).fit(vectors, sample_weight=counts)
        return _rounds(vectors, counts, np.eye(components)[start.labels_], kind, SMALLEST * spread)


def gradients(mixture: Mixture, vectors: np.ndarray) -> np.ndarray:
    r"""How a word would move each parameter: the gradient of its log-likelihood, by the Fisher information.

    Divided by the square root of the diagonal information of one word, so that all parameters are on one
    scale. With p the posterior of component k, w its weight and z = (x - centre) / scale:

    | | centre | scale |
    |---|---|---|
    | Gaussian | p z / √w | p (z² - 1) / √(2 w) |
    | Laplacian | p sign z / √w | p (\|z\| - 1) / √w |

    Args:
        mixture: Of `fit`.
        vectors: (n, D).

    Returns:
        (n, 2 K D) float32: the centres of component 1, of component 2, ..., then all scales. scikit-image
        has the weights before them and, of the scales, the opposite sign.
    """
    joint = mixture.log_joint(vectors)
    posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    n, n_components = posterior.shape
    moves = np.empty((n, 2, n_components, vectors.shape[1]), dtype=np.float32)
    for k, weight in enumerate(mixture.weights):
        z, either = (vectors - mixture.centres[k]) / mixture.scales[k], mixture.laplacian[k]
        share = posterior[:, k, None] / np.sqrt(weight)
        moves[:, 0, k] = share * np.where(either, np.sign(z), z)
        moves[:, 1, k] = share * np.where(either, np.abs(z) - 1, (z**2 - 1) / np.sqrt(2))
    return moves.reshape(n, mixture.dim)


def blocks(mixtures: Sequence[Mixture], split_into: Words, vectors: np.ndarray) -> Iterator[np.ndarray]:
    """The Fisher vectors of captions, one mixture's beside the other's, some thousand captions at a time.

    The mean of the words' `gradients`; of each number the square root, with its sign; each mixture's part
    divided by its length. A word whose vector is all zeros has none and is left out; a caption without words
    gives zeros.

    Args:
        mixtures: Such as a Gaussian and a hybrid one, of `fit`.
        split_into: n captions.
        vectors: (n_vocabulary, D) of `split_into.vocabulary`, on the axes that the mixtures were fitted on.

    Yields:
        (n_block, sum of the mixtures' dim) float32; all blocks together are the n captions.

    Reference: Perronnin, Sánchez, Mensink, "Improving the Fisher kernel", ECCV 2010.
    """
    known = vectors.any(axis=1)[:, None]
    of_words = [gradients(mixture, np.asarray(vectors, dtype=np.float64)) * known for mixture in mixtures]
    for first in range(0, len(split_into), AT_ONCE):
        some = split_into.matrix[first : first + AT_ONCE]
        parts = []
        for moves in of_words:  # the sum will do: the mean has the same direction
            total = some @ moves
            rooted = np.sign(total) * np.sqrt(np.abs(total))
            length = np.linalg.norm(rooted, axis=1, keepdims=True)
            parts.append(np.divide(rooted, length, out=np.zeros_like(rooted), where=length > 0))
        yield np.hstack(parts)


# ---- expectation maximisation ----


def _there(vectors: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words that occur and have a vector."""
    vectors, counts = np.asarray(vectors, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    if vectors.ndim != 2 or counts.shape != (len(vectors),) or not (counts >= 0).all():
        raise ValueError(
            f"expected vectors (n, D) and how often each occurs (n,); got {vectors.shape} and {counts.shape}"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"the vector of word {row} is not finite")
    there = (counts > 0) & vectors.any(axis=1)
    return vectors[there], counts[there]


def _rounds(
    vectors: np.ndarray, counts: np.ndarray, posterior: np.ndarray, kind: str, smallest: np.ndarray
) -> Mixture:
    """Maximise and expect in turn, until the words are hardly likelier than before."""
    order = np.argsort(vectors, axis=0) if kind != "gaussian" else None
    mixture, before = None, -np.inf
    for _ in range(ROUNDS):
        mixture = _maximised(vectors, counts[:, None] * posterior, kind, smallest, order, mixture)
        joint = mixture.log_joint(vectors)
        likelihoods = np.logaddexp.reduce(joint, axis=1)
        posterior = np.exp(joint - likelihoods[:, None])
        now = float(np.average(likelihoods, weights=counts))
        if now - before < GAIN:
            break
        before = now
    return mixture


def _maximised(
    vectors: np.ndarray,
    shares: np.ndarray,
    kind: str,
    smallest: np.ndarray,
    order: np.ndarray | None,
    before: Mixture | None,
) -> Mixture:
    """The likeliest mixture, given (n, K) how much of each word is each component's."""
    totals = shares.sum(axis=0)
    centres, scales = np.empty((2, len(totals), vectors.shape[1]))
    laplacian = np.empty(centres.shape, dtype=bool)
    for k, (share, total) in enumerate(zip(shares.T, totals, strict=True)):
        if total <= 1e-9 * totals.sum():  # nobody's: it stays where it was
            centres[k], scales[k], laplacian[k] = before.centres[k], before.scales[k], before.laplacian[k]
            continue
        fits = []
        if kind != "laplacian":
            centre = share @ vectors / total
            fits.append(_fitted(centre, share @ (vectors - centre) ** 2 / total, smallest, False))
        if kind != "gaussian":
            centre = _medians(vectors, share, order)
            fits.append(_fitted(centre, share @ np.abs(vectors - centre) / total, smallest, True))
        best = np.argmax([gain for *_, gain in fits], axis=0)
        centres[k], scales[k] = (np.choose(best, [one[part] for one in fits]) for part in (0, 1))
        laplacian[k] = best == 1 if kind == "hybrid" else kind == "laplacian"
    return Mixture(np.maximum(totals / totals.sum(), 1e-12), centres, scales, laplacian)


def _fitted(
    centre: np.ndarray, deviation: np.ndarray, smallest: np.ndarray, laplacian: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By dimension centre, scale, and the mean log-likelihood, from a mean squared or absolute deviation."""
    if laplacian:
        scale = np.maximum(deviation, smallest)
        return centre, scale, -np.log(2 * scale) - deviation / scale
    scale = np.maximum(np.sqrt(deviation), smallest)
    return centre, scale, -np.log(scale) - 0.5 * np.log(2 * np.pi) - deviation / (2 * scale**2)


def _medians(vectors: np.ndarray, share: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(D,) where half of the shares lie below, by dimension; `order` sorts each dimension."""
    below = np.cumsum(share[order], axis=0)
    middle = (below >= below[-1] / 2).argmax(axis=0)
    columns = np.arange(vectors.shape[1])
    return vectors[order[middle, columns], columns]
