"""Files that others have written: read as text or JSON, looked through, and refused in a sentence.

Knows what can be wrong with a file. Must not know what a dataset means by it.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def text(file: Path) -> str:
    """A file's text.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is no UTF-8.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: see data/README.md for the layout.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text ({error}).") from error


def parsed(file: Path) -> object:
    """What a JSON file holds.

    Raises:
        ValueError: If it is no JSON; and as `text`.
    """
    try:
        return json.loads(text(file))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}). Was the download cut off?") from error


def lists(file: Path, schema: dict[str, tuple[str, ...]]) -> dict[str, list[dict]]:
    """A JSON file that has these lists, all of whose members have these keys.

    Raises:
        ValueError: If a list or a key is missing; the message names it. And as `parsed`.
    """
    content = parsed(file)
    for name, keys in schema.items():
        rows = content.get(name) if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise ValueError(f'{file}: expected a list "{name}"; is this a file of another dataset?')
        for number, row in enumerate(rows):
            missing = [key for key in keys if not isinstance(row, dict) or key not in row]
            if missing:
                raise ValueError(f'{file}: "{name}", number {number} has no "{missing[0]}".')
    return content


def inside(name: object, folder: Path, file: Path) -> str:
    """The name of a picture, as `file` has it, which must stay inside its folder.

    Raises:
        ValueError: If it does not.
    """
    path = PurePosixPath(name) if isinstance(name, str) else None
    if path is None or not name.strip() or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(f"{file} names the picture {name!r}, which is not inside {folder}: refused.")
    return path.as_posix()


def first_there(root: Path, names: Sequence[str]) -> Path:
    """The first of these files or folders of `root` that is there.

    Raises:
        FileNotFoundError: If none is.
    """
    found = next((root / name for name in names if (root / name).exists()), None)
    if found is None:
        raise FileNotFoundError(f"{root} has none of {', '.join(names)}: see data/README.md for the layout.")
    return found
