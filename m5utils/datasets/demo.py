"""The drawn world, part 1: MIT_split's eight kinds of scenes from a seed, for a machine without data.

Knows the folders that the pictures go to, and when they must be drawn (again). Must not know what is done
with them: numbers from drawings show that the machinery works, and nothing else.
"""

import random
import re
import shutil
import sys
from pathlib import Path

import PIL

from m5utils import paths, runtime
from m5utils.datasets import drawing, made, scenes

MODULES = (sys.modules[__name__], scenes, drawing)


def drawn() -> Path:
    """Where the drawn MIT_split is; drawn now where it is missing."""
    root = paths.DATA / "demo" / "mit_split"
    make_mit_split(root)
    return root


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
    how = {"seed": seed, "counts": counts, "code": made.code(*MODULES), "pillow": PIL.__version__}
    name = re.compile(rf"({'|'.join(scenes.SCENES)})_\d+\.jpg")
    made.make(
        root, how, lambda part: _draw_mit_split(part, seed, counts), lambda file: name.fullmatch(file.name)
    )


def _draw_mit_split(part: Path, seed: int, counts: dict[str, int]) -> None:
    jobs = [
        (split, name, n) for split, count in counts.items() for name in scenes.SCENES for n in range(count)
    ]
    for split, name, n in runtime.progress(jobs, len(jobs), "drawing the demo pictures", "picture"):
        folder = part / split / name
        folder.mkdir(parents=True, exist_ok=True)
        picture = scenes.picture(name, random.Random(f"{seed}/{split}/{name}/{n}"))
        picture.save(folder / f"{name}_{n:03d}.jpg", quality=90)
    last = counts["train"] - 1
    coast_file = part / "train" / "coast" / f"coast_{last:03d}.jpg"
    shutil.copyfile(coast_file, part / "train" / "Opencountry" / f"Opencountry_{last:03d}.jpg")
