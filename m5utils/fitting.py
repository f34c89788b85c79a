"""Minimise a loss over batches, once: the loop of methods that are no recipe of two heads and an objective.

Knows modules, pairs of features and the cache. Must not know what a loss means, or a metric of the report.
"""

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from m5utils import checkpoints, heads, objectives, paths, runtime
from m5utils.descent import descend, gathered
from m5utils.objectives import Objective
from m5utils.pairs import Pairs


@dataclass(frozen=True)
class Descent:
    """How a loss is minimised.

    Attributes:
        epochs: Passes over the rows.
        batch: Rows per step.
        rate: Learning rate of AdamW, which falls to 0 along a cosine.
        decay: Weight decay.
    """

    epochs: int = 10
    batch: int = 512
    rate: float = 1e-3
    decay: float = 1e-2


def minimise(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    n_rows: int,
    descent: Descent,
    seed: int,
    decided_by: dict[str, object],
) -> list[float]:
    """Train a model in place, rows in an order drawn anew each epoch; kept in the cache by what decides it.

    Args:
        model: With its first weights; they are part of the name.
        loss: From (n,) numbers of rows to a scalar. What it needs besides lies on `runtime.device()`, where
            the model is put before.
        n_rows: How many there are.
        descent: How.
        seed: Of the order.
        decided_by: All else that decides the result, as JSON: data, settings of the loss, the code of both.

    Returns:
        Mean loss of every epoch. The model is left on that device, ready to use.

    Raises:
        ValueError: If there are fewer than two rows, or the loss stops being finite (the epoch is named).
    """
    if n_rows < 2 or descent.batch < 2:
        raise ValueError(
            f"expected at least 2 rows, and 2 in a batch; got {n_rows} in batches of {descent.batch}"
        )
    said = decided_by | {
        "start": [
            [key, paths.key_of_array(value.cpu().numpy())] for key, value in model.state_dict().items()
        ],
        "rows": n_rows,
        "descent": asdict(descent),
        "seed": seed,
        "loop": paths.code_key(sys.modules[__name__], sys.modules[descend.__module__]),
    }

    def learn(folder: Path) -> None:
        about = {"loss": _steps(model.to(runtime.device()), loss, n_rows, descent, seed)}
        checkpoints.save(folder / "fitted.safetensors", {"model": model}, about)

    done = checkpoints.trained_once("heads/fitted.safetensors", said, "fitting a model", learn)
    history = checkpoints.load(done, {"model": model})["loss"]
    model.to(runtime.device()).eval().requires_grad_(False)
    return history


def fit_heads(
    images: nn.Module,
    captions: nn.Module,
    train: Pairs,
    objective: Objective,
    descent: Descent,
    seed: int,
    decided_by: dict[str, object],
) -> list[float]:
    """Train two heads in place, by an objective that may be any function of a batch of pairs.

    Args:
        images: Has `prepared` and `project`, see `heads.Head`.
        captions: The same.
        train: What to learn from; a row is a caption beside its image.
        objective: See `objectives.Objective`; if it is a module, it is trained along.
        descent: How.
        seed: Of the order; the first weights are the caller's.
        decided_by: The settings of the objective, and the code of it and of the heads where that does not lie
            in `heads` and `objectives`.

    Returns:
        Mean loss of every epoch.
    """
    device = runtime.device()
    learned = [part for part in (images, captions, objective) if isinstance(part, nn.Module)]
    of_images, of_captions = (
        gathered(head.to(device).prepared(rows.to(device)))
        for head, rows in ((images, train.images), (captions, train.captions))
    )
    image_of, sentences = (
        torch.as_tensor(numbers, device=device) for numbers in (train.image_of, train.sentences)
    )

    def loss(rows: Tensor) -> Tensor:
        of_rows = image_of[rows]
        embedded = images.project(of_images(of_rows)), captions.project(of_captions(rows))
        return objective(*embedded, of_rows, sentences[rows])

    said = decided_by | {"train": train.key, "heads": paths.code_key(heads, objectives)}
    return minimise(nn.ModuleList(learned), loss, len(image_of), descent, seed, said)


def _steps(
    model: nn.Module, loss: Callable[[Tensor], Tensor], n_rows: int, descent: Descent, seed: int
) -> list[float]:
    """Mean loss of every epoch of AdamW."""
    learned = model.train().parameters()
    optimizer = torch.optim.AdamW(learned, lr=descent.rate, weight_decay=descent.decay, fused=True)
    runtime.seed_everything(seed)
    doing = f"{type(model).__name__}, seed {seed}"
    on_device = lambda rows: loss(rows.to(runtime.device()))  # noqa: E731
    return descend(optimizer, on_device, n_rows, descent.epochs, descent.batch, doing)
