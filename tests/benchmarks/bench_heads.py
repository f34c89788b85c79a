"""Training two heads on cached features: against the multiply-adds alone, and against the deck's way."""

import dataclasses
import time
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m5utils import alignment, descent, objectives
from m5utils.pairs import Pairs

from .measuring import bare_products, fastest_product, interleaved, repeat, temporary_cache

IMAGE_DIM, WORD_DIM, DIM, BATCH = 4096, 300, 1000, 1024
COCO_IMAGES, COCO_CAPTIONS = 82_783, 414_113
DECK_BATCH, STEPS = 32, 10


def run() -> dict[str, float]:
    """Model A of the deck in batches of 1,024: a step with all negatives, then the deck's training."""
    with temporary_cache():
        return of_steps() | four_epochs()


def of_steps() -> dict[str, float]:
    """One step, the products it cannot do without, and one step with the backbone in the loop."""
    ours, deck = our_step(), deck_step()
    # A batch of images times the first layer's weights.
    products = bare_products(torch.randn(BATCH, IMAGE_DIM), torch.randn(DIM, IMAGE_DIM))
    calls = {name: partial(repeat, product, 2 * STEPS) for name, product in products.items()}
    seconds = interleaved({"ours": ours, **calls}, rounds=10)
    started = time.perf_counter()
    deck()
    per_caption = {"deck": (time.perf_counter() - started) / DECK_BATCH}
    per_caption["ours"] = seconds["ours"] / (STEPS * BATCH)
    floor = multiply_adds() / (BATCH * IMAGE_DIM * DIM) * fastest_product(seconds) / (2 * STEPS)
    return {
        "train_heads/fraction_of_floor": floor / (seconds["ours"] / STEPS),
        "train_heads/deck_step_over_ours": per_caption["deck"] / per_caption["ours"],
        "train_heads/ms_per_caption/ours": 1000 * per_caption["ours"],
        "train_heads/ms_per_caption/deck": 1000 * per_caption["deck"],
    }


def multiply_adds() -> int:
    """Of one step: each layer forward and its weights' gradient; the scores forward and both gradients."""
    return 2 * BATCH * (IMAGE_DIM + WORD_DIM) * DIM + 3 * BATCH * BATCH * DIM


def our_step():  # noqa: ANN201
    """Some steps of `alignment.fit`."""
    pairs = features(4 * BATCH, 4 * BATCH)
    recipe = alignment.Recipe("sum_of_hinges", (), "deck_a", "deck_a", DIM, batch=BATCH)
    model = alignment.Aligned(*alignment._untrained(pairs, recipe, 0))
    objective = objectives.by_name(recipe.objective)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, fused=True)
    images, captions = descent.gathered(pairs.images), descent.gathered(pairs.captions)
    rows, image_of = torch.arange(BATCH), torch.arange(BATCH)

    def steps() -> None:
        for _ in range(STEPS):
            value = objective(
                model.images.project(images(rows)),
                model.captions.project(captions(rows)),
                image_of,
                image_of,  # a sentence of its own each
            )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    return steps


def deck_step():  # noqa: ANN201
    """One batch of 32 captions as group 7 trains: the backbone forward and backward, one negative."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    backbone = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).backbone.eval()
    pictures, words = torch.rand(DECK_BATCH, 3, 224, 224), torch.randn(DECK_BATCH, WORD_DIM)
    head = nn.Sequential(nn.ReLU(), nn.Linear(IMAGE_DIM, DIM))
    of_words = nn.Sequential(nn.ReLU(), nn.Linear(WORD_DIM, DIM))
    optimizer = torch.optim.AdamW([*head.parameters(), *of_words.parameters()], lr=2e-5)

    def step() -> None:
        anchor = head(backbone(pictures)["pool"].flatten(1))
        positive = of_words(words)
        loss = functional.triplet_margin_loss(anchor, positive, positive.roll(-1, 0), margin=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()  # what is done once only
    return step


def four_epochs() -> dict[str, float]:
    """The deck's four epochs, model and loss, over COCO train2014's 414,113 captions in larger batches.

    One is run, hashing and all, the others take as long.
    """
    pairs = features(COCO_IMAGES, COCO_CAPTIONS)
    recipe = dataclasses.replace(alignment.DECK, epochs=1, batch=BATCH)
    started = time.perf_counter()
    fitted = alignment.fit(pairs, recipe)
    whole = time.perf_counter() - started
    return {"train_heads/minutes_4_epochs_coco": (whole + 3 * fitted.seconds) / 60}


def features(n_images: int, n_captions: int) -> Pairs:
    """Random features, five captions to an image."""
    seeded = torch.Generator().manual_seed(0)

    def rows(n: int, dim: int) -> Tensor:
        return torch.rand(n, dim, generator=seeded)

    image_of = np.sort(np.arange(n_captions) % n_images)
    return Pairs(rows(n_images, IMAGE_DIM), rows(n_captions, WORD_DIM), image_of)
