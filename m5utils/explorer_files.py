"""What the explorer's page reads: arrays, texts and thumbnails as files that a page may load from a disk.

Knows JSON, scripts and pictures. Must not know what they show.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from m5utils import paths
from m5utils.datasets import images

NOTHING = 2**32 - 1  # instead of an item's number, where there are fewer answers
ABSENT = 65535  # the coordinate of what is not on a map
THUMBNAIL, COLUMNS, ROWS = 96, 20, 10  # pixels of one, and how many lie on a sheet


def put(folder: Path, name: str, fields: dict[str, np.ndarray | bytes]) -> None:
    """Arrays and texts as a script: a page from the file system may load scripts, but no data."""
    packed = {key: _packed(value) for key, value in fields.items()}
    (folder / f"{name}.js").write_text(f"put({json.dumps(name)},{json.dumps(packed)});\n", encoding="ascii")


def _packed(value: np.ndarray | bytes) -> str:
    data = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def put_json(folder: Path, name: str, value: object) -> None:
    """JSON as a script; no text in it can end the script."""
    content = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    with paths.published(folder / f"{name}.js") as part:
        part.write_text(f"put({json.dumps(name)},{content});\n", encoding="ascii")


def get_json(file: Path) -> dict:
    """What `put_json` wrote."""
    return json.loads(file.read_text(encoding="ascii").partition(",")[2].rpartition(")")[0])


def texts(items: Sequence[str]) -> bytes:
    """Any texts, for `put`: in ASCII, so that half a character comes through as it is."""
    return json.dumps(list(items)).encode()


def coordinates(images: np.ndarray, captions: np.ndarray | None) -> np.ndarray:
    """(n_images + n_captions, 2) uint16, both axes at one scale, the middle in the middle."""
    xy = np.concatenate([np.float64(part) for part in (images, captions) if part is not None])
    there = ~np.isnan(xy).any(axis=1)
    placed = np.full(xy.shape, ABSENT, dtype=np.uint16)
    if there.any():
        low, high = xy[there].min(axis=0), xy[there].max(axis=0)
        scale = (ABSENT - 1) / (max((high - low).max(), 1e-12) * 1.04)
        placed[there] = np.rint((xy[there] - (low + high) / 2) * scale + (ABSENT - 1) / 2)
    return placed


def rounded(rows: Tensor, bits: int) -> tuple[np.ndarray, float]:
    """Whole numbers of 8 or 16 bits, and what they are multiplied by to be the rows again."""
    scale = max(float(rows.abs().max()), 1e-12) / (2 ** (bits - 1) - 1)
    return torch.round(rows / scale).numpy().astype({8: np.int8, 16: np.int16}[bits]), scale


def thumbnails(page: Path, files: Sequence[Path] | None) -> tuple[dict | None, list[str]]:
    """Sheets of small pictures, made once for the same files.

    Returns:
        What the page must know of them, None without files; the names of the files that cannot be read.
    """
    if not files:
        return None, []
    there = [file for file in files if file.is_file()]
    key = paths.key_of([[str(file) for file in files], paths.content_hashes(there), THUMBNAIL, COLUMNS, ROWS])
    folder, per_sheet = page / f"thumbnails_{key}", COLUMNS * ROWS
    if not (folder / "unreadable.json").is_file():
        with paths.published_folder(folder) as part:
            unreadable = []
            for number, first in enumerate(range(0, len(files), per_sheet)):
                sheet = Image.new("RGB", (COLUMNS * THUMBNAIL, ROWS * THUMBNAIL), "#808080")
                some = files[first : first + per_sheet]
                with ThreadPoolExecutor() as pool:
                    for place, small in enumerate(pool.map(_small, some)):
                        if small is None:
                            unreadable.append(some[place].name)
                            continue
                        row, column = divmod(place, COLUMNS)
                        sheet.paste(small, (column * THUMBNAIL, row * THUMBNAIL))
                sheet.save(part / f"{number}.jpg", quality=80)
            paths.publish_json(part / "unreadable.json", unreadable)
    about = {"folder": folder.name, "size": THUMBNAIL, "columns": COLUMNS, "rows": ROWS}
    return about, json.loads((folder / "unreadable.json").read_text(encoding="utf-8"))


def _small(file: Path) -> Image.Image | None:
    """A picture, cut to a square around its middle, as small as a thumbnail; None if it cannot be read."""
    try:
        picture = images.read_rgb(file)
    except (OSError, ValueError):
        return None
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    return picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, box=box, reducing_gap=2)
