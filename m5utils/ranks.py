"""Where the right ones stand: exact ranks of images and their captions, in both directions, from one pass.

Knows embeddings of images and captions, and which caption describes which image. Must not know files,
words or pictures.

The matrix of scores, images × captions, is never held: it is computed in tiles that fit the processor's
cache, and all that is kept of a tile is how many of its scores reach those of the right pairs. A tile's
captions are those of some tile's images, so that all right pairs lie in the tiles of the diagonal; these
come first. A right pair's score is read from its tile, from the same product as its rivals', or rounding
would decide ties.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import torch
from torch import Tensor

from m5utils import products

IMAGES, CAPTIONS = 512, 2560  # of a tile, at most (an image with more captions has a tile of its own)


@dataclass(frozen=True)
class PairRanks:
    """What one pass over the scores tells about every caption and its image; from it follows all else.

    Attributes:
        image_of: (n_captions,) int64, the image that a caption describes.
        captions_at_least: (n_captions,) int64: how many captions score at least as high for that image as
            this one, itself included.
        images_at_least: (n_captions,) int64: how many images score at least as high for this caption as
            its own, that one included.
    """

    image_of: np.ndarray
    captions_at_least: np.ndarray
    images_at_least: np.ndarray


@torch.no_grad()
def of_pairs(images: Tensor, captions: Tensor, image_of: np.ndarray) -> PairRanks:
    """Rank all captions for every image and all images for every caption, exactly, in bounded memory.

    Args:
        images: Embeddings (n_images, dim); the score of a pair is the inner product: normalise them
            for cosine.
        captions: Embeddings (n_captions, dim).
        image_of: (n_captions,) the image that each caption describes. An image may have any number of
            captions; one that has none is only a rival to the others.

    Returns:
        Counts that do not depend on the number of threads. Beside the inputs (and a sorted copy of the
        captions, if they are not sorted by image) it takes a few tiles of memory.

    Raises:
        ValueError: If shapes do not fit, `image_of` points outside the images, or a row holds NaN or Inf.

    Example:
        >>> found = of_pairs(torch.eye(2), torch.tensor([[0.9, 0.1], [0.8, 0.6]]), np.array([0, 1]))
        >>> found.captions_at_least, found.images_at_least
        (array([1, 1]), array([1, 2]))
    """
    image_of = _checked(images, captions, image_of)
    order = np.argsort(image_of, kind="stable")
    in_order = bool((order == np.arange(len(order))).all())
    tiles = _Tiles(images, captions if in_order else captions[torch.from_numpy(order)], image_of[order])
    number, n_captions = range(len(tiles.firsts) - 1), len(captions)
    right = np.empty(n_captions, dtype=np.float32)
    workers = products.workers(len(number), images.device)

    def count(tiles_of_share: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        counted = _Counted(tiles, right)
        for of_images, of_captions in tiles_of_share:
            counted.add(of_images, of_captions)
        return counted.of_rows, counted.of_columns

    diagonal = [(tile, tile) for tile in number]
    others = [(rows, tile) for tile in number for rows in number if rows != tile]
    parts = [
        part
        for cells in (diagonal, others)
        for part in products.in_threads(count, [cells[worker::workers] for worker in range(workers)])
    ]
    at_least = np.empty((2, n_captions), dtype=np.int64)
    at_least[:, order] = np.sum(parts, axis=0)
    return PairRanks(image_of, at_least[0], at_least[1])


class _Tiles:
    """Images and captions (sorted by image), cut so that a tile's captions are those of its images."""

    def __init__(self, images: Tensor, captions: Tensor, image_of: np.ndarray) -> None:
        self.images, self.captions, self.image_of = images.float(), captions.float(), image_of
        self.first_caption = np.searchsorted(image_of, np.arange(len(images) + 1))
        firsts = [0]
        while firsts[-1] < len(images):
            first = firsts[-1]
            fits = np.searchsorted(self.first_caption, self.first_caption[first] + CAPTIONS, side="right") - 1
            firsts.append(int(min(max(fits, first + 1), first + IMAGES, len(images))))
        self.firsts: Sequence[int] = firsts
        # Every tile is padded to one shape: the shape decides the kernel, and the kernel the last digit.
        self.most_images = products.round_up(max(np.diff(firsts)), products.PADDING)
        self.most_captions = products.round_up(max(np.diff(self.first_caption[firsts])), products.PADDING)

    def of_images(self, tile: int) -> slice:
        """Which images."""
        return slice(self.firsts[tile], self.firsts[tile + 1])

    def of_captions(self, tile: int) -> slice:
        """Which captions."""
        return slice(*(int(self.first_caption[self.firsts[number]]) for number in (tile, tile + 1)))


class _Counted:
    """One thread's buffers and counts."""

    def __init__(self, tiles: _Tiles, right: np.ndarray) -> None:
        self.tiles, self.right = tiles, right
        self.of_rows, self.of_columns = (np.zeros(len(right), dtype=np.int64) for _ in range(2))
        dim, device = tiles.images.shape[1], tiles.images.device
        self.left = torch.zeros(tiles.most_images, dim, device=device)
        self.above = torch.zeros(tiles.most_captions, dim, device=device)
        self.scores = torch.empty(tiles.most_images, tiles.most_captions, device=device)

    def add(self, of_images: int, of_captions: int) -> None:
        """Count one tile; one of the diagonal gives the scores of its right pairs first."""
        tiles = self.tiles
        rows, columns = tiles.of_images(of_images), tiles.of_captions(of_captions)
        left, above = _padded(tiles.images[rows], self.left), _padded(tiles.captions[columns], self.above)
        scores = products.multiply(left, above, out=self.scores)
        own = tiles.of_captions(of_images)
        row_of = tiles.image_of[own] - rows.start
        if of_images == of_captions:
            places = torch.from_numpy(row_of), torch.arange(len(row_of))
            self.right[own] = scores.cpu()[places].numpy()
        real = columns.stop - columns.start, rows.stop - rows.start
        reached, counts = (
            (self.right[own], self.right[columns]),
            (self.of_rows[own], self.of_columns[columns]),
        )
        if scores.device.type == "cpu":
            _count(scores.numpy(), *real, row_of, *reached, *counts)
        else:
            _count_anywhere(scores, *real, row_of, *reached, *counts)


def _padded(rows: Tensor, buffer: Tensor) -> Tensor:
    """These rows, followed by zeros; they themselves if they are as many as the buffer has."""
    if len(rows) == len(buffer) and rows.is_contiguous():
        return rows
    buffer[: len(rows)] = rows
    buffer[len(rows) :] = 0
    return buffer


@numba.njit(nogil=True, cache=True)
def _count(scores, n_columns, n_rows, row_of, own, other, of_rows, of_columns):  # noqa: ANN001, ANN202
    """Add, for every right pair, how many scores of its row, and of its column, reach its own.

    Args:
        scores: A tile (most_images, most_captions), of which n_rows × n_columns are real.
        n_columns: Captions of this tile.
        n_rows: Images of this tile.
        row_of: (n_own,) the row of each caption of these images, wherever its own column is.
        own: (n_own,) the score of each of them with its image.
        other: (n_columns,) the score of each caption of this tile with its image.
        of_rows: (n_own,) counts to add to.
        of_columns: (n_columns,) counts to add to.
    """
    in_column = np.zeros(n_columns, dtype=np.int32)  # as wide as the scores: compared and added together
    pair = 0
    for row in range(n_rows):
        line = scores[row]
        for column in range(n_columns):
            in_column[column] += np.int32(line[column] >= other[column])
        while pair < len(row_of) and row_of[pair] == row:
            reached, count = own[pair], np.int32(0)
            for column in range(n_columns):
                count += np.int32(line[column] >= reached)
            of_rows[pair] += count
            pair += 1
    for column in range(n_columns):
        of_columns[column] += in_column[column]


def _count_anywhere(
    scores: Tensor,
    n_columns: int,
    n_rows: int,
    row_of: np.ndarray,
    own: np.ndarray,
    other: np.ndarray,
    of_rows: np.ndarray,
    of_columns: np.ndarray,
) -> None:
    """The same as `_count`, in operations that run on a GPU."""
    scores = scores[:n_rows, :n_columns]
    rows = scores[torch.from_numpy(row_of).to(scores.device)]
    reached = rows >= torch.from_numpy(own).to(scores.device)[:, None]
    of_rows += reached.sum(dim=1).cpu().numpy()
    of_columns += (scores >= torch.from_numpy(other).to(scores.device)).sum(dim=0).cpu().numpy()


# ---- what follows from the counts ----


def image_to_text(found: PairRanks, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
    """Metrics of every image that has captions, as a query for them.

    Args:
        found: Of `of_pairs`.
        ks: Cut-offs.

    Returns:
        Metric name to (n_query,) float64: "recall@k" is the papers' R@K, 1.0 if one of the image's captions
        is among the first k; "rank" counts from 1 and is the first caption's; "map" is over the whole
        gallery; "map@5" is what peers print: the mean, over the hits among the first five, of the precision
        down to them. Ties count against the query, but for "map", which takes one threshold per tie.
    """
    return _metrics(found.image_of, found.captions_at_least, ks)


def text_to_image(found: PairRanks, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
    """Metrics of every caption as a query for its one image: keys as of `image_to_text`.

    With one right answer "map" is the mean reciprocal rank.
    """
    return _metrics(np.arange(len(found.image_of)), found.images_at_least, ks)


def recall_sum(there: dict[str, np.ndarray], back: dict[str, np.ndarray]) -> float:
    """R@1 + R@5 + R@10 of both directions, from 0 to 6, of what `image_to_text` and `text_to_image` give."""
    return float(sum(values[f"recall@{k}"].mean() for values in (there, back) for k in (1, 5, 10)))


def chance(
    image_of: np.ndarray, n_images: int, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, dict[str, float]]:
    """What a random order of the gallery gives on average: direction to "recall@k" and "rank".

    Args:
        image_of: (n_captions,) the image that each caption describes.
        n_images: Images in the gallery, described or not.
        ks: Cut-offs.

    With R right ones out of N: E[hit among k] = 1 - C(N - R, k) / C(N, k), E[first rank] = (N + 1) / (R + 1).
    """
    n_right = np.bincount(image_of, minlength=n_images)
    return {
        "image_to_text": _chance(n_right[n_right > 0], len(image_of), ks),
        "text_to_image": _chance(np.ones(1), n_images, ks),
    }


def _metrics(query_of: np.ndarray, at_least: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Metrics of every query, from how many items score at least as high as each of its right ones."""
    order = np.lexsort((at_least, query_of))
    query_of, at_least = query_of[order], at_least[order]
    starts = np.flatnonzero(np.r_[True, query_of[1:] != query_of[:-1]])
    sizes = np.diff(np.r_[starts, len(query_of)])
    number = np.arange(len(query_of)) - np.repeat(starts, sizes)  # 0 for a query's best right one
    ends_tie = np.r_[(query_of[1:] != query_of[:-1]) | (at_least[1:] != at_least[:-1]), True]
    last = np.flatnonzero(ends_tie)[np.cumsum(np.r_[False, ends_tie[:-1]])]
    right_at_least = number[last] + 1
    position = at_least - right_at_least + number + 1  # from 1, wrong ones of a tie before the right ones

    def mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), starts) / np.maximum(counts, 1)

    first = position[starts]
    values = {f"recall@{k}": (first <= k).astype(np.float64) for k in ks}
    among_five = position <= 5
    hits = np.add.reduceat(among_five.astype(np.int64), starts)
    return values | {
        "rank": first.astype(np.float64),
        "map": mean(right_at_least / at_least, sizes),
        "map@5": mean(among_five * (number + 1) / position, hits),
    }


def _chance(n_right: np.ndarray, n_gallery: int, ks: Sequence[int]) -> dict[str, float]:
    values = {}
    for k in ks:
        taken = np.arange(min(k, n_gallery))[:, None]
        missed = np.clip((n_gallery - n_right - taken) / (n_gallery - taken), 0, None).prod(axis=0)
        values[f"recall@{k}"] = float((1 - missed).mean())
    return values | {"rank": float(((n_gallery + 1) / (n_right + 1)).mean())}


def _checked(images: Tensor, captions: Tensor, image_of: np.ndarray) -> np.ndarray:
    if images.ndim != 2 or captions.ndim != 2 or images.shape[1] != captions.shape[1]:
        raise ValueError(
            "expected images (n_images, dim) and captions (n_captions, dim); "
            f"got {tuple(images.shape)} and {tuple(captions.shape)}"
        )
    image_of = np.asarray(image_of)
    if image_of.shape != (len(captions),) or image_of.dtype.kind not in "iu" or not len(captions):
        raise ValueError(
            f"expected image_of with one whole number for each of {len(captions)} captions, at least one; "
            f"got {image_of.dtype} of shape {image_of.shape}"
        )
    outside = np.flatnonzero((image_of < 0) | (image_of >= len(images)))
    if len(outside):
        raise ValueError(
            f"caption {outside[0]} describes image {image_of[outside[0]]}: expected 0 to {len(images) - 1}"
        )
    products.check_finite(images, "images")
    products.check_finite(captions, "captions")
    return image_of.astype(np.int64)
