"""Parts of a picture as vectors: pooled out of the whole picture's maps, as Fast R-CNN does it.

Knows maps of a frozen encoder and boxes. Must not know datasets, phrases or caches.
Reference: Girshick, "Fast R-CNN", ICCV 2015; He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017.

A picture goes through the network once, however many boxes are looked at: cutting out and encoding each would
cost a few hundred passes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from m5utils.encoders import image
from m5utils.encoders.frozen_detector import DetectorMaps

PLACES = 3  # of a box's maps, each way
SAMPLES = 2  # of the maps in each of these places, each way


@torch.no_grad()
def pooled(
    source: DetectorMaps, values: Tensor, sizes: np.ndarray, boxes: Sequence[np.ndarray]
) -> Iterator[Tensor]:
    """The vectors of the boxes of one picture after the other, see `image.pooled`.

    Args:
        source: What made the maps.
        values: (n, source.dim), its rows.
        sizes: (n, 2) width and height of each picture, pixels.
        boxes: Of each picture (n_boxes, 4): left, top, width, height in pixels, at least one.

    Yields:
        (n_boxes, dim) float32.

    Raises:
        ValueError: If there is not a size and at least one box for every picture.
    """
    if not len(values) == len(sizes) == len(boxes) or not all(map(len, boxes)):
        raise ValueError(
            f"expected a size and at least one box for each of {len(values)} pictures; "
            f"got {len(sizes)} sizes and {[*map(len, boxes)]} boxes"
        )
    for row, (size, of_one) in enumerate(zip(sizes, boxes, strict=True)):
        maps = source.unflattened(values[row : row + 1])
        corners = torch.as_tensor(of_one, dtype=torch.float32).reshape(-1, 4) / float(max(size))
        corners = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1)  # parts of the square
        yield image.pooled(*(_of_boxes(level, corners) for level in maps))


def _of_boxes(maps: Tensor, corners: Tensor) -> Tensor:
    """(n_boxes, channels, PLACES, PLACES) of (1, channels, h, w) maps, as `torchvision.ops.roi_align`.

    Bilinear sampling is separable and linear, and here many boxes look at one picture: what each cell of the
    maps counts for in each place of each box, times the maps, is one product for all channels.
    """
    height, width = maps.shape[2:]
    left, top, right, bottom = corners.T
    down, across = _weights(top, bottom, height), _weights(left, right, width)
    counts = torch.einsum("biy,bjx->bijyx", down, across).flatten(3)  # (n_boxes, PLACES, PLACES, h × w)
    return (counts @ maps[0].flatten(1).T).permute(0, 3, 1, 2)


def _weights(start: Tensor, end: Tensor, n_cells: int) -> Tensor:
    """(n_boxes, PLACES, n_cells): what each cell along a side counts for in each place of a box.

    Args:
        start: (n_boxes,) where it begins, parts of the side.
        end: Where it ends.
        n_cells: Of the maps along this side.
    """
    parts = (torch.arange(PLACES * SAMPLES) + 0.5) / (PLACES * SAMPLES)
    samples = n_cells * (start[:, None] + (end - start)[:, None] * parts) - 0.5  # the middles of cells
    hats = 1 - (samples.clamp(0, n_cells - 1)[..., None] - torch.arange(n_cells)).abs()
    return hats.clamp(min=0).unflatten(1, (PLACES, SAMPLES)).mean(2)
