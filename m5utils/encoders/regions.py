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
from torchvision.ops import roi_align

from m5utils.encoders import image
from m5utils.encoders.frozen_detector import DetectorMaps

PLACES = 3  # of a box's maps, each way


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
    """(n_boxes, channels, PLACES, PLACES) of (1, channels, h, h) maps."""
    return roi_align(maps, [corners * maps.shape[-1]], output_size=PLACES, sampling_ratio=2, aligned=True)
