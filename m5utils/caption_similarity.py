"""How alike two images are by what was said about them: the proxies for meaning.

Knows captions, words and counts. Must not know pictures, networks or metrics.
Slides: Gordo and Larlus, CVPR 2017, "User Study", Table 1, and "Proposed Methods", 5.1.

Every proxy is a row per image whose inner products are the similarities, so that none needs an n × n table;
only METEOR compares sentences in pairs, and is for a few pairs of images.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize
from torch import Tensor

from m5utils.encoders import text


@functools.cache
def _snowball() -> Callable[[str], str]:
    from nltk.stem.snowball import SnowballStemmer  # a second: the whole of nltk comes along

    return functools.lru_cache(maxsize=2**17)(SnowballStemmer("english").stem)


def stem(word: str) -> str:
    """What is left of an English word without its ending.

    Example:
        >>> [stem(word) for word in ("dogs", "riding", "rides")]
        ['dog', 'ride', 'ride']

    Reference: Porter, "Snowball: a language for stemming algorithms", 2001.
    """
    return _snowball()(word)


def stems(caption: str) -> list[str]:
    """The stems of a caption's words, in their order."""
    return [stem(word) for word in text.words(caption)]


def sentence_numbers(captions: Sequence[str]) -> np.ndarray:
    """(n_captions,) int64: captions of the same words in the same order have the same number.

    Case and punctuation do not count, see `text.words`. A caption without words says the same as no other.

    Example:
        >>> sentence_numbers(["A dog runs.", "A cat.", "a dog runs", "", "..."])
        array([0, 1, 0, 3, 4])
    """
    first: dict[object, int] = {}
    said = (tuple(text.words(caption)) or row for row, caption in enumerate(captions))
    return np.array([first.setdefault(one, row) for row, one in enumerate(said)], dtype=np.int64)


# ---- rows of weighted words ----


@dataclass(frozen=True, eq=False)  # equal if it is the same one: arrays have no one answer to ==
class TfIdf:
    """Which stems count, and how much.

    Attributes:
        terms: Stem to its column.
        idf: (n_terms,) float32, log(n / images that have it): 0 for what is said of every image.
    """

    terms: dict[str, int]
    idf: np.ndarray

    def __call__(self, captions: Sequence[str], image_of: np.ndarray, n_images: int) -> sparse.csr_array:
        """One row per image from all its captions together.

        Args:
            captions: Of the images.
            image_of: (n_captions,) which image each describes.
            n_images: How many images there are.

        Returns:
            (n_images, n_terms) float32, rows of length 1; of zeros where no word is known.

        Raises:
            ValueError: If an image has no caption; it is named.
        """
        return weighted(_counted(_said_of_each(captions, image_of, n_images), self.terms), self.idf)

    def of_captions(self, captions: Sequence[str]) -> sparse.csr_array:
        """(n_captions, n_terms): one row per caption."""
        return weighted(_counted([[caption] for caption in captions], self.terms), self.idf)

    def known(self, word: str) -> bool:
        """Whether the word's stem counts."""
        return stem(word.lower()) in self.terms


def fit(captions: Sequence[str], image_of: np.ndarray, n_images: int) -> TfIdf:
    """Learn the stems and their weights from the images of train: those that two images have or more.

    Args:
        captions: As `TfIdf`; of train, and of nothing else.
        image_of: As `TfIdf`.
        n_images: As `TfIdf`.

    Raises:
        ValueError: If an image has no caption, or no word tells images apart.

    Example:
        >>> proxy = fit(["a dog", "two dogs", "a cat", "cats", "a bird"], np.arange(5), 5)
        >>> sorted(proxy.terms)
        ['a', 'cat', 'dog']
    """
    said = _said_of_each(captions, image_of, n_images)
    in_images: dict[str, int] = {}
    for of_image in said:
        for one in set(itertools.chain.from_iterable(map(stems, of_image))):
            in_images[one] = in_images.get(one, 0) + 1
    kept = sorted(one for one, images in in_images.items() if 2 <= images < n_images)
    if not kept:
        raise ValueError(
            f"no word tells {n_images} images apart: expected one that two of them have, or more, but not "
            f"all (their captions have {len(in_images)} different words). Fit on the captions of train."
        )
    images = np.array([in_images[one] for one in kept])
    terms = {one: column for column, one in enumerate(kept)}
    return TfIdf(terms, np.log(n_images / images).astype(np.float32))


def idf(counts: np.ndarray) -> np.ndarray:
    """(n_columns,) float32: log(n / rows that have it), 0 for what none has; of objects as of words."""
    rows = (np.asarray(counts) > 0).sum(axis=0)
    return np.log(len(counts) / np.where(rows > 0, rows, len(counts))).astype(np.float32)


def weighted(counts: sparse.csr_array | np.ndarray, weights: np.ndarray) -> sparse.csr_array:
    """Counts times weights, each row divided by its length: (n, n_columns) float32.

    Example:
        >>> weighted(np.array([[3, 2], [0, 0]]), np.array([1.0, 2.0])).toarray()
        array([[0.6, 0.8],
               [0. , 0. ]], dtype=float32)
    """
    scaled = sparse.csr_array(counts).astype(np.float64) * np.asarray(weights, dtype=np.float64)
    rows = sparse.csr_array(normalize(sparse.csr_matrix(scaled))).astype(np.float32)
    rows.eliminate_zeros()
    return rows


def _said_of_each(captions: Sequence[str], image_of: np.ndarray, n_images: int) -> list[list[str]]:
    said: list[list[str]] = [[] for _ in range(n_images)]
    for caption, image in zip(captions, np.asarray(image_of).tolist(), strict=True):
        said[image].append(caption)
    silent = [image for image, of_image in enumerate(said) if not of_image]
    if silent:
        raise ValueError(
            f"image {silent[0]} has no caption ({len(silent)} such images): how alike it is to others is "
            "unknown, not 0. Leave it out."
        )
    return said


def _counted(said: list[list[str]], terms: dict[str, int]) -> sparse.csr_array:
    """(n, n_terms) how often each stem is said."""
    count = CountVectorizer(
        analyzer=lambda captions: itertools.chain.from_iterable(map(stems, captions)), vocabulary=terms
    )
    return sparse.csr_array(count.transform(said))


# ---- any other features of captions ----


def of_caption_sets(vectors: Tensor, image_of: np.ndarray, n_images: int) -> Tensor:
    """One row per image from any vectors of its captions: their mean, divided by its length.

    The cosine of two rows is the mean similarity of the two images' captions, up to each row's length: for
    word vectors, Fisher vectors or whatever else stands for a caption.

    Args:
        vectors: (n_captions, dim) float32.
        image_of: (n_captions,) which image each describes.
        n_images: How many images there are.

    Returns:
        (n_images, dim) float32; a row of zeros stays one.

    Raises:
        ValueError: If an image has no caption; it is named.

    Example:
        >>> of_caption_sets(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 7.0]]), np.array([0, 1, 1]), 2)
        tensor([[1., 0.],
                [0., 1.]])
    """
    _said_of_each([""] * len(vectors), image_of, n_images)
    which = torch.as_tensor(np.asarray(image_of), device=vectors.device)
    total = torch.zeros(n_images, vectors.shape[1], dtype=vectors.dtype).index_add_(0, which, vectors)
    return torch.nn.functional.normalize(total)


# ---- sentences in pairs ----

NO_SYNONYMS = SimpleNamespace(synsets=lambda _: ())


def meteor(one: Sequence[str], other: Sequence[str]) -> float:
    """How alike two images are by METEOR: both ways, meaned over all pairs of their captions.

    Words are matched if they are equal, then if their stems are. METEOR's third step, synonyms of WordNet, is
    left out: WordNet is a download. A word and its synonym count as different words.

    Args:
        one: Captions of one image.
        other: Captions of the other.

    Returns:
        A number in [0, 1]; not quite 1 for equal sentences, because METEOR charges for the one chunk that
        they are.

    Raises:
        ValueError: If one of them has no caption.

    Reference: Banerjee, Lavie, "METEOR", ACL workshop 2005; nltk's `single_meteor_score`.
    """
    from nltk.translate.meteor_score import single_meteor_score

    if not one or not other:
        raise ValueError(f"expected captions of both images; got {len(one)} and {len(other)}")
    tools = {"stemmer": SimpleNamespace(stem=stem), "wordnet": NO_SYNONYMS}
    left, right = ([text.words(caption) for caption in captions] for captions in (one, other))
    both_ways = (
        single_meteor_score(a, b, **tools) + single_meteor_score(b, a, **tools)
        for a, b in itertools.product(left, right)
    )
    return sum(both_ways) / (2 * len(left) * len(right))


# ---- captions of others ----


def spokesman(rows: sparse.csr_array) -> int:
    """Of some captions the one that is most like all the others: what the neighbours would agree on.

    Args:
        rows: (n, n_terms) tf-idf rows of the captions of an image's neighbours.

    Returns:
        Which of them; of equals the first.

    Reference: Devlin et al., "Exploring nearest neighbor approaches for image captioning", 2015. Slides:
    "Image captioning as a retrieval problem".
    """
    alike = (rows @ rows.T).toarray()
    return int((alike.sum(axis=1) - alike.diagonal()).argmax())
