"""Small pairs of images and captions, as features and as words, that tests learn from; pictures as files."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from reference import gaussian

from m5utils import ranks
from m5utils.datasets.listed import ImageFiles
from m5utils.pairs import Pairs, PairTask


def vectors(n=40, per_image=2, seed=0):
    """Captions are another linear view of the same hidden thing, with noise."""
    hidden, noise = gaussian(n, 4, seed), 0.3 * gaussian(n * per_image, 6, seed + 1)
    image_of = np.repeat(np.arange(n), per_image)
    return Pairs(hidden @ gaussian(4, 10, 90), hidden[image_of] @ gaussian(4, 6, 91) + noise, image_of)


def words(n=40, seed=0, n_things=8):
    """Each image shows two things; its two captions name both, in one order and in the other.

    Word 0 joins them ("and"); word 1 is in no caption; things are words 2 to 9.
    """
    random = np.random.default_rng(seed)
    things = np.array([random.choice(n_things, 2, replace=False) for _ in range(n)])
    shown = np.zeros((n, n_things), dtype=np.float32)
    np.put_along_axis(shown, things, 1, axis=1)
    images = torch.from_numpy(shown) @ gaussian(n_things, 10, 92) + 0.1 * gaussian(n, 10, seed + 1)
    numbers = np.stack([np.stack([t[order] + 2 for t in things]) for order in ([0, 1], [1, 0])], axis=1)
    captions = np.full((2 * n, 5), -1)
    captions[:, [0, 2]], captions[:, 1] = numbers.reshape(-1, 2), 0
    return Pairs(
        images, torch.from_numpy(captions), np.repeat(np.arange(n), 2), gaussian(2 + n_things, 6, 93)
    )


def task(make=vectors):
    """To learn from some and to rank others."""
    return PairTask(make(), make(seed=7), "drawn")


def recall_sum(method, of=None, seed=0):
    """What a method reaches, from 0 to 6."""
    of = of or task()
    found = ranks.of_pairs(*method(of, seed), of.ranked.image_of)
    return ranks.recall_sum(ranks.image_to_text(found), ranks.text_to_image(found))


CHANCE = 2 * (1 + 5 + 10) / 40  # about; of 40 images with two captions each


def pictures(folder: Path, n: int, size: tuple[int, int]) -> ImageFiles:
    """Patches of random colours, as files of this width and height, each another."""
    random = np.random.default_rng(0)
    for number in range(n):
        pixels = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize(size).save(folder / f"{number}.png")
    return ImageFiles(folder, tuple(f"{number}.png" for number in range(n)))
