"""What is to be seen in the scenes of the drawn world: their graphs as facts that can be counted.

Knows the file `scenes_*.json` of the drawn COCO. Must not know captions, pictures, or who judges the facts.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from m5utils.datasets import coco_files, reading
from m5utils.datasets.listed import ImageFiles


@dataclass(frozen=True)
class Facts:
    """What holds in a scene; how often a fact is counted is how many things it is true of.

    Attributes:
        objects: Categories.
        attributes: (category, colour), and (category, pose, kind or size) where a thing has one.
        relations: (category, predicate, category).
        place: The setting, and the time of the day.
        setting: The setting alone.
    """

    objects: Counter
    attributes: Counter
    relations: Counter
    place: Counter
    setting: str

    def kinds(self) -> tuple[Counter, ...]:
        """The four kinds, in this order."""
        return self.objects, self.attributes, self.relations, self.place


def of(images: ImageFiles) -> list[Facts]:
    """The facts of each image, in their order; none at all where no file of scenes stands with the pictures.

    Photographs have no such file: what is measured by scenes is measured on the drawn world.

    Raises:
        ValueError: If the file is there and does not know an image, and as `facts`.
    """
    root, split = Path(images.root).parent, Path(images.root).name
    if not (coco_files.annotations(root) / f"scenes_{split}.json").is_file():
        return []
    known = facts(root, split)
    unknown = [file for file in images.files if file not in known]
    if unknown:
        raise ValueError(f"scenes_{split}.json does not know {unknown[0]} ({len(unknown)} such images)")
    return [known[file] for file in images.files]


def facts(root: Path, split: str) -> dict[str, Facts]:
    """The facts of every scene of a split, by the file name that captions and instances use.

    Args:
        root: The folder of the drawn COCO.
        split: "train2014" or "val2014".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another kind of file, or a relation names a thing that is not in the scene.
    """
    file = coco_files.annotations(Path(root)) / f"scenes_{split}.json"
    content = reading.lists(file, {"images": ("image_id", "setting", "time", "things", "relations")})
    return {f"COCO_{split}_{scene['image_id']:012d}.jpg": _facts(scene, file) for scene in content["images"]}


def _facts(scene: dict, file: Path) -> Facts:
    category = {thing["id"]: thing["category"] for thing in scene["things"]}
    strange = [end for one, _, other in scene["relations"] for end in (one, other) if end not in category]
    if strange:
        raise ValueError(f"{file}: image {scene['image_id']} relates a thing {strange[0]} that is not in it")
    attributes = Counter((thing["category"], thing["colour"]) for thing in scene["things"])
    attributes.update(
        (thing["category"], thing[kind])
        for thing in scene["things"]
        for kind in ("pose", "kind", "size")
        if thing[kind]
    )
    relations = Counter((category[one], how, category[other]) for one, how, other in scene["relations"])
    place = Counter(value for value in (scene["setting"], scene["time"]) if value)
    return Facts(Counter(category.values()), attributes, relations, place, scene["setting"])
