"""What answers what: classes that are the same, captions that describe an image.

Knows labels and the numbers of images. Must not know embeddings, scores or files.
"""

import numpy as np
from numpy.typing import ArrayLike


def same_class(query_labels: ArrayLike, gallery_labels: ArrayLike) -> np.ndarray:
    """Relevance of a labelled gallery: an item answers a query of its own class.

    Args:
        query_labels: Class of every query (n_query,).
        gallery_labels: Class of every gallery item (n_gallery,).

    Returns:
        (n_query, n_gallery) bool.

    Raises:
        ValueError: If labels are not one per item, or a query's class is absent from the gallery: no
            ranking could answer it (the class and the first such query are named).

    Example:
        >>> same_class([0, 1], [1, 0, 1])
        array([[False,  True, False],
               [ True, False,  True]])
    """
    query, gallery = np.asarray(query_labels), np.asarray(gallery_labels)
    if query.ndim != 1 or gallery.ndim != 1:
        raise ValueError(
            f"expected labels (n_query,) and (n_gallery,); got {query.shape} and {gallery.shape}"
        )
    absent = ~np.isin(query, gallery)
    if absent.any():
        first = int(absent.argmax())
        raise ValueError(
            f"query {first} is of class {query[first]}, which no gallery item has "
            f"({int(absent.sum())} such queries): put that class into the gallery or leave these queries out"
        )
    return query[:, None] == gallery


def captions_of(image_of: np.ndarray, images: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The captions of some images, those of an image together, images in the order they are given.

    Args:
        image_of: (n_captions,) the image each caption describes, sorted.
        images: (n,) numbers of images.

    Returns:
        Where these captions stand, and the place in `images` of the one that each describes; both int64.

    Example:
        >>> captions_of(np.array([0, 0, 1, 2]), [2, 0])
        (array([3, 0, 1]), array([0, 1, 1]))
    """
    images = np.asarray(images, dtype=np.int64)
    first, last = np.searchsorted(image_of, images), np.searchsorted(image_of, images, side="right")
    place = np.repeat(np.arange(len(images)), last - first)
    before = np.cumsum(last - first) - (last - first)
    return first[place] + np.arange(len(place)) - before[place], place
