"""Text encoders: from captions to vectors, by words (one-hot, GloVe, FastText) or as a whole (BERT).

Knows texts and the files of word vectors and language models. Must not know datasets, caches or images.
Slides: P5, "Word embeddings", (a) FastText, (c) BERT.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from m5utils import paths

# Letters and digits of any script, with apostrophes and hyphens inside; else single signs that are no ASCII
# punctuation, such as an emoji.
WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s!-/:-@\[-`{-~]")


def words(caption: str) -> list[str]:
    """The words of a text, lower-cased, without punctuation.

    Example:
        >>> words("A dog's bowl in the KITCHEN.")
        ['a', "dog's", 'bowl', 'in', 'the', 'kitchen']
    """
    return WORD.findall(caption.lower())


@dataclass(frozen=True)
class Words:
    """Captions as numbers of words: the texts are taken apart once, whatever is done with the words.

    Attributes:
        vocabulary: The different words, sorted.
        of_caption: Their numbers, all captions one after the other.
        starts: (n_captions + 1,) where each caption begins in `of_caption`.
    """

    vocabulary: tuple[str, ...]
    of_caption: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.starts) - 1

    @property
    def counts(self) -> np.ndarray:
        """(n_captions,) words of each caption."""
        return np.diff(self.starts)

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """(n_captions, n_vocabulary) float32: how often each word stands in each caption."""
        ones = np.ones(len(self.of_caption), dtype=np.float32)
        shape = len(self), len(self.vocabulary)
        counted = sparse.csr_array((ones, self.of_caption.copy(), self.starts.copy()), shape=shape)
        counted.sum_duplicates()  # works in place, hence the copies
        return counted


def split(captions: Sequence[str]) -> Words:
    """Take captions apart into words."""
    of_each = [words(caption) for caption in captions]
    vocabulary = sorted(set().union(*of_each)) if of_each else []
    number = {word: position for position, word in enumerate(vocabulary)}
    of_caption = np.fromiter((number[word] for one in of_each for word in one), dtype=np.int64)
    starts = np.cumsum([0, *map(len, of_each)], dtype=np.int64)
    return Words(tuple(vocabulary), of_caption, starts)


# ---- words to vectors ----


@dataclass(frozen=True)
class WordVectors:
    """A table of word vectors, or a model that makes one for any word.

    Attributes:
        name: For tables and figures.
        dim: Length of a vector.
        vector: From a word to (dim,) float32; None for a word that it has no vector for.
        knows: Whether a word was in its training vocabulary. FastText makes a vector of the parts of a word
            that it does not know.
    """

    name: str
    dim: int
    vector: Callable[[str], np.ndarray | None]
    knows: Callable[[str], bool]

    def table(self, vocabulary: Sequence[str]) -> np.ndarray:
        """(n, dim) float32, a row of zeros for each word that has no vector."""
        rows = np.zeros((len(vocabulary), self.dim), dtype=np.float32)
        for row, word in zip(rows, vocabulary, strict=True):
            found = self.vector(word)
            if found is not None:
                row[:] = found
        return rows


def one_hot(vocabulary: Sequence[str]) -> WordVectors:
    """One dimension per word: every word is as far from every other; words outside have no vector."""
    number = {word: position for position, word in enumerate(vocabulary)}

    def vector(word: str) -> np.ndarray | None:
        return np.eye(1, len(number), number[word], dtype=np.float32)[0] if word in number else None

    return WordVectors("one-hot", len(number), vector, number.__contains__)


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LEVELS = (1, 2, 3, 4, 5)


def phoc() -> WordVectors:
    """Pyramidal histogram of characters: which letters and digits stand in which part of a word.

    A word is cut into 1, 2, ... 5 equal parts; each part says for each of 36 characters whether one of them
    lies in it for at least half of its width. It looks like its word, so every word has a vector, and says
    nothing of what the word means.

    Reference: Almazán et al., "Word spotting and recognition with embedded attributes", 2014.
    """

    def vector(word: str) -> np.ndarray:
        found, n = np.zeros((sum(LEVELS), len(LETTERS)), dtype=np.float32), len(word)
        for place, letter in enumerate(word.lower()):
            for level in LEVELS if letter in LETTERS else ():
                for part in range(level):
                    overlap = min((place + 1) / n, (part + 1) / level) - max(place / n, part / level)
                    if overlap * n >= 0.5 - 1e-9:
                        found[sum(range(level)) + part, LETTERS.index(letter)] = 1
        return found.ravel()

    return WordVectors(
        "PHOC", sum(LEVELS) * len(LETTERS), vector, lambda word: bool(set(word) & set(LETTERS))
    )


def glove(file: Path) -> WordVectors:
    """GloVe's text format: a word and its numbers on each line, separated by spaces.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line has another number of values than the first; it is named.
    """
    file, found, dim = Path(file), {}, None
    with _there(file).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            word, *values = line.rstrip("\n").split(" ")
            dim = dim or len(values)
            if len(values) != dim:
                raise ValueError(
                    f"{file}, line {number}: expected {dim} values, as on the first, got {len(values)}. "
                    "Was the download cut off, or is it a .vec with a heading?"
                )
            found[word] = np.array(values, dtype=np.float32)
    if not found:
        raise ValueError(f"{file} is empty: expected lines of a word and its values.")
    return WordVectors("GloVe", dim, found.get, found.__contains__)


MAGIC, VERSION = 793712314, 12
_ARGS, _DICTIONARY = struct.Struct("<12id"), struct.Struct("<iiiqq")


def fasttext_file(file: Path) -> WordVectors:
    """A model in FastText's own format (`.bin`), such as the course server's `fasttext_wiki.en.bin`.

    Words that it does not know get a vector from their character n-grams.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in that format (a `.vec` is text) or cut off.
    """
    file = _there(Path(file))
    known = _fasttext_words(file)
    import fasttext

    model = fasttext.load_model(str(file))
    return WordVectors("FastText", model.get_dimension(), model.get_word_vector, known.__contains__)


# On one thread FastText 0.9.3 draws the first tenth of its start vectors and leaves the others as the memory
# is (`DenseMatrix::uniform`). Words come first, so theirs are drawn; those of n-grams are to start from zero.
# A new process whose every allocation is a new page has no other memory.
_TRAIN = """
import json, sys, fasttext
fasttext.train_unsupervised(sys.argv[1], "skipgram", **json.loads(sys.argv[2])).save_model(sys.argv[3])
"""
_NEW_PAGES = {"MALLOC_MMAP_THRESHOLD_": "4096"}


def fasttext_trained(
    captions: Sequence[str], file: Path, dim: int = 300, epochs: int | None = None
) -> WordVectors:
    """FastText trained on captions (skip-gram, every word counts), unless `file` is there already.

    On one thread, or no two runs would give the same vectors; its Python has no seed to set.

    Args:
        captions: Of train; they are split by `words`.
        file: Where the model is kept, in FastText's own format.
        dim: Length of a vector.
        epochs: Passes over the captions; by default so many that ten million words are read, 5 to 30. The
            library's own 5 are meant for Wikipedia: after 5 passes over 30,000 captions *dog* is near
            *grass*, after 30 it is near *dogs* and *labradoodle*.

    Raises:
        ValueError: If no caption has a word, or FastText refuses; the message is its own.
    """
    if not file.is_file():
        of_each = [words(caption) for caption in captions]
        n_words = len(set().union(*of_each))
        if not n_words:
            raise ValueError("no caption has a word: nothing to train FastText on.")
        buckets = max(100_000, 10 * n_words)
        epochs = epochs or min(30, max(5, 10_000_000 // sum(map(len, of_each))))
        how = {"dim": dim, "epoch": epochs, "bucket": buckets, "minCount": 1, "thread": 1, "verbose": 0}
        with (
            paths.published(file) as part,
            tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lines,
        ):
            lines.writelines(" ".join(each) + "\n" for each in of_each)
            lines.flush()
            command = [sys.executable, "-c", _TRAIN, lines.name, json.dumps(how), str(part)]
            done = subprocess.run(command, env=os.environ | _NEW_PAGES, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(f"FastText could not be trained: {done.stderr.strip()[-300:]}")
    return fasttext_file(file)


def _fasttext_words(file: Path) -> frozenset[str]:
    """The vocabulary, read here because the library keeps it in a list; checks the file's length, too."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(8 + _ARGS.size + _DICTIONARY.size)
        if len(head) < 8 + _ARGS.size + _DICTIONARY.size or struct.unpack_from("<ii", head)[0] != MAGIC:
            raise ValueError(
                f"{file} is not in FastText's binary format. A .vec is text: take the .bin beside it."
            )
        dim, *_, bucket, minn, maxn, _, _ = _ARGS.unpack_from(head, 8)
        n_entries, n_words, n_labels, _, pruned = _DICTIONARY.unpack_from(head, 8 + _ARGS.size)
        found, entry = [], opened.read(min(size, 256 * max(n_entries, 0)))
        at = 0
        for _ in range(n_entries):
            end = entry.find(b"\0", at)
            if end < 0:
                raise ValueError(f"{file} is cut off at {size:,} bytes, within its words: get it again.")
            found.append(entry[at:end].decode("utf-8", errors="replace"))
            at = end + 10  # the zero, an int64 and an int8
    matrices = 4 * dim * (n_words + bucket + n_words)
    expected = len(head) + at + 8 * max(pruned, 0) + 2 * (1 + 16) + matrices
    if pruned < 0 and size < expected:
        raise ValueError(f"{file} is cut off: {size:,} bytes of {expected:,}. Get it again.")
    return frozenset(found[:n_words])


def _there(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: put the word vectors there, see data/README.md.")
    return file


def unknown(vectors: WordVectors, split_into: Words) -> tuple[float, float]:
    """How much of some captions is out of vocabulary.

    Returns:
        The share of all words (a word counts as often as it stands there), and of the different words, that
        `vectors` does not know.
    """
    missing = np.array([not vectors.knows(word) for word in split_into.vocabulary], dtype=bool)
    if not len(missing):
        return 0.0, 0.0
    return float(missing[split_into.of_caption].mean()), float(missing.mean())


def padded(split_into: Words, most: int = 48) -> np.ndarray:
    """(n, longest) int64: the numbers of each caption's first `most` words, -1 behind the last.

    Example:
        >>> padded(split(["a red ball", "a dog"]))
        array([[ 0,  3,  1],
               [ 0,  2, -1]])
    """
    counts = np.minimum(split_into.counts, most)
    places = np.arange(counts.max(initial=1))
    inside = places < counts[:, None]
    numbers = np.full(inside.shape, -1, dtype=np.int64)
    numbers[inside] = split_into.of_caption[(split_into.starts[:-1, None] + places)[inside]]
    return numbers


# ---- words of a caption to one vector ----

AGGREGATIONS = ("sum", "mean", "max", "mean_max_min", "idf", "sif")


def aggregate(
    split_into: Words, vectors: np.ndarray, how: str, seen: "Frequencies | None" = None
) -> np.ndarray:
    """One vector per caption out of the vectors of its words.

    | name | a caption's vector |
    |---|---|
    | sum, mean, max | of its words', by dimension |
    | mean_max_min | the three, one after the other |
    | idf | mean weighted by how rare a word is: log(n / (1 + captions that have it)) |
    | sif | mean weighted by a / (a + p(word)), a = 0.001 |

    Args:
        split_into: n captions.
        vectors: (n_vocabulary, dim) float32, of `split_into.vocabulary`.
        how: One of `AGGREGATIONS`.
        seen: How often words occur in the captions that are trained on; "idf" and "sif" need it.

    Returns:
        (n, dim) float32, 3 × dim for "mean_max_min"; zeros for a caption without words.

    Reference: Arora, Liang, Ma, "A simple but tough-to-beat baseline for sentence embeddings", ICLR 2017.
    """
    if how not in AGGREGATIONS:
        raise ValueError(f"expected an aggregation out of {', '.join(AGGREGATIONS)}; got {how!r}")
    if how in ("idf", "sif") and seen is None:
        raise ValueError(f"{how} needs the frequencies of words in the captions of train, see `frequencies`.")
    if how in ("max", "mean_max_min"):
        largest = _extreme(np.maximum, split_into, vectors)
        if how == "max":
            return largest
        smallest = _extreme(np.minimum, split_into, vectors)
        return np.hstack([aggregate(split_into, vectors, "mean"), largest, smallest])
    weights = np.ones(len(split_into.vocabulary), dtype=np.float32)
    if how in ("idf", "sif"):
        weights = seen.weights(split_into.vocabulary, how)
    total = split_into.matrix @ (weights[:, None] * vectors)
    return total if how == "sum" else total / np.maximum(split_into.counts, 1)[:, None].astype(np.float32)


def _extreme(ufunc: np.ufunc, split_into: Words, vectors: np.ndarray) -> np.ndarray:
    found = np.zeros((len(split_into), vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(split_into.counts)
    for part in np.array_split(filled, max(1, len(filled) // 2048)):
        if len(part):
            numbers = split_into.of_caption[split_into.starts[part[0]] : split_into.starts[part[-1] + 1]]
            starts = split_into.starts[part] - split_into.starts[part[0]]
            found[part] = ufunc.reduceat(vectors[numbers], starts)
    return found


@dataclass(frozen=True)
class Frequencies:
    """How often words occur in some captions.

    Attributes:
        occurrences: Word to the number of times it occurs.
        captions: Word to the number of captions that have it.
        n_words: All occurrences.
        n_captions: All captions.
    """

    occurrences: Counter
    captions: Counter
    n_words: int
    n_captions: int

    def weights(self, vocabulary: Sequence[str], how: str, a: float = 1e-3) -> np.ndarray:
        """(n,) float32: what each word counts; a word that never occurred counts as the rarest."""
        if how == "idf":
            occurs = np.array([self.captions[word] for word in vocabulary])
            return np.log((1 + self.n_captions) / (1 + occurs)).astype(np.float32)
        share = np.array([self.occurrences[word] for word in vocabulary]) / max(self.n_words, 1)
        return (a / (a + share)).astype(np.float32)


def frequencies(split_into: Words) -> Frequencies:
    """Count the words of the captions that are trained on."""
    occurrences = np.bincount(split_into.of_caption, minlength=len(split_into.vocabulary))
    in_captions = (split_into.matrix > 0).sum(axis=0)
    return Frequencies(
        Counter(dict(zip(split_into.vocabulary, occurrences.tolist(), strict=True))),
        Counter(dict(zip(split_into.vocabulary, in_captions.tolist(), strict=True))),
        int(occurrences.sum()),
        len(split_into),
    )
