"""R-MAC: the strongest answers of a network in regions of three sizes, whitened and summed.

Knows feature maps and the encoders of `image`. Must not know datasets, caches or labels.
Slides: Gordo and Larlus, CVPR 2017, "Experiments: Implementation".
"""

import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from m5utils import paths
from m5utils.encoders import image
from m5utils.encoders.image import ImageEncoder

LEVELS, OVERLAP = 3, 0.4
SMALLEST = 1e-6  # part of the largest variance: a direction below it is rounding

Region = tuple[int, int, int]  # top, left, side


def regions(height: int, width: int, levels: int = LEVELS) -> list[Region]:
    """Squares that cover a map at several sizes; neighbours of the largest share about 40 %.

    At level l the side is 2 · min(height, width) / (l + 1), and l squares stand along the shorter side.

    Args:
        height: Of the map.
        width: Of the map.
        levels: How many sizes.

    Raises:
        ValueError: If the map is too small: the last level's squares would be empty.

    Example:
        >>> regions(4, 4, levels=2)
        [(0, 0, 4), (0, 0, 2), (0, 2, 2), (2, 0, 2), (2, 2, 2)]

    Reference: Tolias, Sicre, Jégou, "Particular object retrieval with integral max-pooling", ICLR 2016.
    """
    short, long = min(height, width), max(height, width)
    if levels < 1 or 2 * short < levels + 1:
        raise ValueError(
            f"expected a map of at least {(levels + 2) // 2} places each way; got {height} × {width}"
        )
    more = 0
    if long > short:  # so many more along the longer side that neighbours share about `OVERLAP`
        steps = np.arange(1, 7)
        more = int(np.abs(1 - (long - short) / steps / short - OVERLAP).argmin()) + 1
    found = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        down, across = (level + more * (length > short) for length in (height, width))
        found += [
            (top, left, side)
            for top in _spread(height - side, down)
            for left in _spread(width - side, across)
        ]
    return found


def _spread(room: int, n: int) -> list[int]:
    """`n` starts from 0 to `room`, evenly."""
    return [room * k // (n - 1) for k in range(n)] if n > 1 else [0]


def pooled_regions(maps: Tensor, levels: int = LEVELS) -> Tensor:
    """The maximum of every channel in every region, each region's vector divided by its length.

    Args:
        maps: (n, channels, h, w).
        levels: See `regions`.

    Returns:
        (n, n_regions, channels); a region without any answer stays zeros.
    """
    found = [
        maps[:, :, top : top + side, left : left + side].amax(dim=(2, 3))
        for top, left, side in regions(*maps.shape[2:], levels)
    ]
    return functional.normalize(torch.stack(found, dim=1), dim=2)


class Whitening(nn.Module):
    """Rotates region vectors to the axes on which they vary, and gives each axis the variance 1."""

    def __init__(self, in_dim: int, dim: int) -> None:
        """Room for a mean and a projection; `whitening` fills them."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("projection", torch.zeros(dim, in_dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., in_dim) vectors to (..., dim)."""
        return (vectors - self.mean) @ self.projection.T


def whitening(vectors: Tensor, dim: int) -> Whitening:
    """PCA whitening of region vectors, learned without a label.

    `heads.whitening` is for fewer images than dimensions: it takes an n × n matrix and standardises first.
    Of regions there are ten thousands, so this one takes the dimensions' covariance.

    Args:
        vectors: (n, in_dim) region vectors, of images to learn from.
        dim: How many axes are kept, those that vary most. Axes beyond what the vectors span, because they
            are too few, stay zeros.

    Raises:
        ValueError: If `dim` is not from 1 to in_dim.

    Reference: Jégou, Chum, ECCV 2012.
    """
    n, in_dim = vectors.shape
    if not 1 <= dim <= in_dim:
        raise ValueError(f"expected 1 <= dim <= {in_dim}, the channels; got {dim}")
    values = vectors.double()
    mean = values.mean(dim=0)
    variance, axes = torch.linalg.eigh((values - mean).T @ (values - mean) / max(n - 1, 1))  # ascending
    spanned = variance[-dim:] > SMALLEST * variance[-1].clamp_min(1e-300)
    scale = torch.where(spanned, variance[-dim:], torch.inf).rsqrt()
    learned = Whitening(in_dim, dim)
    learned.mean.copy_(mean)
    learned.projection.copy_((axes[:, -dim:] * scale).flip(1).T)
    return learned


def rmac(maps: Tensor, white: Whitening | nn.Identity, levels: int = LEVELS) -> Tensor:
    """One vector per picture: regions' maxima, divided by their lengths, whitened, again, summed, again.

    Args:
        maps: (n, channels, h, w).
        white: What `whitening` has learned, or the identity for R-MAC as it is.
        levels: See `regions`.

    Returns:
        (n, dim) rows of length 1.

    Reference: Tolias, Sicre, Jégou, ICLR 2016.
    """
    vectors = functional.normalize(white(pooled_regions(maps, levels)), dim=2)
    return functional.normalize(vectors.sum(dim=1))


class RegionEncoder(nn.Module):
    """The region vectors of a picture side by side: what whitening is learned from."""

    dtype = torch.float16

    def __init__(self, encoder: ImageEncoder) -> None:
        """Keep the encoder whose last map is pooled."""
        super().__init__()
        self.encoder = encoder
        self.channels = _map_of(encoder).shape[1]
        self.dim = pooled_regions(_map_of(encoder)).numel()

    def preprocess(self, picture: Image.Image) -> Tensor:
        """As the encoder's."""
        return self.encoder.preprocess(picture)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, n_regions × channels) float16 of (n, 3, size, size) uint8 pixels."""
        return pooled_regions(self.encoder.features(pixels)).flatten(1).to(self.dtype)

    def vectors(self, rows: Tensor) -> Tensor:
        """(n × n_regions, channels) float32 region vectors of the rows that `forward` gave."""
        return rows.float().reshape(-1, self.channels)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder.name} regions at {self.encoder.size} px"

    def settings(self) -> dict[str, object]:
        """The encoder's, and how its last map is pooled."""
        return {
            **self.encoder.settings(),
            "pooling": ["regions", LEVELS, OVERLAP],
            "code": paths.code_key(image, sys.modules[__name__]),
        }


class RMacEncoder(nn.Module):
    """An encoder whose last map is pooled by R-MAC, whatever its backbone."""

    dtype = torch.float32

    def __init__(self, encoder: ImageEncoder, white: Whitening) -> None:
        """Keep the encoder and what `whitening` has learned on its regions."""
        super().__init__()
        self.encoder, self.white = encoder, white.requires_grad_(False)
        self.dim = len(white.projection)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """As the encoder's."""
        return self.encoder.preprocess(picture)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of length 1 of (n, 3, size, size) uint8 pixels."""
        return rmac(self.encoder.features(pixels), self.white)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder.name} R-MAC at {self.encoder.size} px"

    def settings(self) -> dict[str, object]:
        """The encoder's, how its last map is pooled, and the whitening itself."""
        return {
            **self.encoder.settings(),
            "pooling": ["r-mac", LEVELS, OVERLAP],
            "whitening": image.content_of(self.white.state_dict()),
            "code": paths.code_key(image, sys.modules[__name__]),
        }


def _map_of(encoder: ImageEncoder) -> Tensor:
    with torch.inference_mode():
        return encoder.features(torch.zeros(1, 3, encoder.size, encoder.size, dtype=torch.uint8))
