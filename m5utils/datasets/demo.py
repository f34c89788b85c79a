"""The drawn world: pictures made from a seed, so that every notebook runs on a machine without data.

Knows the folders that the pictures go to, and when they must be drawn (again). Must not know what is done
with them: numbers from drawings show that the machinery works, and nothing else.
"""

import json
import random
import re
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

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
    objects,
    pen,
    scenes,
    vocabulary,
)

MANIFEST = ".done"
DEAD_AFTER = 600.0  # seconds: no run draws for so long, so an older unfinished folder has lost its process

COCO_MODULES = (backdrops, casting, coco_scenes, creatures, drawing, grammar, objects, pen, vocabulary)
FIRST_ID = {"train": 1, "val": 500_001}  # an image's id is nobody else's, however many there are
DRAWN = "drawn by m5utils"  # near the start of every file of the drawn COCO: the real one has the same names


def make_mit_split(root: Path, seed: int = 0, train_per_class: int = 50, test_per_class: int = 20) -> None:
    """Draw `root`/{train,test}/<class>/<class>_000.jpg, ..., unless just these pictures are there already.

    The same arguments give the same bytes. One picture stands in two places, as in the real set: the last
    of train/Opencountry is a copy of the last of train/coast, for notebook 01 to find.

    The pictures are drawn in a folder beside `root` that is renamed when it is whole, so a killed run
    leaves nothing that looks finished. The manifest `root`/.done says how they were drawn and how long
    each file is: if anything differs, the generator's code included, they are drawn again. Two runs at once
    end with the same pictures; the second waits for the first.

    Raises:
        ValueError: If a split would be empty.
        FileExistsError: If `root` would be replaced and holds a file that was not drawn here.
    """
    counts = {"train": train_per_class, "test": test_per_class}
    if min(counts.values()) < 1:
        raise ValueError(f"expected at least one picture per class and split; got {counts}")
    how = {"seed": seed, "counts": counts, "code": _code(), "pillow": PIL.__version__}
    name = re.compile(rf"({'|'.join(scenes.SCENES)})_\d+\.jpg")
    _make(root, how, lambda part: _draw_mit_split(part, seed, counts), lambda file: name.fullmatch(file.name))


def make_coco(root: Path, seed: int = 0, train: int = 600, val: int = 200) -> None:
    """Draw `root`/{train2014,val2014}/COCO_*.jpg and write `root`/annotations, unless they are there already.

    Beside `captions_*.json` (five of each image) and `instances_*.json` stands `scenes_*.json`: for each
    image the setting, the time of the day, its objects with their attributes and how they relate. Sixteen
    of COCO's categories, with COCO's ids; boxes and masks hold what is to be seen of an object.

    The same arguments give the same bytes, and more images leave the first ones as they are. What
    `make_mit_split` says about runs that are killed, changed or two at once holds here as well.

    Raises:
        ValueError: If a split would be empty, or so large that its ids would run into another's.
        FileExistsError: If `root` would be replaced and holds a file that was not drawn here.
    """
    counts, most = {"train": train, "val": val}, FIRST_ID["val"] - FIRST_ID["train"]
    if not 1 <= min(counts.values()) <= max(counts.values()) <= most:
        raise ValueError(f"expected 1 to {most:,} pictures per split; got {counts}")
    how = {"seed": seed, "counts": counts, "code": _code(*COCO_MODULES), "pillow": PIL.__version__}
    _make(root, how, lambda part: _draw_coco(part, seed, counts), _is_drawn_coco)


# The drawn COCO --------------------------------------------------------------------------------------


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


# The drawn MIT_split -----------------------------------------------------------------------------------


def _draw_mit_split(part: Path, seed: int, counts: dict[str, int]) -> None:
    jobs = [
        (split, name, n) for split, count in counts.items() for name in scenes.SCENES for n in range(count)
    ]
    for split, name, n in runtime.progress(jobs, len(jobs), "drawing the demo pictures", "picture"):
        folder = part / split / name
        folder.mkdir(parents=True, exist_ok=True)
        drawn = scenes.picture(name, random.Random(f"{seed}/{split}/{name}/{n}"))
        drawn.save(folder / f"{name}_{n:03d}.jpg", quality=90)
    last = counts["train"] - 1
    coast_file = part / "train" / "coast" / f"coast_{last:03d}.jpg"
    shutil.copyfile(coast_file, part / "train" / "Opencountry" / f"Opencountry_{last:03d}.jpg")


# A folder that is whole or not there ------------------------------------------------------------------


def _make(root: Path, how: dict, draw: Callable[[Path], None], is_ours: Callable[[Path], object]) -> None:
    """Have `draw` fill a folder beside `root` and put it there, unless it was made in just this way."""
    root = Path(root).resolve()
    _sweep(root)
    if _is_made(root, how):
        return
    with paths.lock(root.with_name(f".{root.name}.lock"), f"drawing {root}"):
        if _is_made(root, how):
            return
        _refuse_foreign(root, is_ours)
        part = _beside(root)
        try:
            draw(part)
            paths.publish_json(part / MANIFEST, {"how": how, "bytes": _sizes(part)})
            _put_in_place(part, root, how)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _code(*modules: ModuleType) -> str:
    """A key of this module and of those that draw, by default MIT_split."""
    modules = modules or (scenes, drawing)
    return paths.key_of([paths.sha256(Path(file)) for file in (__file__, *(m.__file__ for m in modules))])


def _sizes(root: Path) -> dict[str, int]:
    files = (file for file in sorted(root.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in files}


def _is_made(root: Path, how: dict) -> bool:
    """True if the manifest says `how` and every file it lists has its length; more files do not matter."""
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        return manifest["how"] == how and manifest["bytes"].items() <= _sizes(root).items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _refuse_foreign(root: Path, is_ours: Callable[[Path], object]) -> None:
    """Files that this module drew may be replaced; nothing else, whatever folder it was given."""
    for file in [root] if root.is_file() else sorted(root.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and not is_ours(file):
            raise FileExistsError(f"{file} was not drawn by the demo: move it away, or draw somewhere else.")


def _beside(root: Path) -> Path:
    return root.with_name(f".{root.name}.{uuid.uuid4().hex}.part")


def _put_in_place(part: Path, root: Path, how: dict) -> None:
    old = _beside(root)
    with suppress(FileNotFoundError):
        root.rename(old)
    try:
        part.rename(root)
    except OSError:  # where locks do nothing, another run may just have put the same pictures there
        if not _is_made(root, how):
            raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what killed runs left beside `root`."""
    for left in root.parent.glob(f".{root.name}.*.part"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > DEAD_AFTER:
                shutil.rmtree(left, ignore_errors=True)
