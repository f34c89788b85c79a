"""Exact ranks of images and captions both ways: against the bare product, and against how others do it."""

from collections.abc import Callable

import faiss
import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from m5utils import ranks

from .measuring import PRODUCTS, bare_products, fastest_product, interleaved, peak_mb

N_IMAGES, PER_IMAGE, DIM, K = 5_000, 5, 1024, 10
LOOPED = 20  # the loop over queries is timed on one in so many
VAL2014 = (40_504, 202_654, 256)


def run() -> dict[str, float]:
    """Ratios for 5,000 images, then time and memory for as many as COCO's val2014 has."""
    return of_5k() | of_val2014()


def pairs(n_images: int, n_captions: int, dim: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Rows of length 1; a caption lies nearer to its image than chance would have it."""
    seeded = torch.Generator().manual_seed(0)
    image_of = np.sort(np.arange(n_captions) % n_images)
    images = torch.nn.functional.normalize(torch.randn(n_images, dim, generator=seeded))
    captions = torch.randn(n_captions, dim, generator=seeded).div_(dim**0.5)
    captions.add_(images[torch.from_numpy(image_of)], alpha=0.1)
    return images, torch.nn.functional.normalize(captions, out=captions), image_of


def of_5k() -> dict[str, float]:
    """Against the fastest product alone, FAISS, scikit-learn, and one query at a time."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    images, captions, image_of = pairs(N_IMAGES, N_IMAGES * PER_IMAGE, DIM)
    x, y = images.numpy(), captions.numpy()
    check(images[:500], captions[: 500 * PER_IMAGE], image_of[: 500 * PER_IMAGE])

    def faiss_both() -> None:
        for query, gallery in ((x, y), (y, x)):
            index = faiss.IndexFlatIP(DIM)
            index.add(gallery)
            index.search(query, K)

    def sklearn_both() -> None:
        for query, gallery in ((x, y), (y, x)):
            NearestNeighbors(n_neighbors=K, algorithm="brute").fit(gallery).kneighbors(query)

    def loop_both() -> None:
        for query, gallery in ((x, y), (y, x)):
            for row in query[::LOOPED]:
                np.argsort(-(gallery @ row))

    seconds = interleaved(
        {
            "ours": lambda: ranks.of_pairs(images, captions, image_of),
            **bare_products(images, captions),
            "faiss": faiss_both,
            "sklearn": sklearn_both,
            "loop": loop_both,
        },
        rounds=5,
    )
    seconds["loop"] *= LOOPED
    ours, product = seconds["ours"], fastest_product(seconds)
    return {
        "ranks_5k/ours_over_matmul": ours / product,
        "ranks_5k/faiss_over_ours": seconds["faiss"] / ours,
        "ranks_5k/sklearn_over_ours": seconds["sklearn"] / ours,
        "ranks_5k/loop_over_ours": seconds["loop"] / ours,
        **{f"ranks_5k/seconds/{name}": value for name, value in seconds.items()},
    }


def check(images: Tensor, captions: Tensor, image_of: np.ndarray) -> None:
    """The ranks of a slow reference, on coarse embeddings whose products are exact and often tied."""
    images, captions = (rows.sign() for rows in (images[:, :16], captions[:, :16]))
    scores = (images @ captions.T).numpy()
    own = scores[image_of, np.arange(len(captions))]
    found = ranks.of_pairs(images, captions, image_of)
    np.testing.assert_array_equal(found.images_at_least, (scores >= own).sum(axis=0))
    np.testing.assert_array_equal(found.captions_at_least, (scores[image_of] >= own[:, None]).sum(axis=1))


def of_val2014() -> dict[str, float]:
    """Against the same product in blocks, each thrown away; and the memory beside the inputs."""
    images, captions, image_of = pairs(*VAL2014)
    before = peak_mb(lambda: None)
    extra = peak_mb(lambda: ranks.of_pairs(images, captions, image_of)) - before  # before anything is reused
    seconds = interleaved(
        {"ours": lambda: ranks.of_pairs(images, captions, image_of)}
        | {name: in_blocks(multiply, images, captions) for name, multiply in PRODUCTS.items()},
        rounds=3,
    )
    return {
        "ranks_val2014/ours_over_matmul": seconds["ours"] / fastest_product(seconds),
        "ranks_val2014/extra_mb": max(0.0, extra),
        **{f"ranks_val2014/seconds/{name}": value for name, value in seconds.items()},
    }


def in_blocks(multiply: Callable, images: Tensor, captions: Tensor, block: int = 4096) -> Callable[[], None]:
    """The product, block by block into the same buffer."""
    out = torch.empty(block, block)

    def product() -> None:
        for rows in images.split(block):
            for columns in captions.split(block):
                multiply(rows, columns, out[: len(rows), : len(columns)])

    return product
