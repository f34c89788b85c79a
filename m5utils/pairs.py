"""Images and the captions that describe them, as features: what is aligned, and what is ranked.

Knows feature vectors. Must not know how they were made, or what is learned from them.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from m5utils import paths


@dataclass(frozen=True, eq=False)  # equal if it is the same one: tensors have no one answer to ==
class Pairs:
    """Features of images and of the captions that describe them.

    Attributes:
        images: (n_images, image_dim) float32.
        captions: (n_captions, caption_dim) float32.
        image_of: (n_captions,) int64, which image each caption describes.
    """

    images: Tensor
    captions: Tensor
    image_of: np.ndarray

    def __post_init__(self) -> None:
        """Refuse features that are not finite, and captions without an image."""
        for what, rows in (("image", self.images), ("caption", self.captions)):
            bad = (~rows.isfinite().all(dim=1)).nonzero()
            if len(bad):
                raise ValueError(
                    f"{what} features must be finite; row {int(bad[0])} is not: encode it again."
                )
        inside = len(self.image_of) == len(self.captions) and (self.image_of < len(self.images)).all()
        if not inside or (self.image_of < 0).any():
            raise ValueError(
                f"expected {len(self.captions)} captions' images, each from 0 to {len(self.images) - 1}"
            )

    @cached_property
    def key(self) -> str:
        """Names their content."""
        parts = (self.images.numpy(), self.captions.numpy(), self.image_of)
        return paths.key_of([_content_of(part) for part in parts])

    def take(self, images: np.ndarray) -> "Pairs":
        """The images in these rows, in this order, with their captions, which must be sorted by image."""
        bounds = np.searchsorted(self.image_of, [images, np.asarray(images) + 1])
        chosen = np.concatenate([np.arange(first, last) for first, last in bounds.T])
        image_of = np.repeat(np.arange(len(images)), bounds[1] - bounds[0])
        return Pairs(self.images[images], self.captions[chosen], image_of)


def _content_of(values: np.ndarray) -> str:
    whole = np.ascontiguousarray(values)
    return hashlib.sha256(f"{whole.dtype} {whole.shape}".encode() + whole.data).hexdigest()
