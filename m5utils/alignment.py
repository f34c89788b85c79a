"""Fit two heads on pairs, one for images and one for captions, until pairs lie side by side in one space.

Knows features, pairs and objectives. Must not know how features were made, or a metric of the report.
Slides: P5 (a), (b), "projection to a common space".
"""

import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from m5utils import checkpoints, heads, objectives, paths, ranks, runtime, spaces
from m5utils.descent import gathered
from m5utils.pairs import Pairs, PairTask


@dataclass(frozen=True)
class Recipe:
    """How two heads are trained; group 7's deck is `DECK`.

    Attributes:
        objective: One of `objectives.OBJECTIVES`.
        settings: Of the objective: margin, direction, temperature, ...
        image_head: One of `heads.HEADS`.
        caption_head: One of `heads.HEADS`, or "attention" for captions as numbers of words.
        dim: Of the common space.
        epochs: Passes over the captions, at most.
        batch: Pairs per step.
        rate: Learning rate of AdamW, which falls to 0 along a cosine unless `constant`.
        constant: Whether the rate stays what it is.
        decay: Weight decay.
        measured_by: "cosine", or "euclidean" for objectives that know it; scores are measured alike.
        captions_per_image: How many captions of an image, at most, stay together in a batch, for objectives
            that look at these: 1 draws each by itself.
    """

    objective: str = "info_nce"
    settings: tuple[tuple[str, float | str], ...] = ()
    image_head: str = "linear"
    caption_head: str = "linear"
    dim: int = 1024
    epochs: int = 20
    batch: int = 1024
    rate: float = 5e-4
    constant: bool = False
    decay: float = 1e-2
    measured_by: str = "cosine"
    captions_per_image: int = 1


DECK = Recipe(
    objective="rolled",  # margin 0.5
    image_head="deck_a",
    caption_head="deck_a",
    dim=1000,
    epochs=4,
    batch=32,
    rate=2e-5,
    constant=True,
    measured_by="euclidean",
)


class Aligned(nn.Module):
    """Two heads that end in the same space."""

    def __init__(self, images: nn.Module, captions: nn.Module) -> None:
        """Keep the head of the images and that of the captions."""
        super().__init__()
        self.images, self.captions = images, captions

    @torch.no_grad()
    def embed(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Embeddings of images (n_images, dim) and captions (n_captions, dim), where the heads are."""
        device = next(self.parameters()).device
        return self.images(pairs.images.to(device)), self.captions(pairs.captions.to(device))


@dataclass(frozen=True)
class Fitted:
    """Two trained heads and how it went.

    Attributes:
        model: The heads, ready to use.
        loss: Mean loss of every epoch.
        validation: Sum of R@1, 5, 10 of both directions (0 to 6) after every epoch; empty without validation.
        seconds: What training took when it was done.
    """

    model: Aligned
    loss: list[float]
    validation: list[float]
    seconds: float

    @property
    def epochs(self) -> int:
        """How many epochs gave the weights that were kept."""
        return 1 + int(np.argmax(self.validation)) if self.validation else len(self.loss)


SAVE_EVERY = 30.0  # seconds; what a kill may cost


def fit(
    train: Pairs, recipe: Recipe, seed: int = 0, validation: Pairs | None = None, patience: int = 3
) -> Fitted:
    """Train two heads on pairs of features; kept in the cache, named by all that decides them.

    Every epoch goes through all captions in an order drawn anew, each beside its image, in groups of
    `captions_per_image`. With `validation`, the weights of the epoch that ranks it best are kept, and
    training stops when `patience` epochs in a row were no better. A run that was killed goes on from what was
    saved last, to the same weights.

    Args:
        train: Features of the pairs to learn from.
        recipe: How.
        seed: Of the heads' first weights and of the order.
        validation: Pairs of other images, to stop by.
        patience: See above.

    Raises:
        ValueError: If the loss stops being finite (with the step at which it did), a name is unknown, or a
            batch could hold fewer than two pairs.
    """
    if recipe.captions_per_image < 1 or recipe.batch < 2 * recipe.captions_per_image:
        raise ValueError(
            "expected captions_per_image >= 1 and batches of at least "
            f"{2 * max(1, recipe.captions_per_image)} pairs, some to be right and some to be wrong; "
            f"got {recipe.captions_per_image} and {recipe.batch}"
        )
    said = {
        "train": train.key,
        "validation": [validation.key, patience] if validation else None,
        "recipe": asdict(recipe),
        "seed": seed,
        "code": paths.code_key(sys.modules[__name__], heads, objectives),
    }
    model = Aligned(*_untrained(train, recipe, seed))
    done = checkpoints.trained_once(
        "heads/aligned.safetensors",
        said,
        "fitting heads",
        lambda folder: _train(model, train, recipe, seed, validation, patience, folder),
    )
    history = checkpoints.load(done, {"model": model})
    return Fitted(model.to(runtime.device()).eval().requires_grad_(False), **history)


def aligned(recipe: Recipe, members: int = 1) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: fit this recipe on a task's pairs, embed those that are ranked.

    The inner product of what it gives is the score that the recipe was trained by: the cosine, or minus the
    squared Euclidean distance.

    Args:
        recipe: How to fit.
        members: Pairs of heads, each from another seed, whose scores are averaged: their embeddings stand
            side by side.

    Returns:
        From a task and a seed to embeddings of images and captions, about dim × members long.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        models = [fit(task.train, recipe, seed + 1000 * member).model for member in range(members)]
        embedded = [model.embed(task.ranked) for model in models]
        if recipe.measured_by == "euclidean":
            embedded = [spaces.by_distance(*one) for one in embedded]
        else:
            embedded = [tuple(functional.normalize(rows) for rows in one) for one in embedded]
        images, captions = (torch.cat(of_each, dim=1) for of_each in zip(*embedded, strict=True))
        return images / members, captions

    return method


def _untrained(train: Pairs, recipe: Recipe, seed: int) -> tuple[nn.Module, nn.Module]:
    runtime.seed_everything(seed)
    images = heads.by_name(recipe.image_head, train.images, recipe.dim)
    return images, heads.by_name(recipe.caption_head, train.captions, recipe.dim, train.words)


def _train(
    model: Aligned,
    train: Pairs,
    recipe: Recipe,
    seed: int,
    validation: Pairs | None,
    patience: int,
    folder: Path,
) -> None:
    """Train, saving now and then, and leave `aligned.safetensors`."""
    device = runtime.device()
    measured = {"measured_by": recipe.measured_by} if recipe.measured_by != "cosine" else {}
    objective = objectives.by_name(recipe.objective, **dict(recipe.settings), **measured)
    model = model.to(device)
    learned = [*model.parameters()]
    if isinstance(objective, nn.Module):
        learned += [*objective.to(device).parameters()]
    modules = {"model": model, "best": copy.deepcopy(model)}
    if isinstance(objective, nn.Module):
        modules["objective"] = objective
    optimizer = torch.optim.AdamW(learned, lr=recipe.rate, weight_decay=recipe.decay, fused=True)
    images, captions = (
        gathered(head.prepared(rows.to(device)))
        for head, rows in ((model.images, train.images), (model.captions, train.captions))
    )
    image_of, sentences = (
        torch.as_tensor(numbers, device=device) for numbers in (train.image_of, train.sentences)
    )
    resume, about = folder / "resume.safetensors", {"loss": [], "validation": [], "seconds": 0.0}
    about = checkpoints.load(resume, modules, optimizer) or about
    saved = time.monotonic()
    while len(about["loss"]) < recipe.epochs and not _stalled(about["validation"], patience):
        epoch, started = len(about["loss"]), time.monotonic()
        runtime.seed_everything(seed * 10_000 + epoch)  # nothing to remember of a generator between epochs
        batches = _batches(train.image_of, recipe.batch, recipe.captions_per_image)
        doing = f"{recipe.objective}, seed {seed}, epoch {epoch + 1} of {recipe.epochs}"
        total = torch.zeros((), device=device)
        for step, rows in enumerate(runtime.progress(batches, len(batches), doing, "steps")):
            if not recipe.constant:
                done = (epoch + step / len(batches)) / recipe.epochs
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate * 0.5 * (1 + math.cos(math.pi * done))
            rows = rows.to(device)
            of_rows = image_of[rows]
            embedded = _of_images(model.images, images, of_rows, once=recipe.captions_per_image > 1)
            value = objective(embedded, model.captions.project(captions(rows)), of_rows, sentences[rows])
            if not value.isfinite():
                raise ValueError(
                    f"{doing}, step {step + 1}: the loss is {value.item()}. Lower the rate ({recipe.rate}); "
                    f"what was learned until the last save is in {resume}."
                )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.detach()
        about["loss"].append(float(total) / len(batches))
        if validation is not None:
            about["validation"].append(_recall_sum(model, validation))
        if validation is None or about["validation"][-1] == max(about["validation"]):
            modules["best"].load_state_dict(model.state_dict())
        about["seconds"] += time.monotonic() - started
        if time.monotonic() - saved > SAVE_EVERY:
            checkpoints.save(resume, modules, about, optimizer)
            saved = time.monotonic()
    checkpoints.save(folder / "aligned.safetensors", {"model": modules["best"]}, about)
    resume.unlink(missing_ok=True)


def _batches(image_of: np.ndarray, batch: int, together: int = 1) -> list[Tensor]:
    """All rows in an order drawn anew, in batches of about one size: none is left with a single pair.

    Args:
        image_of: (n,) the image of each row.
        batch: Rows of a batch, about.
        together: Rows of an image stand next to each other in groups of this many, the last of what is left;
            a group is where the first of it was drawn, and is not cut.
    """
    n = len(image_of)
    order = torch.randperm(n)
    first = _first_of_group(torch.as_tensor(image_of)[order], together)
    first, grouped = first.sort(stable=True)
    cuts = [int(part[0]) for part in torch.arange(n).tensor_split(max(1, round(n / batch)))]
    starts = torch.searchsorted(first, first[cuts])  # a cut moves to where its group begins
    return list(order[grouped].tensor_split(starts[1:]))


def _first_of_group(image_of: Tensor, together: int) -> Tensor:
    """(n,) for each place the first place of its group: the next `together` places of the same image."""
    by_image, places = image_of.sort(stable=True)
    here = torch.arange(len(image_of))
    in_image = here - torch.searchsorted(by_image, by_image)
    return torch.empty_like(here).scatter_(0, places, places[here - in_image % together])


def _of_images(head: nn.Module, prepared: Callable[[Tensor], Tensor], image_of: Tensor, once: bool) -> Tensor:
    """(n, dim) embeddings of the images of n rows; with `once` an image of several rows is projected once.

    Worth it where captions stay together by design: of images drawn at random too few meet in a batch.
    """
    if not once:
        return head.project(prepared(image_of))
    shown, places = image_of.unique(return_inverse=True)
    if len(shown) == 1:
        shown = shown.repeat(2)  # batch norm wants two rows
    return head.project(prepared(shown)).index_select(0, places)


def _stalled(validation: list[float], patience: int) -> bool:
    """Whether the best epoch is more than `patience` epochs ago."""
    return bool(validation) and len(validation) - 1 - int(np.argmax(validation)) >= patience


def _recall_sum(model: Aligned, pairs: Pairs) -> float:
    model.eval()
    found = ranks.of_pairs(*model.embed(pairs), pairs.image_of)
    model.train()
    return ranks.recall_sum(ranks.image_to_text(found), ranks.text_to_image(found))
