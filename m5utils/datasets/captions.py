"""Photographs with captions: COCO, Flickr8k, Flickr30k, one table whatever the files look like.

Knows the files of these datasets and what can be wrong with them. Must not know words, networks or metrics.
Slides: P5, "Dataset: COCO". Any number of captions per image; a caption describes one image.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from m5utils import paths, relevance
from m5utils.datasets import coco_files, demo_coco, reading
from m5utils.datasets.listed import ImageFiles
from m5utils.runtime import Profile


@dataclass(frozen=True)
class CaptionedImages(ImageFiles):
    """Image files and the captions that describe them.

    Attributes:
        captions: The texts, those of an image one after the other, images in the order of `files`.
        image_of: (n_captions,) int64, which image each caption describes.
        setting: What was taken out of which dataset; every table prints it.
        dropped: What the files held and the table does not, a line each.
    """

    captions: tuple[str, ...]
    image_of: np.ndarray
    setting: str
    dropped: tuple[str, ...] = ()

    def take(self, rows: Sequence[int] | np.ndarray) -> "CaptionedImages":
        """The images in these rows, in this order, with all their captions."""
        rows = np.asarray(rows, dtype=np.int64)
        chosen, image_of = relevance.captions_of(self.image_of, rows)
        return replace(
            self,
            files=tuple(self.files[row] for row in rows),
            captions=tuple(self.captions[one] for one in chosen),
            image_of=image_of,
        )

    def annotations(self) -> list[object]:
        """The captions, and the image of each."""
        return [*self.captions, *self.image_of.tolist()]

    def first(self, n: int) -> "CaptionedImages":
        """That many images from the start."""
        return replace(self.take(range(self._at_most(n))), setting=f"{self.setting}, the first {n:,} images")

    def random(self, n: int, seed: int = 0) -> "CaptionedImages":
        """That many images, drawn without replacement, in the order of the list."""
        rows = np.random.default_rng(seed).permutation(len(self))[: self._at_most(n)]
        return replace(self.take(np.sort(rows)), setting=f"{self.setting}, {n:,} random images (seed {seed})")

    def folds(self, n: int = 1000) -> list["CaptionedImages"]:
        """One part after the other of n images each, as the "1K" results on COCO are averaged over five."""
        count = len(self) // self._at_most(n)
        parts = [range(part * n, (part + 1) * n) for part in range(count)]
        return [
            replace(self.take(rows), setting=f"{self.setting}, fold {part + 1} of {count} of {n:,} images")
            for part, rows in enumerate(parts)
        ]

    def _at_most(self, n: int) -> int:
        if not 1 <= n <= len(self):
            raise ValueError(f"expected 1 <= n <= {len(self)}, the images of {self.setting}; got n={n}")
        return n


def validation_split(train: CaptionedImages, n: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Divide train into images to fit on and images to choose by; byte-identical copies stay on one side.

    Returns:
        (rows to fit on, validation rows), int64, sorted; n of the second, or a fifth if that is less.
    """
    n = min(n, len(train) // 5)
    if n < 1:
        raise ValueError(f"{train.setting} has {len(train)} images: too few to set some aside for choosing.")
    order = np.random.default_rng(seed).permutation(len(train))
    pictures = np.asarray(paths.content_hashes(train.paths()))
    validation = np.sort(order[:n])
    twin = np.isin(pictures, pictures[validation])
    return np.flatnonzero(~twin), validation


def for_profile(profile: Profile) -> dict[str, CaptionedImages]:
    """The splits of the profile's photographs with captions: "train", and one or more to evaluate on.

    Raises:
        FileNotFoundError: If none of the settings is set, or the folder lacks something.
    """
    chosen = next((name for name in profile.captions if name == "demo" or paths.setting(name)), None)
    if chosen == "demo":
        return coco_folder(demo_coco.drawn())
    root = paths.dataset_root(chosen or profile.captions[0])
    return {"M5_FLICKR8K": flickr8k, "M5_FLICKR30K": flickr30k}.get(chosen, coco_folder)(root)


def evaluated(splits: dict[str, CaptionedImages], name: str = "") -> CaptionedImages:
    """The split to report on: the named one; by default test, else val, else the only one there is.

    Raises:
        ValueError: If there is no such split; the message lists those that are there.
    """
    there = [split for split in splits if split != "train"]
    only = there[0] if len(there) == 1 else ""
    name = name or next((split for split in ("test", "val") if split in splits), only)
    if name not in there:
        raise ValueError(f"expected a split to evaluate on out of {', '.join(there)}; got {name or 'none'!r}")
    return splits[name]


# ---- the datasets' files ----


def coco_folder(root: Path) -> dict[str, CaptionedImages]:
    """COCO as it is downloaded, with Karpathy's split file or without, or a part of it with one caption file.

    `annotations/captions_train2014.json` goes with the pictures in `train2014`, and so on; Karpathy's
    `dataset_coco.json` replaces them. A single caption file is divided: every fifth of its images in an order
    drawn from seed 0 is "test", the others are "train".
    """
    root = Path(root)
    for folder in (root, coco_files.annotations(root)):
        if (folder / "dataset_coco.json").is_file():
            return karpathy(folder / "dataset_coco.json", root)
    files = coco_files.files(root, "captions")
    splits = {name.rstrip("0123456789"): name for name in files}
    if "train" in splits:
        return {split: coco(files[name], coco_files.pictures(root, name)) for split, name in splits.items()}
    if len(files) > 1:
        raise ValueError(f"{root} has {', '.join(files)} but no captions_train*.json: nothing to learn from.")
    ((name, file),) = files.items()
    whole = coco(file, coco_files.pictures(root, name))
    place = np.random.default_rng(0).permutation(len(whole)) % 5
    parts = {"train": np.flatnonzero(place > 0), "test": np.flatnonzero(place == 0)}
    return {
        split: replace(whole.take(rows), setting=f"{whole.setting}, {split} part (seed 0)")
        for split, rows in parts.items()
    }


def coco(annotations: Path, images: Path, setting: str = "") -> CaptionedImages:
    """COCO's `captions_*.json`: images with `id` and `file_name`, annotations with `image_id` and `caption`.

    Args:
        annotations: The file.
        images: The folder of the pictures; they are not opened.
        setting: What to call it; the file's name by default.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no JSON or of another schema, an image's id appears twice, or a `file_name`
            points outside `images`.
    """
    content = reading.lists(
        annotations, {"images": ("id", "file_name"), "annotations": ("image_id", "caption")}
    )
    file_of: dict[object, str] = {}
    for image in content["images"]:
        if image["id"] in file_of:
            raise ValueError(f"{annotations}: two images have the id {image['id']}; ids must be unique.")
        file_of[image["id"]] = reading.inside(image["file_name"], images, annotations)
    texts, dropped = defaultdict(list), []
    for each in content["annotations"]:
        if each["image_id"] in file_of:
            texts[file_of[each["image_id"]]].append(each["caption"])
        else:
            dropped.append(f"a caption of image {each['image_id']}, which the file does not list")
    return _table(images, file_of.values(), texts, setting or annotations.stem, dropped)


def karpathy(file: Path, images: Path) -> dict[str, CaptionedImages]:
    """Karpathy's split files, `dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json`.

    "restval", the part of COCO's val that everybody trains on, is part of train.

    Reference: Karpathy and Fei-Fei, "Deep visual-semantic alignments", CVPR 2015.
    """
    content = reading.lists(file, {"images": ("filename", "split", "sentences")})
    files, texts = defaultdict(list), defaultdict(list)
    for image in content["images"]:
        name = reading.inside(str(PurePosixPath(image.get("filepath", "")) / image["filename"]), images, file)
        files["train" if image["split"] == "restval" else image["split"]].append(name)
        for sentence in image["sentences"]:
            texts[name].append(sentence["raw"] if isinstance(sentence, dict) else None)
    return {split: _table(images, names, texts, f"{file.stem} {split}", []) for split, names in files.items()}


def flickr8k(root: Path) -> dict[str, CaptionedImages]:
    """Flickr8k, in Kaggle's layout (`captions.txt`, `Images`) or the original one (`Flickr8k.token.txt`).

    The splits are the official lists `Flickr_8k.{train,dev,test}Images.txt`, those of them that are there.

    Raises:
        FileNotFoundError: If the captions, the pictures' folder or every list is missing.
    """
    root = Path(root)
    images = reading.first_there(root, ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset"))
    file = reading.first_there(
        root, ("captions.txt", "Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt")
    )
    texts, dropped = _lines(file, images)
    splits = {}
    for split in ("train", "dev", "test"):
        for folder in (root, file.parent):
            listed = folder / f"Flickr_8k.{split}Images.txt"
            if listed.is_file():
                names = [reading.inside(name, images, listed) for name in reading.text(listed).split()]
                splits[split] = _table(images, names, texts, f"Flickr8k {split}", dropped)
                break
    if not splits:
        raise FileNotFoundError(
            f"{root} has no list Flickr_8k.trainImages.txt, ...: put the official lists there."
        )
    return splits


def flickr30k(root: Path) -> dict[str, CaptionedImages]:
    """Flickr30k, split as in Karpathy's `dataset_flickr30k.json`, which holds the captions as well."""
    root = Path(root)
    images = reading.first_there(root, ("flickr30k-images", "flickr30k_images", "Images"))
    return karpathy(reading.first_there(root, ("dataset_flickr30k.json",)), images)


def _lines(file: Path, images: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Captions by image from `name,caption` (Kaggle, with a heading) or `name#0<tab>caption` (original)."""
    text, texts, dropped = reading.text(file).lstrip("\ufeff"), defaultdict(list), []
    kaggle = text.startswith("image,caption")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or (kaggle and number == 1):
            continue
        if kaggle and '"' in line:
            fields = next(csv.reader([line]))
        else:  # a comma within an unquoted caption is part of it
            fields = line.split("," if kaggle else "\t", 1)
        if len(fields) < 2 or not fields[0].strip():
            dropped.append(f"{file.name}, line {number}: no image and caption in {line[:60]!r}")
            continue
        name = reading.inside(fields[0].partition("#")[0].strip(), images, file)
        texts[name].append(",".join(fields[1:]))
    return texts, dropped


def _table(
    images: Path, files: Iterable[str], texts: dict[str, list[str]], setting: str, dropped: list[str]
) -> CaptionedImages:
    """The images that have a caption, in the order of `files`; what is left out is said."""
    kept, captions, image_of, dropped = [], [], [], list(dropped)
    for file in files:
        said = []
        for text in texts.get(file, ()):
            if isinstance(text, str) and text.strip():
                said.append(" ".join(text.split()))
            else:
                what = "an empty caption of" if isinstance(text, str) else f"no text but {text!r:.40} for"
                dropped.append(f"{what} {file}")
        if not said:
            dropped.append(f"{file}, which has no caption")
            continue
        image_of += [len(kept)] * len(said)
        captions += said
        kept.append(file)
    if not kept:
        raise ValueError(f"{setting}: no image has a caption. First of what was left out: {dropped[:3]}")
    return CaptionedImages(
        images, tuple(kept), tuple(captions), np.array(image_of, dtype=np.int64), setting, tuple(dropped)
    )
