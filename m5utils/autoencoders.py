"""The bimodal auto-encoder: one code from which both picture and caption can be told, whichever was given.

Knows features of pairs. Must not know words, pictures or a metric of the report.
Slides: Gordo & Larlus, "deep multimodal auto-encoders".
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from m5utils import fitting, paths, runtime
from m5utils.fitting import Descent
from m5utils.pairs import Pairs, PairTask


class Bimodal(nn.Module):
    """Image and caption each through a hidden layer into a shared code, and back; what is missing is zeros.

    Features are centred and divided by one number a side, so that all of it has variance 1: to tell a loud
    direction is worth more than to tell a quiet one, as in the features themselves.

    Reference: Ngiam et al., "Multimodal deep learning", ICML 2011.
    """

    def __init__(self, train: Pairs, dim: int, width: int) -> None:
        """Keep centre and spread of the features of train; draw the first weights."""
        super().__init__()
        sizes = train.images.shape[1], train.captions.shape[1]
        self.enter = nn.ModuleList([nn.Linear(size, width) for size in sizes])
        self.join, self.part = nn.Linear(2 * width, dim), nn.Linear(dim, 2 * width)
        self.leave = nn.ModuleList([nn.Linear(width, size) for size in sizes])
        for name, rows in (("images", train.images), ("captions", train.captions)):
            self.register_buffer(f"{name}_mean", rows.mean(dim=0))
            self.register_buffer(f"{name}_scale", (rows - rows.mean(dim=0)).std().clamp_min(1e-6))

    def scaled(self, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        """Both as the network takes them and gives them back."""
        return (
            (images - self.images_mean) / self.images_scale,
            (captions - self.captions_mean) / self.captions_scale,
        )

    def code(self, images: Tensor | None, captions: Tensor | None) -> Tensor:
        """(n, dim) shared codes of scaled features; None for what is missing."""
        n = len(images if captions is None else captions)
        entered = [
            layer.weight.new_zeros(n, layer.out_features) if rows is None else functional.relu(layer(rows))
            for layer, rows in zip(self.enter, (images, captions), strict=True)
        ]
        return self.join(torch.cat(entered, dim=1))

    def loss(self, images: Tensor, captions: Tensor) -> Tensor:
        """Mean squared error of telling both from both, from the image alone and from the caption alone."""
        total = images.new_zeros(())
        for given in ((images, captions), (images, None), (None, captions)):
            parted = functional.relu(self.part(functional.relu(self.code(*given)))).chunk(2, dim=1)
            for layer, rows, wanted in zip(self.leave, parted, (images, captions), strict=True):
                total = total + functional.mse_loss(layer(rows), wanted)
        return total


def bimodal(
    descent: Descent, dim: int = 128, width: int = 256
) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: the code of an image alone beside the code of a caption alone, by cosine.

    Each side's mean code over train is taken off: the codes of images lie apart from those of captions, which
    nothing in the loss forbids.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        runtime.seed_everything(seed)
        train, device, model = task.train, runtime.device(), Bimodal(task.train, dim, width)
        model.to(device)
        images, captions = model.scaled(train.images.to(device), train.captions.to(device))
        image_of = torch.as_tensor(train.image_of, device=device)

        def loss(rows: Tensor) -> Tensor:
            return model.loss(images[image_of[rows]], captions[rows])

        said = {"train": train.key, "code": paths.code_key(sys.modules[__name__])}
        fitting.minimise(model, loss, len(image_of), descent, seed, said)
        ranked = model.scaled(task.ranked.images.to(device), task.ranked.captions.to(device))
        return (
            functional.normalize(model.code(ranked[0], None) - model.code(images, None).mean(dim=0)),
            functional.normalize(model.code(None, ranked[1]) - model.code(None, captions).mean(dim=0)),
        )

    return method
