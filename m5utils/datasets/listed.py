"""A list of image files in a folder: what an encoder goes through, whatever else is known about them.

Knows names. Opens nothing. Must not know labels or captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class ImageFiles:
    """Image files.

    Attributes:
        root: The folder the file names start from.
        files: n names, relative to `root`, in `/` notation.
    """

    root: Path
    files: tuple[str, ...]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.files)

    def paths(self) -> list[Path]:
        """Where each file is."""
        return [self.root / file for file in self.files]

    def take(self, rows: Sequence[int] | np.ndarray) -> "ImageFiles":
        """The images in these rows, in this order."""
        return ImageFiles(self.root, tuple(self.files[row] for row in np.asarray(rows, dtype=np.int64)))
