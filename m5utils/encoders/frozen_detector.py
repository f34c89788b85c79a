"""A detector on a frozen image encoder: a Faster R-CNN that sees two of the encoder's maps.

For a machine without COCO's detectors: what lies above the maps is small enough to be trained in a minute,
see `detection.fit`. Knows networks. Must not know datasets, caches or boxes that somebody drew.
Reference: Ren, He, Girshick, Sun, "Faster R-CNN", NeurIPS 2015; the two maps are joined as in Lin et al.,
"Feature pyramid networks", CVPR 2017.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from m5utils import paths
from m5utils.encoders import boxes, image
from m5utils.encoders.image import ImageEncoder

WIDTH, HIDDEN = 128, 256  # channels of the joined map, numbers of a box
ANCHORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # sides, as parts of the picture's
PROPOSALS = 100


class DetectorMaps(nn.Module):
    """What the detector's trained part takes, as an encoder: both maps of the whole picture, side by side.

    Attributes:
        encoder: The frozen network.
        shapes: Of the lower and of the upper map, (channels, h, w).
        dim: Numbers of both.
    """

    dtype = torch.float16

    def __init__(self, encoder: ImageEncoder) -> None:
        """Keep the encoder, and see what shapes its maps have."""
        super().__init__()
        self.encoder = encoder
        pixels = torch.zeros(1, 3, encoder.size, encoder.size, dtype=torch.uint8)
        with torch.inference_mode():
            lower = encoder.maps(pixels)
            self.shapes = lower.shape[1:], encoder.upper(lower).shape[1:]
        self.dim = sum(shape.numel() for shape in self.shapes)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The whole RGB picture as (3, size, size) uint8, see `boxes.whole_picture`."""
        return boxes.whole_picture(picture, self.encoder.size, self.encoder.mean)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) float16: both maps, flattened."""
        lower = self.encoder.maps(pixels)
        both = lower, self.encoder.upper(lower)
        return torch.cat([maps.contiguous().flatten(1) for maps in both], dim=1).to(self.dtype)

    def unflattened(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The lower and the upper maps (n, channels, h, w) float32, from the rows that were stored."""
        parts = values.float().split([shape.numel() for shape in self.shapes], dim=1)
        lower, upper = (part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True))
        return lower, upper

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder.name} maps of whole pictures at {self.encoder.size} px"

    def settings(self) -> dict[str, object]:
        """The encoder's, and what is kept of it."""
        code = paths.code_key(image, boxes, sys.modules[__name__])
        return self.encoder.settings() | {"part": "both maps", "code": code}


@dataclass(frozen=True)
class Scenes:
    """Maps of n pictures and the objects in them.

    Attributes:
        source: The encoder that made the maps.
        maps: (n, dim) float16, its rows.
        boxes: Of each picture (n_objects, 5): place of the category, x, y, width, height in pixels of the
            square that `source` looks at.
        n_categories: How many there are.
        key: Names the content of the maps.
    """

    source: DetectorMaps
    maps: Tensor
    boxes: Sequence[np.ndarray]
    n_categories: int
    key: str


class JoinedMaps(nn.Module):
    """The detector's backbone: the lower map, and what the upper one says at the same place.

    Attributes:
        encoder: The frozen network.
        of_lower, of_upper: 1×1 convolutions, trained.
        out_channels: `WIDTH`.
    """

    out_channels = WIDTH

    def __init__(self, encoder: ImageEncoder) -> None:
        """Two convolutions above an encoder that stays as it is."""
        super().__init__()
        self.encoder = encoder
        lower, upper = (shape[0] for shape in DetectorMaps(encoder).shapes)
        self.of_lower, self.of_upper = nn.Conv2d(lower, WIDTH, 1), nn.Conv2d(upper, WIDTH, 1)

    def joined(self, lower: Tensor, upper: Tensor) -> dict[str, Tensor]:
        """The one level (n, WIDTH, h, w) that everything behind it sees."""
        above = functional.interpolate(self.of_upper(upper), size=lower.shape[-2:], mode="bilinear")
        return {"0": functional.relu(self.of_lower(lower) + above)}

    def forward(self, scaled: Tensor) -> dict[str, Tensor]:
        """The level of pixels (n, 3, h, w) that are scaled as the encoder wants them."""
        lower = self.encoder.lower(scaled)
        return self.joined(lower, self.encoder.upper(lower))


class RoIAlignAsProducts(MultiScaleRoIAlign):
    """RoIAlign of one level as two products per picture: numbers along rows, then along columns.

    Bilinear sampling is separable, and a box's samples along one side are a few rows of hat functions. The
    numbers are torchvision's; its gradient is added up on one thread when there is no GPU, and was six
    tenths of a training step. Reference: He, Gkioxari, Dollár, Girshick, "Mask R-CNN", ICCV 2017, section 3.
    """

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """(n_boxes, channels, size, size) of one level (n, channels, h, w), as `MultiScaleRoIAlign`."""
        (level,) = x.values()
        per_pixel = level.shape[-1] / image_shapes[0][1]
        pooled = []
        for maps, corners in zip(level, boxes, strict=True):
            left, top, right, bottom = (corners * per_pixel).T
            across = self._weights(left, right, maps.shape[2])
            columns = torch.einsum("cyx,bjx->bycj", maps, across)
            pooled.append(torch.einsum("biy,bycj->bicj", self._weights(top, bottom, maps.shape[1]), columns))
        return torch.cat(pooled).transpose(1, 2)

    def _weights(self, start: Tensor, end: Tensor, n_cells: int) -> Tensor:
        """(n_boxes, size, n_cells): what each cell of the map counts for in each part of a side."""
        samples = self.output_size[0] * self.sampling_ratio
        parts = (torch.arange(samples, device=start.device) + 0.5) / samples
        places = start[:, None] + (end - start).clamp(min=1)[:, None] * parts
        cells = torch.arange(n_cells, device=start.device)
        hats = (1 - (places.clamp(0, n_cells - 1)[..., None] - cells).abs()).clamp(min=0)
        return (hats * (places <= n_cells)[..., None]).unflatten(1, (-1, self.sampling_ratio)).mean(2)


class BoxesOfMaps(boxes.BoxEncoder):
    """The descriptors of a `BoxEncoder`, from the cached maps that its detector was trained on.

    Attributes:
        source: The encoder that makes the maps.
    """

    def __init__(self, detector: FasterRCNN) -> None:
        """Take a detector that `detection.fit` has trained."""
        encoder = detector.backbone.encoder
        super().__init__(f"Faster R-CNN on {encoder.name}", encoder.size, detector)
        self.source = DetectorMaps(encoder)

    def forward(self, values: Tensor) -> Tensor:
        """(n, dim) vectors of the rows that `source` made."""
        return self.described(self.backbone.joined(*self.source.unflattened(values)))


def untrained(encoder: ImageEncoder, n_categories: int) -> FasterRCNN:
    """A Faster R-CNN whose backbone is frozen and whose other weights are random: see `detection.fit`.

    Args:
        encoder: The frozen network; its size is the side of the square that pictures are fitted into.
        n_categories: Without the background.
    """
    mean, deviation = ((buffer.flatten() / 255).tolist() for buffer in (encoder.mean, encoder.deviation))
    sizes = tuple(round(part * encoder.size) for part in ANCHORS)
    return FasterRCNN(
        JoinedMaps(encoder),
        min_size=encoder.size,
        max_size=encoder.size,
        image_mean=mean,
        image_std=deviation,
        rpn_anchor_generator=AnchorGenerator((sizes,), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=2 * PROPOSALS,
        rpn_pre_nms_top_n_test=2 * PROPOSALS,
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=32,
        box_roi_pool=RoIAlignAsProducts(["0"], output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(WIDTH * 7 * 7, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, n_categories + 1),
    )
