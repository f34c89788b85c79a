"""What answers what: classes that are the same, objects that are shared, captions that describe an image.

Knows labels and the numbers of images. Must not know embeddings, scores or files.
"""

import numba
import numpy as np
import torch
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


RULES = ("selection", "aggregation", "aggregation_strict", "weighted")


def shared_objects(query_counts: ArrayLike, gallery_counts: ArrayLike, rule: str) -> np.ndarray:
    """How relevant an image is to another, by the objects in both: the three rules of the slides.

    An image is a multiset of categories: how many objects of each it holds. With q and g such counts:

    | rule | relevant if |
    |---|---|
    | selection | a category is in both: Σ [q > 0][g > 0] > 0 |
    | aggregation | every category of the query is there: q > 0 ⟹ g > 0 |
    | aggregation_strict | both have the same categories: q > 0 ⟺ g > 0 |
    | weighted | to the degree Σ min(q, g) / Σ max(q, g), the weighted Jaccard index |

    An image without objects shares nothing with any other, itself included.

    Args:
        query_counts: (n_query, n_categories), whole numbers, not negative.
        gallery_counts: (n_gallery, n_categories).
        rule: One of `RULES`.

    Returns:
        (n_query, n_gallery): bool, but float64 in [0, 1] for "weighted".

    Raises:
        ValueError: If there is no such rule, or counts are not as above.

    Example:
        >>> dog_and_cat, two_dogs = [1, 1], [2, 0]
        >>> shared_objects([dog_and_cat], [two_dogs], "selection")
        array([[ True]])
        >>> shared_objects([dog_and_cat], [two_dogs], "weighted")  # min 1 + 0, max 2 + 1
        array([[0.33333333]])

    Slides: P4 (e), "Selection", "Aggregation", "Weighted aggregation".
    """
    if rule not in RULES:
        raise ValueError(f"expected a rule out of {', '.join(RULES)}; got {rule!r}")
    query, gallery = _counts(query_counts, "query"), _counts(gallery_counts, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"expected the same categories; got {query.shape[1]} and {gallery.shape[1]}")
    if rule == "weighted":
        return _weighted_jaccard(query, gallery)
    has_query, has_gallery = query > 0, gallery > 0
    shared = _in_both(has_query, has_gallery)
    if rule == "selection":
        return shared > 0
    of_query, of_gallery = has_query.sum(axis=1)[:, None], has_gallery.sum(axis=1)
    every = (shared == of_query) & (of_query > 0)
    return every if rule == "aggregation" else every & (of_query == of_gallery)


def _counts(counts: ArrayLike, of: str) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer) or (counts < 0).any():
        raise ValueError(
            f"expected {of} counts (n, n_categories), whole numbers from 0; got {counts.dtype} {counts.shape}"
        )
    return counts


def _in_both(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(n_query, n_gallery) float32: how many columns both have; whole numbers, exact.

    Torch's product: NumPy's would bring threads of its own, and a training step would wait for both kinds.
    """
    has_query, has_gallery = (torch.from_numpy(has).float() for has in (query, gallery))
    return (has_query @ has_gallery.T).numpy()


def _weighted_jaccard(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Σ min / Σ max, the latter as the sum of both counts without what is shared."""
    query, by_category = query.astype(np.int32), np.ascontiguousarray(gallery.T, dtype=np.int32)
    degrees = np.empty((len(query), len(gallery)))
    _shared(query, by_category, query.sum(axis=1), by_category.sum(axis=0), degrees)
    return degrees


@numba.njit(nogil=True, cache=True)
def _shared(query, by_category, n_query, n_gallery, degrees):  # noqa: ANN001, ANN202
    """Fill in (n_query, n_gallery) degrees; a query looks at its own categories alone."""
    smaller = np.empty(by_category.shape[1], dtype=np.int32)
    for row in range(len(query)):
        smaller[:] = 0
        for category in range(len(by_category)):
            own = query[row, category]
            if own > 0:
                for column in range(len(smaller)):
                    smaller[column] += min(own, by_category[category, column])
        for column in range(len(smaller)):
            larger = n_query[row] + n_gallery[column] - smaller[column]
            degrees[row, column] = smaller[column] / max(larger, 1)


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
