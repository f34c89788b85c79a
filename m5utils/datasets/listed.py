"""Lists of image files in a folder: what an encoder goes through, and what is known about each file.

Knows names and labels. Opens nothing. Must not know the layout of a dataset.
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

    def annotations(self) -> list[object]:
        """What is known about the images beside names and bytes, as JSON: results depend on it."""
        return []


@dataclass(frozen=True)
class LabelledImages(ImageFiles):
    """Image files and their class numbers.

    Attributes:
        labels: (n,) int64, an index into `classes`.
        classes: The class names, sorted without regard to case.
    """

    labels: np.ndarray
    classes: tuple[str, ...]

    def take(self, rows: Sequence[int] | np.ndarray) -> "LabelledImages":
        """The images in these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return LabelledImages(
            self.root, tuple(self.files[row] for row in rows), self.labels[rows], self.classes
        )

    def label_names(self) -> np.ndarray:
        """The class name of every image."""
        return np.asarray(self.classes)[self.labels]
