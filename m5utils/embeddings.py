"""Encode once and keep: the cache of vectors, sharded, resumable, memory-mapped, keyed by content.

Knows encoders, image files and texts. Must not know labels, metrics or what the vectors are for.

A shard holds the vectors of up to 256 images, or 8,192 texts. Its folder is named by the encoder's settings,
its file by their contents: nothing else, no path, time, batch size or number of workers, so a moved
dataset or cache is still valid and a changed picture or weight is not. Both names also stand inside the
file. A shard appears by a rename and counts once its `.done` file, written last, agrees with it:
correctness never rests on a lock.
"""

import copy
import hashlib
import importlib.metadata
import itertools
import json
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m5utils import paths, runtime
from m5utils.datasets import images
from m5utils.datasets.listed import ImageFiles
from m5utils.encoders import detectors, image, text
from m5utils.runtime import Profile

SHARD = 256  # images
TEXTS = 8192  # of a shard: enough of every length to fill batches
BATCH = 32
AHEAD = 4  # batches decoded while a GPU works on one
DECODERS = min(8, os.cpu_count() or 1)  # threads; Pillow decodes outside Python's lock


@dataclass(frozen=True)
class Shard:
    """Images or texts that stand in one file.

    Attributes:
        name: Of the file: their contents, in order.
        hashes: The sha256 of each.
        rows: Where they stand in the list.
    """

    name: str
    hashes: tuple[str, ...]
    rows: range


Made = tuple[Shard, np.ndarray, dict[int, str]]
"""A shard, its vectors, and by row why there is none for an item."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a list of images.

    Attributes:
        shards: Memory-mapped (n, dim) arrays, in the order of the images.
        bad: File name to reason, for images that could not be read (only with `on_bad_image="skip"`).
        kept: (n_kept,) rows of the list that have a vector.
        folder: Where the shards are.
        name: Of the file that holds all of them.
    """

    shards: list[np.ndarray]
    bad: dict[str, str]
    kept: np.ndarray
    folder: Path
    name: str

    @cached_property
    def values(self) -> Tensor:
        """(n_kept, dim), memory-mapped; several shards are first copied into one file, once.

        Where that file cannot be written (a read-only cache), they are joined in memory.
        """
        if len(self.shards) == 1:
            return torch.from_numpy(self.shards[0])
        n, dim, dtype = len(self.kept), self.shards[0].shape[1], self.shards[0].dtype
        found = _opened(self.folder, self.name, n, dim, dtype)
        if found is None:
            try:
                _publish(self.folder, self.name, self.shards, {})
                found = _opened(self.folder, self.name, n, dim, dtype)
            except OSError as error:
                print(f"{error}; {n:,} vectors are joined in memory", file=sys.stderr, flush=True)
        return torch.from_numpy(np.concatenate(self.shards) if found is None else found[0])


def encode(
    encoder: nn.Module, listed: ImageFiles, on_bad_image: str = "raise", part: tuple[int, int] = (1, 1)
) -> Embeddings:
    """The vectors of these images, from the cache where they are there, and into it where they are not.

    Args:
        encoder: Has `preprocess`, `forward`, `dim`, `dtype` and `settings`, see `encoders.image`; or, instead
            of `preprocess`, a `source`: the encoder whose rows it starts from.
        listed: n images.
        on_bad_image: "raise" stops with the names of the files that cannot be read; "skip" leaves them out.
        part: (i, n) encodes only every n-th shard, from the i-th; for a SLURM array.

    Raises:
        ValueError: If images cannot be read, vectors are not finite, or an argument is wrong.
        OSError: If the cache cannot be written; the message names its folder.
    """
    if on_bad_image not in ("raise", "skip"):
        raise ValueError(f'expected on_bad_image "raise" or "skip"; got {on_bad_image!r}')
    if not len(listed):
        raise ValueError("expected at least one image to encode, got none")
    if not 1 <= part[0] <= part[1]:
        raise ValueError(f"expected a part i/n with 1 <= i <= n; got {part[0]}/{part[1]}")
    settings = encoder.settings() | {"reader": paths.code_key(images)}
    folder = paths.cache() / "embeddings" / paths.key_of(settings)
    shards = _shards(paths.content_hashes(listed.paths()), SHARD)[part[0] - 1 :: part[1]]
    doing = f"encoding with {settings['encoder']} at {settings['size']} px", f"× {SHARD} images"
    found = _found(
        encoder, folder, settings, shards, lambda some: _of_images(encoder, listed, some), doing, part
    )
    bad = {
        listed.files[shard.rows[int(row)]]: why
        for shard, (_, bad_rows) in zip(shards, found, strict=True)
        for row, why in bad_rows.items()
    }
    if bad and on_bad_image == "raise":
        shown = "\n  ".join(f"{listed.root / file}: {why}" for file, why in list(bad.items())[:20])
        raise ValueError(
            f'{len(bad)} images cannot be read; replace them, or set on_bad_image="skip":\n  {shown}'
        )
    kept = [row for shard in shards for row in shard.rows if listed.files[row] not in bad]
    name = _name([shard.name for shard in shards])
    nothing = [np.zeros((0, encoder.dim), _numpy(encoder.dtype))]  # more parts than shards
    values = [of_shard for of_shard, _ in found] or nothing
    return Embeddings(values, bad, np.array(kept, dtype=np.int64), folder, name)


def encoders(profile: Profile, tuned: Path | None = None) -> list[nn.Module]:
    """The profile's image encoders, one per size, pretrained or with what `training.finetune` wrote.

    They start from the cached maps of the lower part, which pretrained and tuned networks share.
    """
    return [
        image.UpperEncoder(image.image_encoder(profile.image_encoder, size, tuned=tuned))
        for size in profile.image_sizes
    ]


def sources(profile: Profile, training: bool) -> list[image.MapEncoder]:
    """Everything of a profile that takes images through a network; all else follows from it in seconds.

    Args:
        profile: Names the backbone, the sizes and the views.
        training: Whether the images will be trained on; only then are their views needed.
    """
    name, size = profile.image_encoder, profile.finetune_size
    plain = [image.MapEncoder(image.image_encoder(name, size)) for size in profile.image_sizes]
    if not training:
        return plain
    encoder = image.image_encoder(name, size)
    return plain + [image.MapEncoder(encoder, view) for view in range(1, profile.finetune_views + 1)]


def features(profile: Profile, listed: ImageFiles, tuned: Path | None = None) -> Tensor:
    """(n, dim) float32: the profile's vectors of these images, each size normalised to length 1, then joined.

    Args:
        profile: Names the encoder and its sizes.
        listed: n readable images, see `readable`.
        tuned: The upper part of the network that `training.finetune` wrote; None for the pretrained one.
    """
    return _joined(encoders(profile, tuned), listed)


def views(profile: Profile, listed: ImageFiles) -> image.Views:
    """The maps that `training.finetune` starts from: the profile's number of views of these images."""
    of_views = [source for source in sources(profile, training=True) if source.view > 0]
    maps = [encode(source, listed).shards for source in of_views]
    pictures = tuple(paths.content_hashes(listed.paths()))
    made_by = [source.settings() for source in of_views]
    return image.Views(of_views[0].encoder, of_views[0], maps, np.arange(len(listed)), pictures, made_by)


def plain_features(profile: Profile, listed: ImageFiles) -> Tensor:
    """(n, dim) float32: as `features` of the pretrained network, but no maps are kept on the way.

    For pictures that no network is fine-tuned on: a map takes ten times the room of a vector.
    """
    return _joined([encoder_named(profile.image_encoder, size) for size in profile.image_sizes], listed)


def vectors_of(name: str, listed: ImageFiles, size: int = 224) -> Tensor:
    """(n, dim) float32: what a pretrained encoder makes of these images, memory-mapped, not normalised.

    Args:
        name: See `encoder_named`.
        listed: n readable images, see `readable`.
        size: Side length in pixels.
    """
    return encode(encoder_named(name, size), listed).values


def encoder_named(name: str, size: int = 224) -> nn.Module:
    """A pretrained image encoder: a classifier's, see `image.BACKBONES`, or a detector's, see `DETECTORS`.

    Its weights come from the folder that `M5_WEIGHTS` names, if a file there begins with `name`.

    Raises:
        ValueError: If there is no such encoder.
        FileNotFoundError: If its weights are missing.
    """
    if name not in (*image.BACKBONES, *detectors.DETECTORS):
        known = ", ".join((*image.BACKBONES, *detectors.DETECTORS))
        raise ValueError(f"expected an image encoder out of {known}; got {name!r}")
    by_name = detectors.detector_encoder if name in detectors.DETECTORS else image.image_encoder
    return by_name(name, size, _own_weights(name))


def _own_weights(name: str) -> Path | None:
    """A file of weights of the user's own, such as squeezenet1_1_features.pth; None for the usual ones."""
    folder = paths.dataset_root("M5_WEIGHTS") if paths.setting("M5_WEIGHTS") else None
    found = [
        file
        for file in (folder.iterdir() if folder else ())
        if file.suffix in (".pth", ".safetensors") and file.stem.partition("-")[0].startswith(name)
    ]
    return min(found, key=lambda file: (len(file.name), file.name), default=None)  # not that of ..._v2


def plain_sources(profile: Profile) -> list[nn.Module]:
    """All that pictures with captions go through: the encoders of `plain_features`, and the deck's."""
    wanted = {(profile.image_encoder, size) for size in profile.image_sizes} | {(profile.deck_encoder, 224)}
    return [encoder_named(name, size) for name, size in sorted(wanted)]


def _joined(encoders: list[nn.Module], listed: ImageFiles) -> Tensor:
    return functional.normalize(
        torch.cat([functional.normalize(encode(encoder, listed).values) for encoder in encoders], dim=1)
    )


def word_vectors(profile: Profile, captions: Sequence[str]) -> text.WordVectors:
    """The profile's FastText: a file that a setting names, or trained on these captions, once.

    Raises:
        FileNotFoundError: If the setting names no file.
        ValueError: If it is none of FastText's.
    """
    if profile.word_vectors != "trained":
        return text.fasttext_file(paths.named(profile.word_vectors))
    named = [hashlib.sha256("\n".join(captions).encode()).hexdigest(), paths.code_key(text)]
    folder = paths.cache() / "words" / paths.key_of([*named, importlib.metadata.version("fasttext")])
    if not (folder / "fasttext.bin").is_file():
        with paths.lock(folder / ".lock", "training FastText on the captions"):
            return text.fasttext_trained(captions, folder / "fasttext.bin")
    return text.fasttext_file(folder / "fasttext.bin")


def readable(profile: Profile, listed: ImageFiles, on_bad_image: str = "raise") -> ImageFiles:
    """The images that can be read, as the encoder found when it went through them.

    Raises:
        ValueError: If some cannot be read and `on_bad_image` is "raise"; the message names them.
    """
    return listed.take(encode(encoders(profile)[0].source, listed, on_bad_image).kept)


def encode_texts(encoder: nn.Module, texts: Sequence[str], part: tuple[int, int] = (1, 1)) -> Tensor:
    """The vectors of these texts, (n, dim) float32, through the same cache as those of images.

    Args:
        encoder: Has `batches`, `forward`, `dim`, `dtype` and `settings`, see `encoders.bert`.
        texts: n texts; what they say is all that names them.
        part: (i, n) encodes only every n-th shard, from the i-th, see `encode`.

    Raises:
        ValueError: If there is no text, or vectors are not finite.
        OSError: If the cache cannot be written; the message names its folder.
    """
    if not len(texts):
        raise ValueError("expected at least one text to encode, got none")
    settings = encoder.settings()
    folder = paths.cache() / "embeddings" / paths.key_of(settings)
    shards = _shards([hashlib.sha256(one.encode()).hexdigest() for one in texts], TEXTS)
    shards = shards[part[0] - 1 :: part[1]]
    doing = f"encoding with {encoder}", f"× {TEXTS} texts"
    found = _found(
        encoder, folder, settings, shards, lambda some: _of_texts(encoder, texts, some), doing, part
    )
    values = [of_shard for of_shard, _ in found] or [np.zeros((0, encoder.dim), _numpy(encoder.dtype))]
    rows, name = np.arange(sum(map(len, values))), _name([shard.name for shard in shards])
    return Embeddings(values, {}, rows, folder, name).values


def _shards(hashes: list[str], size: int) -> list[Shard]:
    """The list, cut every `size` items."""
    cuts = [range(first, min(first + size, len(hashes))) for first in range(0, len(hashes), size)]
    of_cut = [tuple(hashes[rows.start : rows.stop]) for rows in cuts]
    return [Shard(_name(one), one, rows) for one, rows in zip(of_cut, cuts, strict=True)]


def _name(parts: Iterable[str]) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:24]


def _found(
    encoder: nn.Module,
    folder: Path,
    settings: dict,
    shards: list[Shard],
    make: Callable[[Iterable[Shard]], Iterator[Made]],
    doing: tuple[str, str],
    part: tuple[int, int] = (1, 1),
) -> list[tuple[np.ndarray, dict[str, str]]]:
    """The shards, opened; those that are missing are made first, each on disk before the next is begun."""
    missing = [shard for shard in shards if _opened_shard(folder, shard, encoder) is None]
    if missing:
        with _writing(folder):  # says so before the work if it cannot be written
            paths.publish_json(folder / "settings.json", settings)
        # A lock per part: the jobs of an array work side by side, the same job twice waits.
        lock = folder / f".lock-{part[0]}-{part[1]}"
        with paths.lock(lock, f"{doing[0]} ({folder.name})"):
            # Looked up when its turn comes: another run may have made it by then.
            still = (shard for shard in missing if _opened_shard(folder, shard, encoder) is None)
            for shard, values, bad in runtime.progress(make(still), len(missing), *doing):
                if not np.isfinite(values).all():
                    raise ValueError(f"{doing[0]} gave vectors that are not finite: the weights are damaged.")
                _publish(folder, shard.name, [values], bad)
    return [_opened_shard(folder, shard, encoder) for shard in shards]


def _of_images(encoder: nn.Module, listed: ImageFiles, shards: Iterable[Shard]) -> Iterator[Made]:
    """The vectors of the images of each shard."""
    load = _source(encoder, listed)
    network = image.for_inference(encoder).to(runtime.device())
    with ThreadPoolExecutor(DECODERS) as threads:
        for shard, batches in itertools.groupby(_batches(load, threads, shards), key=lambda batch: batch[0]):
            yield shard, *_vectors(network, (items for _, items in batches))


@torch.inference_mode()
def _of_texts(encoder: nn.Module, texts: Sequence[str], shards: Iterable[Shard]) -> Iterator[Made]:
    """The vectors of the texts of each shard."""
    network = copy.deepcopy(encoder).to(runtime.device())
    for shard in shards:
        values = np.empty((len(shard.rows), encoder.dim), dtype=_numpy(encoder.dtype))
        for rows, tokens in encoder.batches([texts[row] for row in shard.rows]):
            values[rows] = network(tokens.to(runtime.device()))[: len(rows)].cpu().numpy()
        yield shard, values, {}


def _source(encoder: nn.Module, listed: ImageFiles) -> Callable[[int, str], Tensor | str]:
    """From a row of the list and its hash to what the encoder takes, or to why there is nothing."""
    if hasattr(encoder, "source"):  # it starts from what another encoder has made
        maps = encode(encoder.source, listed)
        return lambda row, _: torch.from_numpy(np.array(maps.shards[row // SHARD][row % SHARD]))
    files = listed.paths()

    def decode(row: int, sha256: str) -> Tensor | str:
        data = files[row].read_bytes()
        # Or its vector would be kept under another picture's name.
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{files[row]} changed while it was being encoded: `touch` it and run again.")
        try:
            return encoder.preprocess(images.decode_rgb(data))
        except ValueError as error:
            return str(error)

    return decode


def _batches(
    load: Callable[[int, str], Tensor | str], threads: ThreadPoolExecutor, shards: Iterable[Shard]
) -> Iterator[tuple[Shard, list[Tensor | str]]]:
    """What the network takes next, a batch or a few loaded at a time, so memory is bounded.

    A network on the CPU has no use for batches ahead of it: decoding them takes cores from it, and its
    threads wait for one another.
    """
    ahead = 0 if runtime.device().type == "cpu" else AHEAD
    waiting: deque[tuple[Shard, list[Future]]] = deque()

    def first_one() -> tuple[Shard, list[Tensor | str]]:
        shard, futures = waiting.popleft()
        return shard, [future.result() for future in futures]

    for shard in shards:
        images_of = list(zip(shard.rows, shard.hashes, strict=True))
        for first in range(0, len(images_of), BATCH):
            batch = images_of[first : first + BATCH]
            waiting.append((shard, [threads.submit(load, *each) for each in batch]))
            if len(waiting) > ahead:
                yield first_one()
    while waiting:
        yield first_one()


@torch.inference_mode()
def _vectors(network: nn.Module, batches: Iterable[list[Tensor | str]]) -> tuple[np.ndarray, dict[int, str]]:
    """The vectors of one shard without its bad rows, and by row the reason why it is bad."""
    values, bad, rows = [np.zeros((0, network.dim), dtype=_numpy(network.dtype))], {}, 0
    for batch in batches:
        bad |= {rows + row: item for row, item in enumerate(batch) if isinstance(item, str)}
        rows += len(batch)
        good = [item for item in batch if not isinstance(item, str)]
        if good:
            # Always a full batch: kernels are chosen by size, and with them the last digits.
            full = torch.stack(good + [torch.zeros_like(good[0])] * (BATCH - len(good)))
            # On a GPU, convolutions in TF32 would agree with a CPU's to three digits only.
            with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
                encoded = network(full.to(runtime.device()))
            values.append(encoded[: len(good)].to("cpu", network.dtype).numpy())
    return np.concatenate(values), bad


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Say which folder cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        advice = f"cannot write the cache ({error.strerror}). Free space, or set M5_CACHE to another folder"
        raise OSError(error.errno, advice, str(folder)) from error


def _publish(folder: Path, name: str, blocks: list[np.ndarray], bad: dict[int, str]) -> None:
    """Write the rows of `blocks` as one safetensors file, then the file that says it is whole."""
    shape, dtype = [sum(map(len, blocks)), blocks[0].shape[1]], blocks[0].dtype
    header = _header(folder, name, shape, dtype, bad)
    with _writing(folder):
        with paths.published(folder / f"{name}.safetensors") as part, part.open("wb") as file:
            file.write(header)
            for block in blocks:
                file.write(np.ascontiguousarray(block).data)
        size = len(header) + shape[0] * shape[1] * dtype.itemsize
        paths.publish_json(folder / f"{name}.done", {"bytes": size, "key": f"{folder.name}/{name}"})


def _header(folder: Path, name: str, shape: list[int], dtype: np.dtype, bad: dict[int, str]) -> bytes:
    """How a safetensors file begins; written here because its library wants all values in memory."""
    values = {
        "dtype": {"float32": "F32", "float16": "F16"}[dtype.name],
        "shape": shape,
        "data_offsets": [0, shape[0] * shape[1] * dtype.itemsize],
    }
    about = {"key": f"{folder.name}/{name}", "bad": json.dumps({str(row): why for row, why in bad.items()})}
    text = json.dumps({"__metadata__": about, "values": values}).encode()
    text += b" " * (-(len(text) + 8) % 64)  # the values begin at a multiple of 64 bytes
    return struct.pack("<Q", len(text)) + text


def _opened_shard(folder: Path, shard: Shard, encoder: nn.Module) -> tuple[np.ndarray, dict[str, str]] | None:
    return _opened(folder, shard.name, len(shard.rows), encoder.dim, _numpy(encoder.dtype))


def _opened(
    folder: Path, name: str, rows: int, dim: int, dtype: np.dtype
) -> tuple[np.ndarray, dict[str, str]] | None:
    """A file of vectors, memory-mapped, and its bad rows; None if it is not the right one, and whole."""
    path = folder / f"{name}.safetensors"
    try:
        done = json.loads((folder / f"{name}.done").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if done != {"bytes": size, "key": f"{folder.name}/{name}"}:
                return None
            (length,) = struct.unpack("<Q", file.read(8))
            header = file.read(min(length, size))
            bad = json.loads(json.loads(header)["__metadata__"]["bad"])
            shape = [rows - len(bad), dim]
            start = 8 + length
            expected = struct.pack("<Q", length) + header == _header(folder, name, shape, dtype, bad)
            if not expected or size != start + shape[0] * dim * dtype.itemsize:
                return None
            if shape[0] == 0:  # nothing to map
                return np.zeros(shape, dtype), bad
            # "c": writing into the array changes this process's copy, never the file.
            return np.memmap(file, dtype.newbyteorder("<"), mode="c", offset=start, shape=tuple(shape)), bad
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def _numpy(dtype: torch.dtype) -> np.dtype:
    return np.dtype(str(dtype).removeprefix("torch."))
