"""COCO for retrieving images: photographs and how many objects of each category are in them.

Knows COCO's `instances_*.json` and the course's `mcv_image_retrieval_annotations.json`. Must not know when an
image answers another. Slides: P4 (e), "Dataset: COCO 2014".
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from m5utils import paths
from m5utils.datasets import coco_files, demo_coco, reading
from m5utils.datasets.listed import ImageFiles
from m5utils.runtime import Profile

SPLITS = ("train", "database", "val", "test")
PROTOCOL = "mcv_image_retrieval_annotations.json"
Protocol = dict[str, dict[str, list[int]]]
"""The course's file: split to category id (as text) to the ids of images that have such an object."""


@dataclass(frozen=True)
class ObjectImages(ImageFiles):
    """Image files and the objects in them.

    Attributes:
        ids: (n,) int64, COCO's number of each image.
        sizes: (n, 2) int64, width and height in pixels.
        counts: (n, n_categories) int64, how many objects of each category all instance labels know; a crowd
            ("many people") counts as one.
        listed: (n, n_categories) int64, 1 where the protocol's file lists the image under the category.
        categories: Names, in the order of COCO's ids.
        category_ids: (n_categories,) int64, COCO's ids, from 1 to 90.
        boxes: Of each image (n_objects, 5) float64: place of the category, x, y, width, height in pixels.
        setting: What was taken out of which files; every table prints it.
        dropped: What the files held and this table does not, a line each.
    """

    ids: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    listed: np.ndarray
    categories: tuple[str, ...]
    category_ids: np.ndarray
    boxes: tuple[np.ndarray, ...]
    setting: str
    dropped: tuple[str, ...] = ()

    def take(self, rows: Sequence[int] | np.ndarray) -> "ObjectImages":
        """The images in these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            files=tuple(self.files[row] for row in rows),
            ids=self.ids[rows],
            sizes=self.sizes[rows],
            counts=self.counts[rows],
            listed=self.listed[rows],
            boxes=tuple(self.boxes[row] for row in rows),
        )

    def annotations(self) -> list[object]:
        """Ids, boxes and what the protocol lists."""
        boxes = [of_image.tolist() for of_image in self.boxes]
        return [self.ids.tolist(), list(self.categories), boxes, self.counts.tolist(), self.listed.tolist()]


def for_profile(profile: Profile) -> dict[str, ObjectImages]:
    """The four splits of the profile's COCO; the drawn world is drawn where it is missing.

    Raises:
        FileNotFoundError: If the setting is missing, or the folder lacks something.
    """
    named = profile.coco_retrieval
    return load(demo_coco.drawn() if named == "demo" else paths.dataset_root(named))


def load(root: Path) -> dict[str, ObjectImages]:
    """The splits of a COCO folder: the course's, or derived ones where its file is not there.

    `annotations/instances_train2014.json` goes with the pictures in `train2014`, and so on; one file alone
    with those in `images`. The course's file lies in `root` or beside the annotations; without it, splits are
    those of `derived`.

    Raises:
        FileNotFoundError: If an instance file or the pictures' folder is missing.
        ValueError: If a file is of another schema, or the files contradict each other.
    """
    root = Path(root)
    files = coco_files.files(root, "instances")
    parts = {name: instances(file, coco_files.pictures(root, name)) for name, file in files.items()}
    whole = _together(root, list(parts.values()))
    for folder in (root, coco_files.annotations(root)):
        if (folder / PROTOCOL).is_file():
            return divided(whole, reading.parsed(folder / PROTOCOL), PROTOCOL)
    train = [images.ids for name, images in parts.items() if name.startswith("train")]
    protocol = derived(whole, np.concatenate(train) if train else None)
    return divided(whole, protocol, f"splits derived from {', '.join(parts)}")


def instances(annotations: Path, images: Path) -> ObjectImages:
    """COCO's `instances_*.json`; the pictures are not opened. No image is listed for any category yet.

    Boxes without an area are left out, and said in `dropped`; so are objects of images that are not there.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no JSON or of another schema, an id appears twice, a `file_name` points outside
            `images`, or an object is of a category that the file does not have.
    """
    schema = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    content = reading.lists(annotations, schema)
    for kind in ("images", "categories"):
        ids = [row["id"] for row in content[kind]]
        twice = sorted({one for one in ids if ids.count(one) > 1}) if len(set(ids)) < len(ids) else []
        if twice:
            raise ValueError(f"{annotations}: two {kind} have the id {twice[0]}; ids must be unique.")
    categories = sorted(content["categories"], key=lambda row: row["id"])
    column = {row["id"]: place for place, row in enumerate(categories)}
    row_of = {row["id"]: place for place, row in enumerate(content["images"])}
    boxes, dropped = defaultdict(list), []
    counts = np.zeros((len(row_of), len(column)), dtype=np.int64)
    for each in content["annotations"]:
        category, image = each["category_id"], each["image_id"]
        if category not in column:
            raise ValueError(
                f"{annotations}: an object of image {image} is of category {category}; the file's categories "
                f"are {min(column)} to {max(column)}. Are labels 0 to 79 mixed up with COCO's 1 to 90?"
            )
        if image not in row_of:
            dropped.append(f"an object of image {image}, which the file does not list")
        elif not all(side > 0 for side in each["bbox"][2:]):
            dropped.append(f"an object of image {image} with the box {each['bbox']}, which has no area")
        else:
            boxes[row_of[image]].append([column[category], *each["bbox"]])
            counts[row_of[image], column[category]] += 1
    return ObjectImages(
        images,
        tuple(reading.inside(row["file_name"], images, annotations) for row in content["images"]),
        np.array(list(row_of), dtype=np.int64),
        np.array([[row["width"], row["height"]] for row in content["images"]], dtype=np.int64).reshape(-1, 2),
        counts,
        np.zeros_like(counts),
        tuple(row["name"] for row in categories),
        np.array([row["id"] for row in categories], dtype=np.int64),
        tuple(np.array(boxes[row], dtype=np.float64).reshape(-1, 5) for row in range(len(row_of))),
        annotations.stem,
        tuple(dropped),
    )


def _together(root: Path, parts: list[ObjectImages]) -> ObjectImages:
    """All images of several instance files, which must speak of the same categories."""
    first = parts[0]
    for part in parts[1:]:
        if part.categories != first.categories or (part.category_ids != first.category_ids).any():
            raise ValueError(f"{first.setting} and {part.setting} have other categories: are both COCO's?")
    ids = np.concatenate([part.ids for part in parts])
    if len(np.unique(ids)) < len(ids):
        raise ValueError(f"{', '.join(part.setting for part in parts)} share an image id.")
    return replace(
        first,
        root=root,
        files=tuple(path.relative_to(root).as_posix() for part in parts for path in part.paths()),
        ids=ids,
        sizes=np.concatenate([part.sizes for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        listed=np.concatenate([part.listed for part in parts]),
        boxes=tuple(of_image for part in parts for of_image in part.boxes),
        setting=", ".join(part.setting for part in parts),
        dropped=tuple(line for part in parts for line in part.dropped),
    )


def derived(
    images: ObjectImages,
    train_ids: np.ndarray | None = None,
    seed: int = 0,
    train: float = 0.6,
    database: float = 1.0,
    val: float = 0.4,
    test: float = 0.6,
) -> Protocol:
    """What the course's file would say of these images: the same layout, other images, all their categories.

    Images without an object are in no split: the layout cannot name them.

    Args:
        images: All of them.
        train_ids: Those of the train set; None draws the share `train`.
        seed: Of all draws.
        train: Share of all images.
        database: Share of the train set; the course took 0.025.
        val: Share of the other images; the course took 0.029.
        test: Share of the other images, from the other end; the course took 0.048.

    Raises:
        ValueError: If a share is not above 0 and at most 1, or a split would be empty.
    """
    shares = {"train": train, "database": database, "val": val, "test": test}
    for name, share in shares.items():
        if not 0 < share <= 1:
            raise ValueError(f"expected a share above 0 and at most 1 for {name}; got {share}")
    random = np.random.default_rng(seed)
    rows = random.permutation(np.flatnonzero(images.counts.any(axis=1)))
    if train_ids is None:
        learn, ask = np.split(rows, [round(train * len(rows))])
    else:
        of_train = np.isin(images.ids[rows], train_ids)
        learn, ask = rows[of_train], rows[~of_train]
    chosen = {
        "train": learn,
        "database": learn[: round(database * len(learn))],
        "val": ask[: round(val * len(ask))],
        "test": ask[len(ask) - round(test * len(ask)) :],
    }
    for name, of_split in chosen.items():
        if not len(of_split):
            raise ValueError(f"{images.setting}: {len(rows)} images with objects leave none for {name}.")
    return {
        name: {
            str(category): images.ids[np.sort(of_split[images.counts[of_split, column] > 0])].tolist()
            for column, category in enumerate(images.category_ids)
        }
        for name, of_split in chosen.items()
    }


def divided(images: ObjectImages, protocol: object, said: str) -> dict[str, ObjectImages]:
    """The four splits that a protocol names, each with its images in the order of their ids.

    Args:
        images: All images and what all instance labels know of them.
        protocol: The course's file or one like it: see `Protocol`; ids may be numbers or text.
        said: What to call it.

    Raises:
        ValueError: If a split is missing or empty, ids are unknown, or most of what is listed contradicts
            the instance labels, as it does where categories are numbered 0 to 79 or 1 to 80.
    """
    missing = [split for split in SPLITS if not isinstance(protocol, dict) or split not in protocol]
    if missing:
        raise ValueError(f"{said} has no split {missing[0]!r}: expected {', '.join(SPLITS)}.")
    return {split: _split(images, protocol[split], f"{said}, {split}") for split in SPLITS}


def _split(images: ObjectImages, by_category: object, said: str) -> ObjectImages:
    if not isinstance(by_category, dict):
        raise ValueError(f"{said}: expected category ids with lists of image ids, got {by_category!r:.60}")
    column = {int(category): place for place, category in enumerate(images.category_ids)}
    row_of = {int(one): row for row, one in enumerate(images.ids)}
    listed, unknown = np.zeros_like(images.counts), []
    for name, ids in by_category.items():
        category = _number(name, f"{said}: a category")
        if category not in column:
            raise ValueError(
                f"{said}: there is no category {category}; COCO's here are {min(column)} to {max(column)}. "
                "Are labels 0 to 79 mixed up with COCO's 1 to 90?"
            )
        for one in ids:
            number = _number(one, f"{said}: an image of category {category}")
            if number in row_of:
                listed[row_of[number], column[category]] = 1
            else:
                unknown.append(number)
    if unknown:
        shown = ", ".join(map(str, sorted(set(unknown))[:3]))
        raise ValueError(
            f"{said}: {len(set(unknown)):,} of its images are in no instances_*.json here, such as {shown}. "
            "Is it COCO 2014's train and val, both of them?"
        )
    if not listed.any():
        raise ValueError(f"{said} lists no image.")
    right = (listed & (images.counts > 0)).sum() / listed.sum()
    if right < 0.5:
        raise ValueError(
            f"{said}: {100 * (1 - right):.0f} % of what it lists contradicts the instance labels. Are "
            "categories numbered 0 to 79, or 1 to 80? COCO's ids go from 1 to 90, with gaps."
        )
    rows = np.flatnonzero(listed.any(axis=1))
    rows = rows[np.argsort(images.ids[rows], kind="stable")]
    return replace(images, listed=listed, setting=said).take(rows)


def _number(value: object, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is {value!r}: expected a number.") from error
