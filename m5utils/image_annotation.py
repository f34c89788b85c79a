"""From an image to what is said of it, as image annotation did before captions: WSABIE, PAMIR, One-vs-Rest.

Knows features of pairs, and captions as numbers of words. Must not know pictures or a metric of the report.
Slides: Gordo & Larlus, "WSABIE", with the two that it is compared with there.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from m5utils import checkpoints, fitting, heads, objectives, paths, runtime, semantic_losses, vocabularies
from m5utils.alignment import Aligned
from m5utils.fitting import Descent
from m5utils.objectives import Objective
from m5utils.pairs import PairTask

Method = Callable[[PairTask, int], tuple[Tensor, Tensor]]
AT_ONCE = 256  # triplets whose steps are found together, one after the other all the same


def warp(margin: float = 0.1) -> Objective:
    """The weighted approximate-rank pairwise loss, one-directional: from an image to its caption.

    Of the batch's captions, `rank` come within the margin of the right one. Their hinges are averaged and
    weighed by `rank_weights`: the first wrong one costs as much as the next two or three together. WSABIE
    draws wrong ones until one comes within the margin, estimates the rank by the number of draws and takes a
    step for that one; this is the mean of such steps, its rank counted in the batch.

    Reference: Weston, Bengio, Usunier, "WSABIE", IJCAI 2011.
    """

    def loss(images: Tensor, captions: Tensor, image_of: Tensor, _sentence_of: Tensor) -> Tensor:
        similar, this = objectives.scores(images, captions), torch.arange(len(images), device=images.device)
        return semantic_losses.warp(similar, this, ~objectives.negatives(image_of), margin)

    return loss


def wsabie(descent: Descent, dim: int = 512, margin: float = 0.1) -> Method:
    """A method to judge: two linear heads fitted by `warp`."""

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        runtime.seed_everything(seed)
        model = Aligned(heads.linear(task.train.images, dim), heads.linear(task.train.captions, dim))
        said = {"margin": margin, "code": paths.code_key(sys.modules[__name__])}
        fitting.fit_heads(model.images, model.captions, task.train, warp(margin), descent, seed, said)
        return model.embed(task.ranked)

    return method


def passive_aggressive(
    images: np.ndarray,
    captions: np.ndarray,
    image_of: np.ndarray,
    rows: np.ndarray,
    wrong: np.ndarray,
    most: float,
) -> np.ndarray:
    """The matrix W by which captions score images, q W p, after a walk through triplets.

    Each step looks at a caption, its image and a wrong one. If the right one does not score 1 more than the
    wrong one, W is changed as little as possible so that it does, but by no more than `most`.

    Args:
        images: (n_images, image_dim) float32.
        captions: (n_captions, caption_dim) float32.
        image_of: (n_captions,) the right images.
        rows: (n_steps,) captions.
        wrong: (n_steps,) images; a step whose wrong image is the right one changes nothing.
        most: The largest step, above 0.

    Returns:
        (caption_dim, image_dim), the mean over the walk: its end alone is what the last triplets wanted.

    Raises:
        ValueError: If `most` is not above 0.

    References: Crammer et al., "Online passive-aggressive algorithms", JMLR 2006; Grangier, Bengio, "A
    discriminative kernel-based approach to rank images from text queries", TPAMI 2008 (PAMIR).
    """
    if most <= 0:
        raise ValueError(f"expected a largest step above 0; got {most}")
    found, later = np.zeros((2, captions.shape[1], images.shape[1]), dtype=np.float32)
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        asked, apart = captions[rows[part]], images[image_of[rows[part]]] - images[wrong[part]]
        lacks = 1 - (asked @ found * apart).sum(axis=1)
        shared = (asked @ asked.T) * (apart @ apart.T)  # what a step for one triplet does for another
        sizes = np.zeros(len(asked), dtype=np.float32)
        for one in range(len(asked)):
            still = lacks[one] - shared[one, :one] @ sizes[:one]
            if still > 0 and shared[one, one] > 0:
                sizes[one] = min(most, still / shared[one, one])
        found += (sizes[:, None] * asked).T @ apart
        before = first + np.arange(len(asked), dtype=np.float32)
        later += ((before * sizes)[:, None] * asked).T @ apart
    return found - later / max(1, len(rows))


def pamir(epochs: int = 5, most: float = 0.1) -> Method:
    """A method to judge: `passive_aggressive`, a step per caption and epoch, from the text to the image."""

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        train = task.train
        matrix = nn.Linear(train.images.shape[1], train.captions.shape[1], bias=False)
        arguments = {"train": train.key, "seed": seed, "epochs": epochs, "most": most}

        def learn(folder: Path) -> None:
            random = np.random.default_rng(seed)
            rows = np.concatenate([random.permutation(len(train.captions)) for _ in range(epochs)])
            wrong = random.integers(len(train.images), size=len(rows))
            images = functional.normalize(train.images).numpy()
            with threadpool_limits(1, "blas"):  # the same whatever the number of threads
                found = passive_aggressive(images, train.captions.numpy(), train.image_of, rows, wrong, most)
            matrix.weight.data = torch.from_numpy(found)
            checkpoints.save(folder / "pamir.safetensors", {"matrix": matrix}, {})

        said = arguments | {"code": paths.code_key(sys.modules[__name__])}
        done = checkpoints.trained_once("heads/pamir.safetensors", said, "fitting PAMIR", learn)
        checkpoints.load(done, {"matrix": matrix})
        return functional.normalize(task.ranked.images), task.ranked.captions @ matrix.weight.detach()

    return method


def one_vs_rest(descent: Descent, least: int = 5) -> Method:
    """A method to judge: a classifier for every word, and a caption is worth what its words are.

    One linear layer on the image says how much more likely a word is than among all images (the logarithm of
    the odds); a caption's score is the sum over its words, divided by the root of their number.

    Args:
        descent: How they are fitted; a row is an image.
        least: How often a word must occur in the captions of train to have a classifier.

    Reference: the baseline of Weston, Bengio, Usunier, "WSABIE", IJCAI 2011.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        train, device = task.train, runtime.device()
        places = vocabularies.known(train, least)
        there = vocabularies.bags(train, places, by="image")
        usual = (there.sum(dim=0) / len(there)).clamp(1e-6, 1 - 1e-6).logit()
        runtime.seed_everything(seed)
        head = heads.Head(train.images, nn.Linear(train.images.shape[1], len(usual)), normalise=False)
        head.layers.bias.data = usual.clone()
        images, there = head.to(device).prepared(train.images.to(device)), there.to(device)
        said = {"train": train.key, "least": least, "code": paths.code_key(sys.modules[__name__], heads)}

        def loss(rows: Tensor) -> Tensor:
            return functional.binary_cross_entropy_with_logits(
                head.project(images[rows]), there[rows].float()
            )

        fitting.minimise(head, loss, len(there), descent, seed, said)
        odds = head(task.ranked.images.to(device)).cpu() - usual
        return odds, functional.normalize(vocabularies.bags(task.ranked, places).float())

    return method
