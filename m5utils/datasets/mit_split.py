"""MIT_split: photographs in class folders, train (the gallery) and test (the queries).

Knows the folder layout and what can be wrong with it. Must not know a network or a metric.
Slides: P4, "Dataset: MIT Split".
"""

import hashlib
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from m5utils import paths
from m5utils.datasets import demo, images
from m5utils.datasets.listed import LabelledImages
from m5utils.runtime import Profile

SPLITS = ("train", "test")
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


def for_profile(profile: Profile) -> dict[str, LabelledImages]:
    """The two splits of the profile's MIT_split; the drawn world is drawn where it is missing."""
    named = profile.mit_split
    return load(demo.drawn() if named == "demo" else paths.dataset_root(named))


def load(root: Path) -> dict[str, LabelledImages]:
    """List `root`/{train,test}/<class>/<image>; nothing is opened.

    Files and classes are sorted, so the order does not depend on the file system. Files that are no
    images by name (thumbs.db, .DS_Store) are passed over.

    Raises:
        FileNotFoundError: If `root`, a split, or every image of a class of train is missing.
        ValueError: If there are fewer than two classes, or a class of test that train does not have.
    """
    root = Path(root)
    found = {split: _class_folders(root, split) for split in SPLITS}
    classes = tuple(sorted(found["train"], key=lambda name: (name.lower(), name)))
    if len(classes) < 2:
        raise ValueError(
            f"{root / 'train'} has one class, {classes[0]}: retrieval by class needs at least two."
        )
    unknown = sorted(set(found["test"]) - set(classes))
    if unknown:
        raise ValueError(
            f"{root / 'test'} has the class {unknown[0]}, {root / 'train'} has not: its queries have "
            f"nothing to find. Classes of train: {', '.join(classes)}. Rename or remove the folder."
        )
    return {split: _listed(root, found[split], classes) for split in SPLITS}


def _class_folders(root: Path, split: str) -> dict[str, list[str]]:
    folder = root / split
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is missing: expected {root} to hold train/<class>/*.jpg and test/<class>/*.jpg."
        )
    by_class = {
        entry.name: sorted(
            f"{split}/{entry.name}/{name}"
            for name in os.listdir(entry)
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
        )
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    }
    filled = {name: files for name, files in by_class.items() if files}
    if not filled:
        raise FileNotFoundError(
            f"{folder} has no class folder with images in it: expected {folder}/<class>/*.jpg."
        )
    empty = sorted(set(by_class) - set(filled))
    if empty:
        raise FileNotFoundError(f"{folder / empty[0]} has no images: fill the class folder or remove it.")
    return filled


def _listed(root: Path, by_class: dict[str, list[str]], classes: tuple[str, ...]) -> LabelledImages:
    files = [(file, number) for number, name in enumerate(classes) for file in by_class.get(name, [])]
    labels = np.array([number for _, number in files], dtype=np.int64)
    return LabelledImages(root, tuple(file for file, _ in files), labels, classes)


def class_balance(splits: dict[str, LabelledImages]) -> pd.DataFrame:
    """Images per class (rows) and split (columns), with a row for the total."""
    counts = {name: pd.Series(split.label_names()).value_counts() for name, split in splits.items()}
    classes = list(splits["train"].classes)
    table = pd.DataFrame(counts).reindex(classes).fillna(0).astype(int)
    table.loc["all"] = table.sum()
    return table.rename_axis("class")


def problems(splits: dict[str, LabelledImages]) -> pd.DataFrame:
    """What is wrong with the files: those that cannot be read, and pictures that stand in two places.

    Two files are the same picture when their pixels are equal, whatever the bytes say.

    Returns:
        One row per problem, columns `problem` ("unreadable", "same picture twice in a class", "same picture
        in two classes", "same picture in train and test"), `files` and `detail`; no row if all is well.
    """
    places, rows = defaultdict(list), []
    for split, listed in splits.items():
        for file, path, label in zip(listed.files, listed.paths(), listed.label_names(), strict=True):
            try:
                places[_pixel_hash(path)].append((split, label, file))
            except (OSError, ValueError) as error:
                rows.append(("unreadable", file, str(error)))
    for same in places.values():
        if len(same) > 1:
            rows.append(
                (_kind_of_duplicate(same), ", ".join(file for _, _, file in same), f"{len(same)} places")
            )
    return pd.DataFrame(sorted(rows), columns=["problem", "files", "detail"])


def _pixel_hash(path: Path) -> str:
    picture = images.read_rgb(path)
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()


def _kind_of_duplicate(same: list[tuple[str, str, str]]) -> str:
    if len({split for split, _, _ in same}) > 1:
        return "same picture in train and test"
    if len({label for _, label, _ in same}) > 1:
        return "same picture in two classes"
    return "same picture twice in a class"


def validation_split(train: LabelledImages, parts: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide train into rows to fit on and rows to choose by: every choice is made on the second.

    Stratified by class; byte-identical copies of a picture stay on one side, or a copy in the gallery
    would answer its twin among the queries.

    Returns:
        (rows to fit on, validation rows), int64, sorted; the second is one of `parts` equal parts.

    Raises:
        ValueError: If a class has fewer than `parts` images.
    """
    fewest = np.bincount(train.labels, minlength=len(train.classes)).argmin()
    n_fewest = int((train.labels == fewest).sum())
    if n_fewest < parts:
        raise ValueError(
            f"class {train.classes[fewest]} has {n_fewest} train images; a validation part of one in {parts} "
            f"needs at least {parts} in every class."
        )
    pictures = np.unique(paths.content_hashes(train.paths()), return_inverse=True)[1]
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    fit, validation = next(iter(folds.split(train.labels, train.labels, groups=pictures)))
    return np.sort(fit), np.sort(validation)
