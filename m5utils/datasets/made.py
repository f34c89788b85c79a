"""A folder that this project fills itself: whole or not there, and never anybody else's.

Knows manifests and renaming. Must not know what is drawn.
"""

import json
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from m5utils import paths

MANIFEST = ".done"
DEAD_AFTER = 600.0  # seconds: no run draws for so long, so an older unfinished folder has lost its process


def make(root: Path, how: dict, draw: Callable[[Path], None], is_ours: Callable[[Path], object]) -> None:
    """Have `draw` fill a folder beside `root` and put it there, unless it was made in just this way."""
    root = Path(root).resolve()
    _sweep(root)
    if is_made(root, how):
        return
    with paths.lock(root.with_name(f".{root.name}.lock"), f"drawing {root}"):
        if is_made(root, how):
            return
        _refuse_foreign(root, is_ours)
        part = _beside(root)
        try:
            draw(part)
            paths.publish_json(part / MANIFEST, {"how": how, "bytes": _sizes(part)})
            _put_in_place(part, root, how)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def code(*modules: ModuleType) -> str:
    """A key of the modules that draw: other bytes of theirs, another drawing."""
    return paths.key_of([paths.sha256(Path(module.__file__)) for module in modules])


def _sizes(root: Path) -> dict[str, int]:
    files = (file for file in sorted(root.rglob("*")) if file.is_file() and not file.name.startswith("."))
    return {file.relative_to(root).as_posix(): file.stat().st_size for file in files}


def is_made(root: Path, how: dict) -> bool:
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
        if not is_made(root, how):
            raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what killed runs left beside `root`."""
    for left in root.parent.glob(f".{root.name}.*.part"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > DEAD_AFTER:
                shutil.rmtree(left, ignore_errors=True)
