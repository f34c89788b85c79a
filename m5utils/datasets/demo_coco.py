"""The drawn world, part 2: COCO's files with drawn scenes and true captions, for a machine without data.

Knows the layout of COCO's files. Must not know how a scene is thought up, drawn or told, nor what is done
with it: numbers from drawings show that the machinery works, and nothing else.
"""

import json
import random
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import PIL

from m5utils import paths, runtime
from m5utils.datasets import (
    backdrops,
    casting,
    coco_scenes,
    creatures,
    drawing,
    grammar,
    made,
    objects,
    pen,
    vocabulary,
)

THIS = sys.modules[__name__]
MODULES = (THIS, backdrops, casting, coco_scenes, creatures, drawing, grammar, objects, pen, vocabulary)
FIRST_ID = {"train": 1, "val": 500_001}  # an image's id is nobody else's, however many there are
DRAWN = "drawn by m5utils"  # near the start of every file of the drawn COCO: the real one has the same names


def drawn() -> Path:
    """Where the drawn COCO is; drawn now where it is missing."""
    root = paths.DATA / "demo" / "coco"
    make_coco(root)
    return root


def make_coco(root: Path, seed: int = 0, train: int = 600, val: int = 200) -> None:
    """Draw `root`/{train2014,val2014}/COCO_*.jpg and write `root`/annotations, unless they are there already.

    Beside `captions_*.json` (five of each image) and `instances_*.json` stands `scenes_*.json`: for each
    image the setting, the time of the day, its objects with their attributes and how they relate. Sixteen
    of COCO's categories, with COCO's ids; boxes and masks hold what is to be seen of an object.

    The same arguments give the same bytes, and more images leave the first ones as they are. What
    `demo.make_mit_split` says about runs that are killed, changed or two at once holds here as well.

    Raises:
        ValueError: If a split would be empty, or so large that its ids would run into another's.
        FileExistsError: If `root` would be replaced and holds a file that was not drawn here.
    """
    counts, most = {"train": train, "val": val}, FIRST_ID["val"] - FIRST_ID["train"]
    if not 1 <= min(counts.values()) <= max(counts.values()) <= most:
        raise ValueError(f"expected 1 to {most:,} pictures per split; got {counts}")
    how = {"seed": seed, "counts": counts, "code": made.code(*MODULES), "pillow": PIL.__version__}
    made.make(root, how, lambda part: _draw_coco(part, seed, counts), _is_drawn_coco)


def _draw_coco(part: Path, seed: int, counts: dict[str, int]) -> None:
    (part / "annotations").mkdir(parents=True)
    jobs = [(split, n) for split, count in counts.items() for n in range(count)]
    files = {
        (kind, split): _head(kind, seed) for kind in ("captions", "instances", "scenes") for split in counts
    }
    for split, n in runtime.progress(jobs, len(jobs), "drawing the demo scenes", "picture"):
        rng = random.Random(f"{seed}/{split}/{n}")
        graph = coco_scenes.sample(rng)
        picture, seen = coco_scenes.draw(graph)
        number = FIRST_ID[split] + n
        name = f"COCO_{split}2014_{number:012d}.jpg"
        (part / f"{split}2014").mkdir(exist_ok=True)
        picture.save(part / f"{split}2014" / name, quality=90, comment=DRAWN)
        size = {"width": graph.width, "height": graph.height}
        image = {"id": number, "file_name": name, **size, "license": 1}
        instances = _instances(number, graph, seen)
        told = [
            {"id": number * 10 + k, "image_id": number, "caption": text}
            for k, text in enumerate(grammar.captions(graph, rng))
        ]
        for kind, annotations in (("captions", told), ("instances", instances)):
            files[kind, split]["images"].append(image)
            files[kind, split]["annotations"] += annotations
        files["scenes", split]["images"].append(_scene(number, graph, instances))
    for (kind, split), content in files.items():
        file = part / "annotations" / f"{kind}_{split}2014.json"
        file.write_text(json.dumps(content), encoding="utf-8")


def _head(kind: str, seed: int) -> dict:
    """What a file says before its rows."""
    info = {"description": f"{kind}, {DRAWN} from seed {seed}", "version": "1.0", "year": 2014}
    head = {"info": info, "licenses": [{"id": 1, "name": "the project's", "url": ""}], "images": []}
    if kind != "scenes":
        head["annotations"] = []
    if kind == "instances":
        head["categories"] = [
            {"id": category.id, "name": name, "supercategory": category.supercategory}
            for name, category in objects.CATEGORIES.items()
        ]
    return head


def _instances(image_id: int, graph: coco_scenes.Graph, seen: np.ndarray) -> list[dict]:
    return [
        {
            "id": image_id * 100 + place,
            "image_id": image_id,
            "category_id": objects.CATEGORIES[thing.category].id,
            "bbox": list(coco_scenes.box_of(mask)),
            "area": int(mask.sum()),
            "iscrowd": 0,
            "segmentation": {"size": list(mask.shape), "counts": _runs(mask)},
        }
        for place, (thing, mask) in enumerate(zip(graph.things, seen, strict=True))
    ]


def _runs(mask: np.ndarray) -> list[int]:
    """COCO's run lengths: column by column, the number of pixels outside, inside, outside, ..."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(changes, prepend=0, append=len(flat)).tolist()


def _scene(image_id: int, graph: coco_scenes.Graph, instances: list[dict]) -> dict:
    """The scene graph; objects are named by the ids of their instances."""
    things = [
        {
            "id": instance["id"],
            "bbox": instance["bbox"],
            "category_id": instance["category_id"],
            **asdict(thing),
        }
        for thing, instance in zip(graph.things, instances, strict=True)
    ]
    relations = [
        [instances[one.subject]["id"], one.predicate, instances[one.object]["id"]] for one in graph.relations
    ]
    return {"image_id": image_id, **asdict(graph), "things": things, "relations": relations}


def _is_drawn_coco(file: Path) -> bool:
    with file.open("rb") as handle:
        return DRAWN.encode() in handle.read(1024)
