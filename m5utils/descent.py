"""Minimise a loss over batches of rows: the loop that the heads share.

Knows an optimizer and a function of row numbers. Must not know what is learned, or from what.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from m5utils import runtime


def descend(
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor], Tensor],
    n_rows: int,
    epochs: int,
    batch: int,
    doing: str,
) -> list[float]:
    """Go through all rows in an order drawn anew each epoch, in batches of about one size.

    The optimizer's rate falls to 0 along a cosine. The order is drawn by torch's generator: seed it before.

    Args:
        optimizer: Of what is learned.
        loss: From (n,) numbers of rows, on the CPU, to a scalar.
        n_rows: How many there are.
        epochs: Passes over them.
        batch: Rows per step; each has this many or one more or less, none is left with a few.
        doing: For progress and errors.

    Returns:
        Mean loss of every epoch.

    Raises:
        ValueError: If the loss stops being finite; the epoch is named.
    """
    n_batches = max(1, round(n_rows / batch))
    rate = optimizer.param_groups[0]["lr"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * n_batches)
    history = []
    for epoch in range(epochs):
        now, total = f"{doing}, epoch {epoch + 1} of {epochs}", 0.0
        batches = torch.randperm(n_rows).tensor_split(n_batches)
        for rows in runtime.progress(batches, n_batches, now, "steps"):
            value = loss(rows)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            total += value.detach()
        history.append(float(total) / n_batches)
        if not math.isfinite(history[-1]):
            raise ValueError(f"{now}: the loss is {history[-1]}. Lower the rate ({rate}).")
    return history


def gathered(rows: Tensor) -> Callable[[Tensor], Tensor]:
    """From numbers of rows to these rows of (n, dim), at the same place again and again.

    New memory for every batch costs more than what is copied into it. What was gathered before is gone: use
    it up, gradients and all, before the next.
    """
    place = rows.new_empty(0, *rows.shape[1:])

    def gather(chosen: Tensor) -> Tensor:
        nonlocal place
        if len(place) < len(chosen):
            place = rows.new_empty(len(chosen), *rows.shape[1:])
        return torch.index_select(rows, 0, chosen, out=place[: len(chosen)])

    return gather
