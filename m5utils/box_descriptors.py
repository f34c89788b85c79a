"""Boxes of pictures as vectors: a picture goes through the frozen network once, boxes are cut from its maps.

Knows encoders by name, the cache, phrases and their boxes. Must not know words, heads or metrics.
Slides: structure-preserving embeddings, "Phrase localization".
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from m5utils import embeddings, localisation
from m5utils.datasets.entities import PhrasedImages
from m5utils.encoders import regions
from m5utils.encoders.frozen_detector import DetectorMaps
from m5utils.runtime import Profile

SIZE = 224  # pixels of the square that a whole picture is fitted into
NOTHING, EMPTY = "nothing", 0.3  # what is said of a window that overlaps every box by less


def source(profile: Profile) -> DetectorMaps:
    """What makes the maps that boxes are cut from.

    Raises:
        FileNotFoundError: If the network's weights are missing; there are never random ones.
    """
    return DetectorMaps(embeddings.encoder_named(profile.image_encoder, SIZE))


def of_phrases(maps: DetectorMaps, listed: PhrasedImages) -> Iterator[Tensor]:
    """Of each picture (n_phrases of it, dim) float32: the boxes that its phrases name.

    Args:
        maps: Of `source`.
        listed: n readable images.
    """
    first = np.searchsorted(listed.image_of, np.arange(1, len(listed)))
    return _pooled(maps, listed, np.split(listed.boxes, first))


def of_windows(maps: DetectorMaps, listed: PhrasedImages, windows: np.ndarray) -> Iterator[Tensor]:
    """Of each picture (n_windows, dim) float32: the same windows everywhere.

    Args:
        maps: Of `source`.
        listed: n readable images.
        windows: (n_windows, 4) left, top, width, height, parts of a picture's sides, see `localisation`.
    """
    return _pooled(maps, listed, [windows * np.tile(size, 2) for size in listed.sizes])


def _pooled(maps: DetectorMaps, listed: PhrasedImages, boxes: list[np.ndarray]) -> Iterator[Tensor]:
    return regions.pooled(maps, embeddings.encode(maps, listed).values, listed.sizes, boxes)


def with_windows(
    listed: PhrasedImages, windows: np.ndarray, near: int = 2, empty: int = 4, seed: int = 0
) -> PhrasedImages:
    """Phrases to learn from, with more boxes: windows that fit a phrase, and windows that show nothing.

    A phrase's own box is tighter than any window, and whoever has seen things alone takes a piece of sky for
    one of them: so the phrase is said of its best windows, too, and "nothing" of some that overlap no box.

    Args:
        listed: Pictures of train, their phrases and boxes.
        windows: As `of_windows`.
        near: Of each phrase that many, at most; those whose overlap is enough, see `localisation.recall`.
        empty: Of each picture that many, at most, drawn at random.
        seed: Of the draw.

    Returns:
        The same pictures; those of a picture one after the other, its own phrases first.
    """
    pixels = listed.sizes[listed.image_of]
    overlap = localisation.overlaps(listed.boxes, pixels, windows)
    draw, phrases, image_of, boxes = np.random.default_rng(seed), [], [], []
    for image, size in enumerate(listed.sizes):
        own = np.flatnonzero(listed.image_of == image)
        best = np.argsort(-overlap[own], axis=1, kind="stable")[:, :near]
        fits = np.take_along_axis(overlap[own], best, axis=1) >= localisation.ENOUGH
        free = np.flatnonzero(overlap[own].max(axis=0) < EMPTY)
        free = draw.permutation(free)[:empty]
        said = [*own, *np.repeat(own, fits.sum(axis=1))]
        phrases += [listed.phrases[one] for one in said] + [NOTHING] * len(free)
        boxes += [listed.boxes[own], windows[best[fits]] * np.tile(size, 2), windows[free] * np.tile(size, 2)]
        image_of += [image] * (len(said) + len(free))
    return replace(
        listed, phrases=tuple(phrases), image_of=np.array(image_of, np.int64), boxes=np.concatenate(boxes)
    )
