"""Where things are, and how a file gets there whole.

Knows the folders of the project, the `M5_*` settings and how to hash, lock and publish files.
Must not know what is in them.
"""

import ast
import functools
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
GENERATED = ROOT / "report" / "generated"
BUILD = ROOT / "build"

WHAT_IT_NAMES = {
    "M5_MIT_SPLIT": "the folder of MIT_split that holds train/<class>/*.jpg and test/<class>/*.jpg",
    "M5_FLICKR8K": "the folder of Flickr8k that holds captions.txt, Images and the official lists",
    "M5_FLICKR30K": "the folder of Flickr30k that holds dataset_flickr30k.json and flickr30k_images",
    "M5_FASTTEXT": "FastText's file, fasttext_wiki.en.bin on the course's server",
    "M5_GLOVE": "GloVe's word vectors in text format, such as glove.6B.50d.txt",
    "M5_COCO": "the folder of COCO that holds annotations/captions_*.json and the pictures",
    "M5_WEIGHTS": "a folder with weights of image encoders, each file's name beginning with the encoder's",
    "M5_CLIP": "a folder with a CLIP or SigLIP model in Hugging Face's layout: the zero-shot row",
}


def setting(name: str) -> str | None:
    """The value of an `M5_*` setting: the environment's, else the line of `.env`, else None."""
    if os.environ.get(name):
        return os.environ[name]
    env_file = ROOT / ".env"
    lines = env_file.read_text(encoding="utf-8").splitlines() if env_file.is_file() else []
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and key.strip() == name:
            return value.strip().strip("\"'") or None
    return None


def named(variable: str) -> Path:
    """Where a setting such as `M5_MIT_SPLIT` points; relative ones start where you are.

    Raises:
        FileNotFoundError: If it is not set; the message says what it names.
    """
    value = setting(variable)
    if value is None:
        what = WHAT_IT_NAMES.get(variable, "a folder")
        raise FileNotFoundError(
            f"{variable} is not set: it names {what}. Set it in the environment or in {ROOT / '.env'}."
        )
    return Path(value).expanduser().resolve()


def dataset_root(variable: str) -> Path:
    """The folder that a setting names, see `named`.

    Raises:
        FileNotFoundError: If the setting is missing or names no folder; the message says what to do.
    """
    root = named(variable)
    if not root.is_dir():
        what = WHAT_IT_NAMES.get(variable, "a folder")
        raise FileNotFoundError(f"{variable}={setting(variable)} is not a folder: expected {what}.")
    return root


def cache() -> Path:
    """The folder of everything that can be computed again: `M5_CACHE`, by default `data/cache`."""
    return Path(setting("M5_CACHE") or DATA / "cache").expanduser().resolve()


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    The rename is the only moment at which `path` changes, so a reader sees the old file or the whole
    new one, also when the writer is killed or the disk is full. Correctness never rests on a lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp's 0600 would shut out the other users of a shared cache
        part.replace(path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def published_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes the place of `path`, old content and all.

    For what can be made again: between the two renames there is no such folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as place:
        part = Path(place) / "new"
        part.mkdir()
        yield part
        if path.exists():
            path.replace(Path(place) / "old")
        part.replace(path)


def _sync_folder(folder: Path) -> None:
    """Ask the disk to remember a rename; a folder cannot be opened on every system."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def publish_json(path: Path, value: object) -> None:
    """Write `value` as JSON, keys sorted, whole or not at all."""
    with published(path) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def lock(path: Path, doing: str) -> Iterator[None]:
    """Wait while another process holds `path`, saying so once; it only saves double work.

    The lock goes with its process, however that ends. Where locks cannot be had (Windows, a read-only
    folder, some cluster file systems) both run, and both results are the same.
    """
    with ExitStack() as held:
        try:
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            handle = held.enter_context(path.open("a"))
            _wait_for(handle, doing, fcntl)
        except (ImportError, OSError) as error:
            print(f"no lock on {path} ({error}): going on without", file=sys.stderr, flush=True)
        yield


def _wait_for(handle: IO, doing: str, fcntl: ModuleType) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another run is {doing}: waiting for it", file=sys.stderr, flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def key_of(value: object) -> str:
    """A 16-digit key of anything that JSON can hold: equal values, equal keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of_array(values: np.ndarray) -> str:
    """The sha256 of an array's type, shape and values."""
    whole = np.ascontiguousarray(values)
    return hashlib.sha256(f"{whole.dtype} {whole.shape}".encode() + whole.data).hexdigest()


@functools.cache
def meaning(source: str) -> str:
    """A key of what Python source does: layout, comments and docstrings do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return key_of(_plain(tree))


def _plain(node: object) -> object:
    """A syntax tree as lists and text; empty fields are left out, because newer Pythons add some."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, ast.AST):
        fields = [[name, _plain(value)] for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [type(node).__name__, *fields]
    return repr(node)


def code_key(*modules: ModuleType) -> str:
    """A key of what these modules do; part of the key of everything they make."""
    return key_of([meaning(Path(module.__file__).read_text(encoding="utf-8")) for module in modules])


def content_hashes(files: Sequence[Path]) -> list[str]:
    """Each file's sha256, remembered in the cache by path, size and modification time.

    The memory only saves reading: a file whose size or time changed is read again, and so is one
    changed within the last two seconds (its time may not move again).
    """
    memory_file = cache() / "sha256" / f"{key_of([str(f.parent) for f in files[:1]])}.json"
    try:
        memory = json.loads(memory_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        memory = {}
    hashes, now, changed = [], time.time_ns(), False
    for file in files:
        facts = file.stat()
        known = memory.get(str(file))
        if known is None or known[:2] != [facts.st_size, facts.st_mtime_ns]:
            known = [facts.st_size, facts.st_mtime_ns, sha256(file)]
            if now - facts.st_mtime_ns > 2_000_000_000:
                memory[str(file)], changed = known, True
        hashes.append(known[2])
    if changed:
        try:
            publish_json(memory_file, memory)
        except OSError as error:
            print(f"{memory_file}: {error}; hashes are not remembered", file=sys.stderr)
    return hashes
