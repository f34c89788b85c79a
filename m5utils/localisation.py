"""Where in a picture a phrase is: windows to look through, and whether the first ones are it.

Knows boxes and scores. Must not know phrases, pictures, embeddings or files.
Slides: structure-preserving embeddings, "Phrase localization".

A window is right if it overlaps the phrase's box by half or more of their union. A phrase that no window
overlaps so far is missed at every k: how many are not is the upper bound.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike
from torchvision.ops import box_iou

from m5utils import metrics

ENOUGH = 0.5  # of an overlap


def windows(sides: Sequence[float] = (0.15, 0.3, 0.6), step: float = 0.5) -> np.ndarray:
    """Sliding windows over a picture, which they do not look at: every side by every other, everywhere.

    Args:
        sides: Widths and heights, parts of the picture's.
        step: Between neighbours, at most, in parts of the window's own side; they end at the picture's edges.

    Returns:
        (n, 4) left, top, width, height, parts of the picture's sides; the largest last.

    Raises:
        ValueError: If a side or the step is not in (0, 1].

    Example:
        >>> windows([0.5], step=1.0).tolist()[:2]
        [[0.0, 0.0, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5]]
    """
    if not all(0 < part <= 1 for part in (*sides, step)):
        raise ValueError(f"expected sides and a step above 0, at most 1; got {list(sides)} and {step}")
    found = []
    for width, height in sorted(product(sides, sides), key=lambda shape: shape[0] * shape[1]):
        places = [np.linspace(0, 1 - side, 1 + _steps(side, step)) for side in (width, height)]
        found += [(left, top, width, height) for left, top in product(*places)]
    return np.array(found)


def _steps(side: float, step: float) -> int:
    return int(np.ceil((1 - side) / (side * step) - 1e-9))


def overlaps(boxes: ArrayLike, sizes: ArrayLike, looked_at: ArrayLike) -> np.ndarray:
    """Intersection over union of each phrase's box with every window.

    Args:
        boxes: (n, 4) left, top, width, height in pixels.
        sizes: (n, 2) width and height of the picture that each box is in.
        looked_at: (n_windows, 4) of `windows`.

    Returns:
        (n, n_windows) float64, from 0 to 1.

    Raises:
        ValueError: If shapes do not fit, or a box or picture has no area.

    Example:
        >>> overlaps([[0, 0, 50, 100]], [[100, 100]], [[0, 0, 1, 1], [0.5, 0, 0.5, 1]])
        array([[0.5, 0. ]])
    """
    boxes, sizes, looked_at = (np.asarray(each, dtype=np.float64) for each in (boxes, sizes, looked_at))
    if boxes.shape[1:] != (4,) or sizes.shape != (len(boxes), 2) or looked_at.shape[1:] != (4,):
        raise ValueError(
            f"expected boxes (n, 4), sizes (n, 2) and windows (n_windows, 4); got {boxes.shape}, "
            f"{sizes.shape} and {looked_at.shape}"
        )
    if not ((boxes[:, 2:] > 0).all() and (sizes > 0).all()):
        raise ValueError("expected boxes and pictures with sides above 0 pixels")
    parts = boxes / np.tile(sizes, 2)
    return box_iou(_corners(parts), _corners(looked_at)).numpy()


def _corners(boxes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]))


def recall(scores: ArrayLike, overlap: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[str, np.ndarray]:
    """Whether a right window is among the first k of each phrase.

    Args:
        scores: (n, n_windows), larger = rather there; of equal scores, wrong windows come first.
        overlap: (n, n_windows) of `overlaps`.
        ks: Cut-offs, each from 1 to n_windows.

    Returns:
        "recall@k" to (n,) float64, 0 or 1; and "upper_bound", 1 where any window is right.

    Raises:
        ValueError: As `metrics.reciprocal_rank`, or if a k is out of range.

    Example:
        >>> recall([[0.1, 0.9]], [[0.6, 0.4]], ks=(1, 2))
        {'recall@1': array([0.]), 'recall@2': array([1.]), 'upper_bound': array([1.])}
    """
    scores, right = np.asarray(scores), np.asarray(overlap) >= ENOUGH
    if scores.shape != right.shape:
        raise ValueError(f"expected a score for every overlap, {right.shape}; got {scores.shape}")
    if not all(1 <= k <= right.shape[1] for k in ks):
        raise ValueError(f"expected every k from 1 to {right.shape[1]} windows; got {list(ks)}")
    possible = right.any(axis=1)
    reciprocal = np.zeros(len(right))  # of the first right window's rank; 0 where there is none
    if possible.any():
        reciprocal[possible] = metrics.reciprocal_rank(scores[possible], right[possible])
    hits = {f"recall@{k}": (reciprocal >= 1 / k).astype(np.float64) for k in ks}
    return hits | {"upper_bound": possible.astype(np.float64)}


def chance(overlap: ArrayLike, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """What `recall` gives on average over all orders of the windows, exactly: 1 - C(N - R, k) / C(N, k).

    Example:
        >>> chance([[0.6, 0.4], [0.1, 0.2]], ks=(1,))  # one right window of two; none
        {'recall@1': 0.25}
    """
    right = (np.asarray(overlap) >= ENOUGH).sum(axis=1)
    n = np.shape(overlap)[1]
    values = {}
    for k in ks:
        taken = np.arange(min(k, n))[:, None]
        missed = np.clip((n - right - taken) / (n - taken), 0, None).prod(axis=0)
        values[f"recall@{k}"] = float((1 - missed).mean())
    return values
