"""Encoding pictures: against the bare network on ready tensors, and how much memory more pictures take."""

import copy
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m5utils import embeddings, runtime
from m5utils.datasets import mit_split
from m5utils.datasets.mit_split import LabelledImages
from m5utils.encoders import image

from .measuring import interleaved, peak_mb, temporary_cache

N_TIMED, N_BARE = 256, 64
N_FEW, N_MANY = 500, 2000


def run() -> dict[str, float]:
    """Images per second of `encode`, cold, over the bare network's; and megabytes per 1,000 images."""
    with temporary_cache() as folder:
        return {
            "encode/fraction_of_forward": fraction_of_forward(folder),
            "encode/extra_mb_per_1000_images": extra_mb_per_1000_images(folder),
        }


def copies(folder: Path, n: int) -> LabelledImages:
    """n photographs of the drawn world, 256 x 256 JPEGs, no two files alike: bytes after the end differ."""
    drawn = mit_split.for_profile(runtime.profile("demo"))["train"].paths()
    folder.mkdir()
    names = tuple(f"{number:05}.jpg" for number in range(n))
    for number, name in enumerate(names):
        picture = drawn[number % len(drawn)].read_bytes()
        (folder / name).write_bytes(picture + f"{folder.name} {number}".encode())
    return LabelledImages(folder, names, np.zeros(n, dtype=np.int64), ("all",))


def fraction_of_forward(folder: Path) -> float:
    """Hashing, reading, decoding, resizing, encoding and writing, over the network as its package has it.

    The network gets float tensors that are ready, batches of the same size, and its faster memory layout.
    More than 1 is possible: `encode` folds the batch norms into the convolutions.
    """
    listed, encoder = copies(folder / "timed", N_TIMED), image.image_encoder("efficientnet_lite0", 224)
    network = torch.nn.Sequential(encoder.lower, encoder.upper)
    ready = torch.randn(N_BARE, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    caches = iter(range(1000))

    def cold() -> Tensor:
        os.environ["M5_CACHE"] = str(folder / f"cache{next(caches)}")
        return embeddings.encode(encoder, listed).values

    def bare(layout: torch.memory_format) -> Callable[[], None]:
        of_layout = copy.deepcopy(network).to(memory_format=layout)
        batches = [batch.contiguous(memory_format=layout) for batch in ready.split(embeddings.BATCH)]

        @torch.inference_mode()
        def forward() -> None:
            for batch in batches:
                of_layout(batch)

        return forward

    calls = {"encode": cold, "planes": bare(torch.contiguous_format), "pixels": bare(torch.channels_last)}
    for call in calls.values():
        call()
    seconds = interleaved(calls, rounds=3)
    return (N_TIMED / seconds["encode"]) / (N_BARE / min(seconds["planes"], seconds["pixels"]))


def extra_mb_per_1000_images(folder: Path) -> float:
    """How much the peak grows from few images to many; the mapped vectors are the file system's memory."""
    encoder = image.image_encoder("efficientnet_lite0", 64)
    os.environ["M5_CACHE"] = str(folder / "memory")
    few, many = copies(folder / "few", N_FEW), copies(folder / "many", N_MANY)
    embeddings.encode(encoder, few.take(range(embeddings.SHARD)))  # libraries take what they keep
    peaks = [
        peak_mb(lambda listed=listed: embeddings.encode(encoder, listed).values) for listed in (few, many)
    ]
    return max(0.0, (peaks[1] - peaks[0]) / (N_MANY - N_FEW) * 1000)
