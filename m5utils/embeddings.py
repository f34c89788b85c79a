"""Encode once and keep: the cache of vectors, sharded, resumable, memory-mapped, keyed by content.

Knows encoders and image files. Must not know labels, metrics or what the vectors are for.

A shard holds the vectors of up to 256 images. Its folder is named by the encoder's settings, its file by
the contents of its images: nothing else, no path, time, batch size or number of workers, so a moved
dataset or cache is still valid and a changed picture or weight is not. A shard appears by a rename and
counts once its `.done` file, written last, agrees with it: correctness never rests on a lock.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m5utils import paths, runtime
from m5utils.datasets import images
from m5utils.datasets.mit_split import LabelledImages
from m5utils.encoders import image
from m5utils.runtime import Profile

SHARD = 256
BATCH = 32
AHEAD = 4  # batches decoded while the network works on one


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a list of images.

    Attributes:
        shards: Memory-mapped (n, dim) arrays, in the order of the images.
        bad: File name to reason, for images that could not be read (only with `on_bad_image="skip"`).
        kept: Rows of the list that have a vector.
    """

    shards: list[np.ndarray]
    bad: dict[str, str]
    kept: np.ndarray

    @property
    def values(self) -> Tensor:
        """(n_kept, dim): one shard is mapped, several are joined in memory."""
        joined = self.shards[0] if len(self.shards) == 1 else np.concatenate(self.shards)
        return torch.from_numpy(np.array(joined) if len(self.shards) == 1 else joined)


def encode(
    encoder: nn.Module, listed: LabelledImages, on_bad_image: str = "raise", part: tuple[int, int] = (1, 1)
) -> Embeddings:
    """The vectors of these images, from the cache where they are there, and into it where they are not.

    Args:
        encoder: Has `preprocess`, `forward`, `dim`, `dtype` and `settings`, see `encoders.image`.
        listed: n images.
        on_bad_image: "raise" stops with the names of the files that cannot be read; "skip" leaves them out.
        part: (i, n) encodes only every n-th shard, from the i-th; for a SLURM array.

    Raises:
        ValueError: If images cannot be read, vectors are not finite, or an argument is wrong.
        OSError: If the cache cannot be written; the message names its folder.
    """
    if on_bad_image not in ("raise", "skip"):
        raise ValueError(f'expected on_bad_image "raise" or "skip"; got {on_bad_image!r}')
    if not 1 <= part[0] <= part[1]:
        raise ValueError(f"expected a part i/n with 1 <= i <= n; got {part[0]}/{part[1]}")
    settings = encoder.settings() | {"reader": paths.code_key(images)}
    folder = paths.cache() / "embeddings" / paths.key_of(settings)
    hashes = paths.content_hashes(listed.paths())
    shards = {}  # name -> rows of the list
    for first in range(0, len(hashes), SHARD)[part[0] - 1 :: part[1]]:
        of_shard = hashes[first : first + SHARD]
        name = hashlib.sha256("".join(of_shard).encode()).hexdigest()[:24]
        shards[name] = range(first, first + len(of_shard))
    if any(_opened(folder, name, encoder) is None for name in shards):
        _encode_missing(encoder, folder, settings, shards, listed)
    found = {name: _opened(folder, name, encoder) for name in shards}
    bad = {
        listed.files[rows[int(row)]]: why
        for name, rows in shards.items()
        for row, why in found[name][1].items()
    }
    if bad and on_bad_image == "raise":
        shown = "\n  ".join(list(bad.values())[:20])
        raise ValueError(
            f'{len(bad)} images cannot be read; replace them, or set on_bad_image="skip":\n  {shown}'
        )
    kept = [row for rows in shards.values() for row in rows if listed.files[row] not in bad]
    return Embeddings([values for values, _ in found.values()], bad, np.array(kept, dtype=np.int64))


def encoders(profile: Profile, tuned: Path | None = None) -> list[nn.Module]:
    """The profile's image encoders, one per size; with the upper part that `training.finetune` wrote, if any."""
    if tuned is None:
        return [image.image_encoder(profile.image_encoder, size) for size in profile.image_sizes]
    return [
        image.UpperEncoder(image.image_encoder(profile.image_encoder, size, tuned=tuned))
        for size in profile.image_sizes
    ]


def features(profile: Profile, listed: LabelledImages, tuned: Path | None = None) -> Tensor:
    """(n, dim) float32: the profile's vectors of these images, each size normalised to length 1, then joined.

    Args:
        profile: Names the encoder and its sizes.
        listed: n readable images, see `readable`.
        tuned: The upper part of the network that `training.finetune` wrote; None for the pretrained one.
    """
    joined = [functional.normalize(encode(encoder, listed).values) for encoder in encoders(profile, tuned)]
    return functional.normalize(torch.cat(joined, dim=1))


def views(profile: Profile, listed: LabelledImages) -> image.Views:
    """The maps that `training.finetune` starts from: the profile's number of views of these images."""
    encoder = image.image_encoder(profile.image_encoder, profile.finetune_size)
    sources = [image.MapEncoder(encoder, view) for view in range(1, profile.finetune_views + 1)]
    maps = [encode(source, listed).values for source in sources]
    content = [paths.content_hashes(listed.paths()), [source.settings() for source in sources]]
    return image.Views(encoder, sources[0], maps, paths.key_of(content))


def readable(profile: Profile, listed: LabelledImages, on_bad_image: str = "raise") -> LabelledImages:
    """The images that can be read, as the encoder found when it went through them.

    Raises:
        ValueError: If some cannot be read and `on_bad_image` is "raise"; the message names them.
    """
    return listed.take(encode(encoders(profile)[0], listed, on_bad_image).kept)


def _encode_missing(
    encoder: nn.Module, folder: Path, settings: dict, shards: dict[str, range], listed: LabelledImages
) -> None:
    """Encode the missing shards one after the other; each is on disk before the next begins."""
    network = image.for_inference(encoder).to(runtime.device())
    try:
        with paths.lock(folder / ".lock", f"encoding into {folder.name}"), ThreadPoolExecutor(2) as threads:
            # Another run may have made some of them while this one waited for the lock.
            missing = [name for name in shards if _opened(folder, name, encoder) is None]
            batches = _batches(_source(encoder, listed), threads, [shards[name] for name in missing])
            doing = f"encoding with {settings['encoder']} at {settings['size']} px"
            for name in runtime.progress(missing, len(missing), doing, f"× {SHARD} images"):
                values, bad = _vectors(network, batches, len(shards[name]))
                if not np.isfinite(values).all():
                    raise ValueError(f"{doing} gave vectors that are not finite: the weights are damaged.")
                _publish(folder, name, values, bad)
            paths.publish_json(folder / "settings.json", settings)
    except OSError as error:
        advice = f"cannot write the cache ({error.strerror}). Free space, or set M5_CACHE to another folder"
        raise OSError(error.errno, advice, str(folder)) from error


def _source(encoder: nn.Module, listed: LabelledImages) -> Callable[[int], Tensor | str]:
    """From a row of the list to what the encoder takes, or to the reason why there is nothing."""
    if isinstance(encoder, image.UpperEncoder):
        maps = encode(encoder.source, listed)
        return lambda row: torch.from_numpy(np.array(maps.shards[row // SHARD][row % SHARD]))
    files = listed.paths()

    def decode(row: int) -> Tensor | str:
        try:
            return encoder.preprocess(images.read_rgb(files[row]))
        except ValueError as error:
            return str(error)

    return decode


def _batches(
    load: Callable[[int], Tensor | str], threads: ThreadPoolExecutor, shards: Iterable[range]
) -> Iterator[list[Tensor | str]]:
    """What the network takes next, loaded in the background: `AHEAD` batches, so memory is bounded."""
    waiting: deque = deque()
    for rows in shards:
        for first in range(0, len(rows), BATCH):
            waiting.append([threads.submit(load, row) for row in rows[first : first + BATCH]])
            if len(waiting) > AHEAD:
                yield [future.result() for future in waiting.popleft()]
    while waiting:
        yield [future.result() for future in waiting.popleft()]


@torch.inference_mode()
def _vectors(
    network: nn.Module, batches: Iterator[list[Tensor | str]], rows: int
) -> tuple[np.ndarray, dict[int, str]]:
    """The vectors of one shard without its bad rows, and by row the reason why it is bad."""
    values, bad = [], {}
    for first in range(0, rows, BATCH):
        batch = next(batches)
        bad |= {first + row: item for row, item in enumerate(batch) if isinstance(item, str)}
        good = [item for item in batch if not isinstance(item, str)]
        if good:
            # Always a full batch: kernels are chosen by size, and with them the last digits.
            full = torch.stack(good + [torch.zeros_like(good[0])] * (BATCH - len(good)))
            values.append(network(full.to(runtime.device()))[: len(good)].to("cpu", network.dtype).numpy())
    empty = np.zeros((0, network.dim), dtype=_numpy(network.dtype))
    return np.concatenate([empty, *values]), bad


def _publish(folder: Path, name: str, values: np.ndarray, bad: dict[int, str]) -> None:
    """Write a shard, then the file that says it is whole."""
    file = folder / f"{name}.npy"
    with paths.published(file) as part, part.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)
    facts = {
        "bytes": file.stat().st_size,
        "shape": list(values.shape),
        "bad": {str(row): why for row, why in bad.items()},
    }
    paths.publish_json(folder / f"{name}.done", facts)


def _opened(folder: Path, name: str, encoder: nn.Module) -> tuple[np.ndarray, dict[str, str]] | None:
    """A shard, memory-mapped, with its bad rows; None if it is not there whole."""
    file = folder / f"{name}.npy"
    try:
        facts = json.loads((folder / f"{name}.done").read_text(encoding="utf-8"))
        if file.stat().st_size != facts["bytes"]:
            return None
        empty = facts["shape"][0] == 0  # nothing to map
        values = np.load(file, mmap_mode=None if empty else "r", allow_pickle=False)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    expected = ([facts["shape"][0], encoder.dim], _numpy(encoder.dtype))
    return (values, facts["bad"]) if (list(values.shape), values.dtype) == expected else None


def _numpy(dtype: torch.dtype) -> np.dtype:
    return np.dtype(str(dtype).removeprefix("torch."))
