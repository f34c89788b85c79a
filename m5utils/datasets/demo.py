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
from contextlib import suppress
from pathlib import Path

import PIL

from m5utils import paths, runtime
from m5utils.datasets import drawing, scenes

MANIFEST = ".done"
DEAD_AFTER = 600.0  # seconds: no run draws for so long, so an older unfinished folder has lost its process


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
    root = Path(root).resolve()
    how = {"seed": seed, "counts": counts, "code": _code(), "pillow": PIL.__version__}
    _sweep(root)
    if _is_made(root, how):
        return
    with paths.lock(root.with_name(f".{root.name}.lock"), f"drawing {root}"):
        if _is_made(root, how):
            return
        _refuse_foreign(root)
        part = _beside(root)
        try:
            _draw_all(part, seed, counts)
            paths.publish_json(part / MANIFEST, {"how": how, "bytes": _sizes(part)})
            _put_in_place(part, root, how)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _draw_all(part: Path, seed: int, counts: dict[str, int]) -> None:
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


def _code() -> str:
    return paths.key_of([paths.sha256(Path(file)) for file in (__file__, scenes.__file__, drawing.__file__)])


def _sizes(root: Path) -> dict[str, int]:
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in sorted(root.glob("*/*/*.jpg"))}


def _is_made(root: Path, how: dict) -> bool:
    """True if the manifest says `how` and every file it lists has its length; more files do not matter."""
    try:
        manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        return manifest["how"] == how and manifest["bytes"].items() <= _sizes(root).items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _refuse_foreign(root: Path) -> None:
    """Pictures that this module drew may be replaced; nothing else, whatever folder it was given."""
    ours = re.compile(rf"\..*|({'|'.join(scenes.SCENES)})_\d+\.jpg")
    for file in [root] if root.is_file() else sorted(root.rglob("*")):
        if file.is_file() and not ours.fullmatch(file.name):
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
