"""COCO as it is downloaded: where its annotations and pictures lie.

Knows names of files and folders. Must not know what an annotation says.
"""

from pathlib import Path

from m5utils.datasets import reading


def annotations(root: Path) -> Path:
    """The folder of the annotation files: `root`/annotations, or `root` itself."""
    return root / "annotations" if (root / "annotations").is_dir() else root


def files(root: Path, kind: str) -> dict[str, Path]:
    """The files `kind`_NAME.json by NAME, such as "train2014", sorted.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder = annotations(root)
    found = {file.stem.removeprefix(f"{kind}_"): file for file in sorted(folder.glob(f"{kind}_*.json"))}
    if not found:
        raise FileNotFoundError(f"{folder} has no {kind}_*.json: see data/README.md for the layout.")
    return found


def pictures(root: Path, name: str) -> Path:
    """The folder of the pictures of NAME: its own, or one for all.

    Raises:
        FileNotFoundError: If it is missing.
    """
    return reading.first_there(root, (name, f"images/{name}", "images"))
