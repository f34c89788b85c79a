"""Phrases and where they are: Flickr30k Entities, and the drawn world, whose things are known.

Knows the files of both and what can be wrong with them. Must not know words, networks or metrics.
Slides: structure-preserving embeddings, "Phrase localization on Flickr30K".
Reference: Plummer et al., "Flickr30k Entities", ICCV 2015.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from m5utils import paths, relevance
from m5utils.datasets import demo_coco, grammar, reading
from m5utils.datasets.casting import Thing
from m5utils.datasets.coco_scenes import Graph
from m5utils.datasets.listed import ImageFiles
from m5utils.runtime import Profile

MOST = {"train": 200, "test": 60}  # pictures of the drawn world
MOST_OF_FLICKR = {"train": 3000, "test": 1000}
PHRASE = re.compile(r"\[/EN#(\d+)(?:/\w+)+ ([^\[\]]+)\]")
Boxes = dict[str, list[tuple[float, ...]]]
"""Number of an entity to its boxes in a picture: left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class PhrasedImages(ImageFiles):
    """Image files, phrases about things in them, and where these things are.

    Attributes:
        sizes: (n, 2) int64, width and height in pixels.
        phrases: The texts, those of an image one after the other, images in the order of `files`.
        image_of: (n_phrases,) int64, which image each phrase is about.
        boxes: (n_phrases, 4) float64 left, top, width, height in pixels; around all of them where a phrase
            names several things.
        setting: What was taken out of which dataset; every table prints it.
        unboxed: Phrases that were left out because nobody drew a box for them, such as "the background".
        dropped: What is wrong with the files and was left out, a line each.
    """

    sizes: np.ndarray
    phrases: tuple[str, ...]
    image_of: np.ndarray
    boxes: np.ndarray
    setting: str
    unboxed: int = 0
    dropped: tuple[str, ...] = ()

    def take(self, rows: Sequence[int] | np.ndarray) -> "PhrasedImages":
        """The images in these rows, in this order, with all their phrases."""
        rows = np.asarray(rows, dtype=np.int64)
        chosen, image_of = relevance.captions_of(self.image_of, rows)
        return replace(
            self,
            files=tuple(self.files[row] for row in rows),
            sizes=self.sizes[rows],
            phrases=tuple(self.phrases[one] for one in chosen),
            image_of=image_of,
            boxes=self.boxes[chosen],
        )

    def annotations(self) -> list[object]:
        """Phrases, their images and boxes."""
        return [*self.phrases, *self.image_of.tolist(), *self.boxes.ravel().tolist()]

    def first(self, n: int) -> "PhrasedImages":
        """That many images from the start; all if there are fewer."""
        if len(self) <= n:
            return self
        return replace(self.take(range(n)), setting=f"{self.setting}, the first {n:,} images")


def with_boxes(profile: Profile) -> dict[str, PhrasedImages]:
    """Pictures to learn from ("train") and to look for phrases in ("test"): some of those that are there.

    Flickr30k's, where the profile reads photographs, `M5_FLICKR30K` is set and its Entities lie there; else
    the drawn world's, on every profile, since no other dataset here says where its phrases are.
    """
    if "demo" not in profile.captions and paths.setting("M5_FLICKR30K"):
        root = paths.dataset_root("M5_FLICKR30K")
        if any((folder / "Sentences").is_dir() for folder in (root, root / FOLDER)):
            return {split: flickr30k(root, split).first(n) for split, n in MOST_OF_FLICKR.items()}
    root = demo_coco.drawn()
    parts = {"train": drawn(root, "train"), "test": drawn(root, "val")}
    return {split: part.first(MOST[split]) for split, part in parts.items()}


# ---- Flickr30k Entities ----

FOLDER = "flickr30k_entities"  # the name of the authors' repository


def flickr30k(root: Path, split: str) -> PhrasedImages:
    """Flickr30k Entities: `Sentences/*.txt`, `Annotations/*.xml` and the lists `train.txt`, `test.txt`, ...

    They lie in Flickr30k's folder or in `flickr30k_entities` below it; unpack `annotations.zip` there. A line
    or box that cannot be read is left out and named; phrases of things without a box are counted.

    Raises:
        FileNotFoundError: If a folder, a list, or an image's two files are missing.
        ValueError: If a file is no XML, a listed name points elsewhere, or no phrase has a box.
    """
    root = Path(root)
    images = reading.first_there(root, ("flickr30k-images", "flickr30k_images", "Images"))
    folder = reading.first_there(root, ("Sentences", f"{FOLDER}/Sentences")).parent
    listed = folder / f"{split}.txt"
    files, sizes, phrases, image_of, found, dropped, unboxed = [], [], [], [], [], [], 0
    for number in reading.text(listed).split():
        name = reading.inside(f"{number}.jpg", images, listed)
        size, boxes, wrong = _annotated(folder / "Annotations" / f"{number}.xml")
        dropped += wrong
        said = list(_said(folder / "Sentences" / f"{number}.txt", dropped))
        here = [(phrase, boxes[entity]) for entity, phrase in said if entity in boxes]
        unboxed += len(said) - len(here)
        if not here:
            dropped.append(f"{name}, which has no phrase with a box")
            continue
        phrases += [phrase for phrase, _ in here]
        found += [_around(of_one) for _, of_one in here]
        image_of += [len(files)] * len(here)
        files.append(name)
        sizes.append(size)
    if not files:
        raise ValueError(f"{listed}: no phrase has a box. First of what was left out: {dropped[:3]}")
    about = {"setting": f"Flickr30k Entities {split}", "unboxed": unboxed, "dropped": tuple(dropped)}
    return _table(images, files, sizes, phrases, image_of, found, about)


def _said(file: Path, dropped: list[str]) -> Iterator[tuple[str, str]]:
    """The phrases of an image's sentences with the number of what each names; bad lines go to `dropped`."""
    for number, line in enumerate(reading.text(file).splitlines(), start=1):
        rest = PHRASE.sub("", line)
        if "[" in rest or "]" in rest:
            dropped.append(
                f"{file.name}, line {number}: a bracket that is not [/EN#id/type phrase]: {line[:60]!r}"
            )
        else:
            yield from ((entity, " ".join(phrase.split())) for entity, phrase in PHRASE.findall(line))


def _annotated(file: Path) -> tuple[tuple[int, int], Boxes, list[str]]:
    """A picture's size, the boxes in it by entity, and what was wrong."""
    try:
        tree = ElementTree.fromstring(reading.text(file))
        width, height = (int(tree.findtext(f"size/{side}", "")) for side in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{file} is no annotation of a picture ({error}): unpack it again.") from error
    boxes: Boxes = {}
    wrong = []
    for one in tree.iter("object"):
        drawn_box = one.find("bndbox")
        if drawn_box is None:  # a scene, or something that is not to be seen
            continue
        names = [name.text for name in one.findall("name")]
        try:
            box = tuple(float(drawn_box.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax"))
        except ValueError:
            box = (0.0,) * 4
        if not (0 <= box[0] < box[2] <= width and 0 <= box[1] < box[3] <= height):
            wrong.append(
                f"{file.name}, entity {', '.join(map(str, names))}: no box in {width} × {height}: {box}"
            )
            continue
        for name in names:
            boxes.setdefault(name, []).append(box)
    return (width, height), boxes, wrong


# ---- the drawn world ----


def drawn(root: Path, split: str) -> PhrasedImages:
    """The drawn COCO: of every category in a scene one phrase for all of its things, and the box around them.

    The phrases are made by the grammar that tells the captions, from a seed of their own.
    """
    scenes = reading.lists(
        root / "annotations" / f"scenes_{split}2014.json",
        {"images": ("image_id", "width", "height", "things")},
    )["images"]
    phrases, image_of, found = [], [], []
    for row, scene in enumerate(scenes):
        for phrase, boxes in _told(scene):
            phrases.append(phrase)
            image_of.append(row)
            found.append(_around([(x, y, x + width, y + height) for x, y, width, height in boxes]))
    files = [f"COCO_{split}2014_{scene['image_id']:012d}.jpg" for scene in scenes]
    sizes = [(scene["width"], scene["height"]) for scene in scenes]
    about = {"setting": f"drawn world, {split}"}
    return _table(root / f"{split}2014", files, sizes, phrases, image_of, found, about)


def _told(scene: dict) -> Iterator[tuple[str, list[tuple[float, ...]]]]:
    """Phrases of one scene, with the boxes of what is to be seen of their things."""
    names = [field.name for field in fields(Thing)]
    things = tuple(Thing(**{name: thing[name] for name in names}) for thing in scene["things"])
    graph = Graph(**{field.name: scene[field.name] for field in fields(Graph)} | {"things": things})
    rng = random.Random(f"{scene['image_id']}/phrases")
    for category in dict.fromkeys(thing.category for thing in things):
        places = tuple(place for place, thing in enumerate(things) if thing.category == category)
        group = grammar.Group(category, tuple(things[place] for place in places), places)
        teller = grammar.Teller(rng, graph, (group,), (), colours=0.5)
        yield grammar.nouns(group, teller), [scene["things"][place]["bbox"] for place in places]


# ---- both ----


def _around(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Left, top, width, height of the smallest box around some, each left, top, right, bottom."""
    corners = np.array(boxes, dtype=np.float64)
    left, top = corners[:, :2].min(axis=0)
    right, bottom = corners[:, 2:].max(axis=0)
    return [left, top, right - left, bottom - top]


def _table(
    root: Path,
    files: list[str],
    sizes: list[tuple[int, int]],
    phrases: list[str],
    image_of: list[int],
    boxes: list[list[float]],
    about: dict[str, object],
) -> PhrasedImages:
    return PhrasedImages(
        root,
        tuple(files),
        np.array(sizes, dtype=np.int64),
        tuple(phrases),
        np.array(image_of, dtype=np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        **about,
    )
