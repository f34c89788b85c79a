"""Several views of a picture: its corners and its centre, each also mirrored, averaged; or its mirror image.

Knows encoders of squares. Must not know which network they are, nor datasets, caches or labels.
Slides: structure-preserving embeddings, "Image feature extraction".
"""

import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from m5utils import paths

PART = 7 / 8  # of each side of the picture: 224 of 256 pixels, once it is resized to that square
PLACES = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))  # of the crop in the room that is left


class TenCrops(nn.Module):
    """An encoder that looks ten times.

    Attributes:
        encoder: Of one square; any that takes (n, 3, size, size) uint8 pixels.
        size: Side length of a crop, in pixels.
        dim: Length of a vector, the encoder's.
    """

    dtype = torch.float32

    def __init__(self, encoder: nn.Module) -> None:
        """Keep the encoder; one that averages mirror images by itself would do it twice."""
        super().__init__()
        self.encoder, self.size, self.dim = encoder, encoder.size, encoder.dim

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The five crops of an RGB picture as (5, 3, size, size) uint8; each is squeezed into a square."""
        (width, height), crops = picture.size, []
        for across, down in PLACES:
            left, top = across * (1 - PART) * width, down * (1 - PART) * height
            box = (left, top, left + PART * width, top + PART * height)
            crop = picture.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
            crops.append(torch.from_numpy(np.asarray(crop).copy()).permute(2, 0, 1))
        return torch.stack(crops)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of (n, 5, 3, size, size) uint8 pixels; one crop of the n at a time."""
        views = [view for crop in pixels.unbind(1) for view in (crop, crop.flip(3))]
        return sum(self.encoder(view) for view in views) / len(views)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder}, ten crops"

    def settings(self) -> dict[str, object]:
        """The encoder's, and how the crops are made of a picture."""
        return self.encoder.settings() | {"crops": paths.code_key(sys.modules[__name__])}


class Mirrored(nn.Module):
    """An encoder that sees every picture in a mirror: the other half of a mean over both.

    `ImageEncoder(flip=True)` gives the mean itself and encodes the picture, too, which the cache may hold.

    Attributes:
        encoder: Of one square.
        size: Its.
        dim: Its.
    """

    dtype = torch.float32

    def __init__(self, encoder: nn.Module) -> None:
        """Keep the encoder."""
        super().__init__()
        self.encoder, self.size, self.dim = encoder, encoder.size, encoder.dim

    def preprocess(self, picture: Image.Image) -> Tensor:
        """What the encoder takes of the picture, from right to left."""
        return self.encoder.preprocess(picture).flip(-1)

    def forward(self, pixels: Tensor) -> Tensor:
        """The encoder's vectors of these pixels."""
        return self.encoder(pixels)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder}, mirrored"

    def settings(self) -> dict[str, object]:
        """The encoder's, and that it looks into a mirror."""
        return self.encoder.settings() | {"mirrored": paths.code_key(sys.modules[__name__])}
