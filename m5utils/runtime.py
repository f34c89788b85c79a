"""The run a notebook is part of: profile, seed, threads, device, progress, provenance.

Knows the machine and the settings. Must not know a dataset, a model or a figure.
"""

import ctypes
import dataclasses
import importlib.metadata
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import threadpoolctl
import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Profile:
    """What differs between a laptop without data, a laptop with data and the course's server.

    Attributes:
        mit_split: "demo" for the drawn world, else the `M5_*` setting that names the folder.
        captions: The same for photographs with captions; of several settings the first that is set.
        coco_retrieval: The same for COCO's photographs with their objects.
        word_vectors: "trained" for FastText trained on the captions, else the setting that names its file.
        language_model: For whole captions, see `m5utils.encoders.bert.bert_encoder`.
        image_encoder: Name of the frozen backbone, see `m5utils.encoders.image.BACKBONES`.
        deck_encoder: Image encoder of group 7's experiment, see `m5utils.encoders.detectors`.
        object_encoders: Frozen encoders by which COCO's photographs are retrieved; heads are fitted on the
            first.
        detectors: Detectors that do the same by what they find, see `m5utils.object_descriptors`; "trained"
            is one that is trained here.
        image_sizes: Side lengths, in pixels, at which every image is encoded.
        finetune_size: Side length, in pixels, of the training crops of a whole network.
        finetune_views: Cropped and mirrored views of every training image that are cached for it.
        finetune_epochs: Passes over the training images when a whole network is trained.
        epochs: Passes over the cached features when a head is trained on labels.
        pair_epochs: The same for two heads that are trained on pairs.
        seeds: Repetitions of every training; tables give mean and standard deviation over them.
        resamples: Bootstrap resamples of the queries behind every 95 % interval.
        evaluation_split: The split whose images are the queries, used once, never for a choice.
        threads: CPU threads of every library, whatever the environment says.
    """

    name: str
    mit_split: str
    captions: tuple[str, ...]
    coco_retrieval: str
    word_vectors: str
    language_model: str
    image_encoder: str
    deck_encoder: str
    object_encoders: tuple[str, ...]
    detectors: tuple[str, ...]
    image_sizes: tuple[int, ...]
    finetune_size: int
    finetune_views: int
    finetune_epochs: int
    epochs: int = 15
    pair_epochs: int = 10
    seeds: int = 3
    resamples: int = 1000
    evaluation_split: str = "test"
    threads: int = 2


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="demo",
            mit_split="demo",
            captions=("demo",),
            coco_retrieval="demo",
            word_vectors="trained",
            language_model="minilm",
            image_encoder="efficientnet_lite0",
            deck_encoder="efficientnet_lite0",
            object_encoders=("efficientnet_lite0",),
            detectors=("trained",),
            image_sizes=(224,),
            finetune_size=96,
            finetune_views=2,
            finetune_epochs=1,
            pair_epochs=2,
        ),
        Profile(
            name="lab",
            mit_split="M5_MIT_SPLIT",
            captions=("M5_FLICKR8K", "M5_FLICKR30K", "M5_COCO"),
            coco_retrieval="M5_COCO",
            word_vectors="trained",
            language_model="minilm",
            image_encoder="efficientnet_lite0",
            deck_encoder="efficientnet_lite0",
            object_encoders=("efficientnet_lite0", "squeezenet1_1"),
            detectors=(),
            image_sizes=(224, 256),
            finetune_size=224,
            finetune_views=4,
            finetune_epochs=2,
        ),
        Profile(
            name="course",
            mit_split="M5_MIT_SPLIT",
            captions=("M5_COCO",),
            coco_retrieval="M5_COCO",
            word_vectors="M5_FASTTEXT",
            language_model="bert-base-uncased",
            image_encoder="resnet50",
            deck_encoder="fasterrcnn_resnet50_fpn",
            object_encoders=("resnet50",),
            detectors=("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"),
            image_sizes=(224, 256, 320),
            finetune_size=224,
            finetune_views=10,
            finetune_epochs=10,
        ),
    )
}


def profile(name: str, **changes: object) -> Profile:
    """The named profile, with some of its values changed.

    Raises:
        ValueError: If there is no such profile, or no such value to change.
    """
    if name not in PROFILES:
        raise ValueError(f"expected a profile out of {', '.join(PROFILES)}; got {name!r}")
    known = [field.name for field in dataclasses.fields(Profile)]
    for change in changes:
        if change not in known:
            raise ValueError(f"profile {name} has no {change!r}; it has {', '.join(known)}")
    return dataclasses.replace(PROFILES[name], **changes)


@dataclass(frozen=True)
class Run:
    """What a notebook holds on to: which one it is, its profile, its first seed, when it started."""

    notebook: str
    profile: Profile
    seed: int
    started: float

    @property
    def seeds(self) -> range:
        """The seeds of the repetitions: `seed`, `seed + 1`, ..."""
        return range(self.seed, self.seed + self.profile.seeds)


def start(notebook: str, profile_name: str = "demo", seed: int = 0) -> Run:
    """Pin seed and threads, print one line of provenance, and return the run of notebook `NN`.

    The thread count is the profile's, whatever `OMP_NUM_THREADS` says (Snakemake sets it by itself):
    sums change their last digits with the number of threads, and results must not.
    """
    chosen = profile(profile_name)
    use_machine(chosen.threads)
    seed_everything(seed)
    print(
        f"notebook {notebook} · profile {chosen.name} · seed {seed} · commit {commit()} · "
        f"torch {torch.__version__} · {device()} · {chosen.threads} threads"
    )
    return Run(notebook, chosen, seed, time.perf_counter())


def use_machine(threads: int) -> None:
    """Give torch, BLAS/OpenMP and numba this many threads, the tokenizers one process; keep freed memory."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # Numba starts its pool once and cannot grow it: ask for enough before it is first imported.
    os.environ["NUMBA_NUM_THREADS"] = str(max(threads, os.cpu_count() or 1))
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(limits=threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to a gigabyte, for the next who asks.

    Every layer of a network asks for a hundred megabytes and frees them. Got anew from the kernel each time,
    page by page, they took more than half of a forward pass on two cores. Only glibc can be told, see
    mallopt(3); other systems stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**29)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; ask torch for deterministic algorithms where it has them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that use the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def commit() -> str:
    """The short git commit of the working tree, with `+` if tracked files differ; "none" outside git."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of Python and these packages."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def progress(items: Iterable, total: int, doing: str, unit: str = "it") -> Iterator:
    """Iterate, with a bar on a terminal and otherwise a line at most every 30 s: logs stay short."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=doing, unit=unit)
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= 30:
            print(f"{doing}: {done} of {total} {unit}", flush=True)
            last = time.monotonic()
        yield item
