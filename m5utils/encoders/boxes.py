"""What a detector finds as an image encoder: the features of its boxes, and how many of what.

Knows torchvision's detectors. Must not know datasets, caches or relevance. Slides: P4 (e).
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from m5utils.encoders import image
from m5utils.encoders.detectors import OfDetector

DESCRIPTORS = ("mean", "weighted", "max", "histogram")
SURE = 0.5  # boxes that the detector is less sure of are left out


def whole_picture(picture: Image.Image, size: int, mean: Tensor) -> Tensor:
    """The whole RGB picture in the upper left of a (3, size, size) uint8 square of mean colour.

    Nothing is cut off, and boxes are where they were, times size / longer side.
    """
    sides = [max(1, round(size / max(picture.size) * side)) for side in picture.size]
    square = Image.new("RGB", (size, size), tuple(mean.flatten().round().int().tolist()))
    square.paste(picture.resize(sides, Image.Resampling.BICUBIC))
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1)


def in_whole_picture(boxes: np.ndarray, picture: np.ndarray, size: int) -> np.ndarray:
    """Where boxes of a picture lie in its `whole_picture`.

    Args:
        boxes: (n, 5) place of the category, x, y, width, height in the picture's pixels.
        picture: Its width and height.
        size: Side length of the square.

    Returns:
        (n, 5) float64, x, y, width, height in the square's pixels.
    """
    return boxes * np.array([1, *[size / max(picture)] * 4])


def squares(levels: dict[str, Tensor], size: int) -> ImageList:
    """What the part behind the backbone is told of n pictures beside their maps: n squares of this size.

    Their pixels are not asked for any more, and are not there.
    """
    maps = next(iter(levels.values()))
    return ImageList(maps.new_zeros(1).expand(len(maps), 3, size, size), [(size, size)] * len(maps))


class BoxEncoder(OfDetector):
    """From pictures to four descriptors side by side, see `one`, from one run of the detector.

    | descriptor | of the boxes' features |
    |---|---|
    | mean | their mean |
    | weighted | their mean, weighted by how sure the detector is |
    | max | their maximum, number by number |
    | histogram | how many boxes of each category |

    A picture in which nothing is found has zeros for all four. Each picture goes through the part behind the
    backbone alone, so a vector never depends on its batch.

    Attributes:
        size: Side length of the square into which the whole picture is fitted, in pixels.
        width: Length of a box's features.
        n_categories: Of the histogram; category c of the detector (from 1) is place c - 1.
        dim: Of all four descriptors together.
    """

    descriptor = "boxes"

    def __init__(self, name: str, size: int, detector: nn.Module) -> None:
        """Take a whole detector, such as `detectors.trained` gives; its masks are not computed."""
        super().__init__(name, size, detector)
        self.backbone, self.proposals, self.boxes = detector.backbone, detector.rpn, detector.roi_heads
        if self.boxes.has_mask():
            self.boxes.mask_roi_pool = self.boxes.mask_head = self.boxes.mask_predictor = None
        self.n_categories = self.boxes.box_predictor.cls_score.out_features - 1
        self.width = self.boxes.box_predictor.cls_score.in_features
        self.dim = 3 * self.width + self.n_categories
        self.eval().requires_grad_(False)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The whole RGB picture as (3, size, size) uint8, see `whole_picture`."""
        return whole_picture(picture, self.size, self.mean)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of (n, 3, size, size) uint8 pixels."""
        return self.described(self.backbone(image.scaled(pixels, self.mean, self.deviation)))

    def described(self, levels: dict[str, Tensor]) -> Tensor:
        """(n, dim) vectors of the backbone's maps of n pictures, (n, channels, h, w) each."""
        n = len(next(iter(levels.values())))
        of_each = [
            {level: maps[row : row + 1].contiguous() for level, maps in levels.items()} for row in range(n)
        ]
        return torch.stack([self._of_one(maps) for maps in of_each])

    def _of_one(self, maps: dict[str, Tensor]) -> Tensor:
        listed = squares(maps, self.size)
        proposals, _ = self.proposals(listed, maps)
        ((found,), _) = self.boxes(maps, proposals, listed.image_sizes)
        sure = found["scores"] >= SURE
        boxes, scores, labels = (found[key][sure] for key in ("boxes", "scores", "labels"))
        if not len(boxes):
            return listed.tensors.new_zeros(self.dim)
        features = self.boxes.box_head(self.boxes.box_roi_pool(maps, [boxes], listed.image_sizes))
        weighted = (scores[:, None] * features).sum(dim=0) / scores.sum()
        counts = torch.bincount(labels - 1, minlength=self.n_categories)
        return torch.cat([features.mean(dim=0), weighted, features.amax(dim=0), counts])

    def one(self, vectors: Tensor, name: str) -> Tensor:
        """One of `DESCRIPTORS` out of (n, dim) vectors.

        Raises:
            ValueError: If there is no such descriptor.
        """
        if name not in DESCRIPTORS:
            raise ValueError(f"expected a descriptor out of {', '.join(DESCRIPTORS)}; got {name!r}")
        first = self.width * DESCRIPTORS.index(name)
        return vectors[:, first : first + (self.n_categories if name == "histogram" else self.width)]
