"""Which gallery items answer which query: from labels to a relevance matrix.

Knows labels. Must not know embeddings, scores or files.
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
