"""The explorer with COCO's 123,000 images and 617,000 captions: made from embeddings, and in a browser."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m5utils import explorer
from m5utils.explorer import Method, Shown, TypedWords

from .. import browser
from .measuring import peak_mb

N_IMAGES, N_CAPTIONS, DIM, N_WORDS = 123_000, 617_000, 256, 8_000


def run() -> dict[str, float]:
    """Two methods and two maps of synthetic embeddings, which lie in files; no thumbnails."""
    with tempfile.TemporaryDirectory() as folder:
        shown, methods = drawn_at_random(Path(folder))
        page = Path(folder) / "page"
        maps = {}

        def make() -> None:
            for name, method in methods.items():
                maps[name] = explorer.shadow(method.images, method.captions)
            explorer.write(page, "07", "At random", shown, methods, maps)

        before, started = peak_mb(lambda: None), time.perf_counter()
        extra = peak_mb(make) - before
        seconds = time.perf_counter() - started
        size = sum(file.stat().st_size for file in page.rglob("*") if file.is_file())
        return {
            "explorer_740k/seconds_to_make": seconds,
            "explorer_740k/extra_mb": extra,
            "explorer_740k/page_mb": size / 1e6,
            **in_browser(page),
        }


def drawn_at_random(folder: Path) -> tuple[Shown, dict[str, Method]]:
    """What is shown, and two methods whose embeddings are mapped from files, as the cache's are."""
    random = np.random.default_rng(0)
    image_of = np.sort(np.arange(N_CAPTIONS) % N_IMAGES)
    vocabulary = np.array([f"word{number:04}" for number in range(N_WORDS)])
    frequent = (N_WORDS * random.random((N_CAPTIONS, 10)) ** 3).astype(int)
    captions = tuple(" ".join(words) for words in vocabulary[frequent])
    names = tuple(f"COCO_val2014_{number:012}.jpg" for number in range(N_IMAGES))
    methods = {}
    for name, noise in (("theirs", 3.0), ("ours", 1.0)):
        images = mapped(
            folder / f"{name}.images", N_IMAGES, lambda rows: random.normal(size=(len(rows), DIM))
        )
        near = partial(near_images, random, images, image_of, noise)
        methods[name] = Method(images, mapped(folder / f"{name}.captions", N_CAPTIONS, near))
    typed = TypedWords(
        tuple(vocabulary), torch.randn(N_WORDS, DIM, generator=torch.Generator().manual_seed(0))
    )
    methods["ours"] = Method(methods["ours"].images, methods["ours"].captions, typed=typed)
    return Shown("random vectors", names, None, captions, image_of), methods


def near_images(
    random: np.random.Generator, images: Tensor, image_of: np.ndarray, noise: float, rows: range
) -> np.ndarray:
    """Captions' rows: their image's with noise."""
    return images.numpy()[image_of[rows.start : rows.stop]] + noise * random.normal(size=(len(rows), DIM))


def mapped(file: Path, n: int, make) -> Tensor:  # noqa: ANN001
    """(n, DIM) float32 rows in a file, made part by part."""
    values = np.memmap(file, np.float32, "w+", shape=(n, DIM))
    for first in range(0, n, 20_000):
        rows = range(first, min(n, first + 20_000))
        values[rows.start : rows.stop] = make(rows)
    return torch.from_numpy(values)


def in_browser(page: Path) -> dict[str, float]:
    """Seconds and milliseconds as the page itself measures them; none without a browser."""
    if not browser.CHROMIUM:
        print("  no chromium: the page was made and not looked at")
        return {}
    with browser.chromium() as chromium:
        browser.open_page(chromium, page)
        ready = chromium.execute_script("return timing.ready") / 1000
        redraws = chromium.execute_script(
            "return Array.from({ length: 15 }, () => { draw(); return timing.redraw; })"
        )
        searches = []
        for words in ("word0001 word0100 word2000", "word0003", "word0000 word0007 word0300 word0800"):
            chromium.execute_async_script(f"go({{ q: '{words}', item: '' }}).then(arguments[0])")
            searches.append(chromium.execute_script("return timing.search"))
        chromium.execute_script("space.about.methods.forEach((method) => { method.typed = null; })")
        chromium.execute_async_script("go({ q: 'word0002 word0111', item: '' }).then(arguments[0])")
        by_words = chromium.execute_script("return timing.search")
        return {
            "explorer_740k/seconds_until_ready": ready,
            "explorer_740k/ms_per_redraw": float(np.median(redraws)),
            "explorer_740k/ms_per_search": float(np.median(searches)),
            "explorer_740k/ms_per_word_search": by_words,
        }
