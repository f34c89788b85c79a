"""A recurrent sentence model: a caption read word by word, and what is left when the last one was read.

Knows the vectors of words, captions as their numbers, and images as features. Must not know texts, pictures
or a metric of the report. Slides: Gordo & Larlus, "bi-directional ranking loss" (Kiros), "CNN-RNN".
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from m5utils import fitting, heads, objectives, paths, runtime
from m5utils.alignment import Aligned
from m5utils.fitting import Descent
from m5utils.pairs import PairTask

AT_ONCE = 1024  # captions


class Recurrent(nn.Module):
    """A gated recurrent unit over word vectors; its last state, through a linear layer, is the caption.

    The word vectors stay as they are. What stands behind the last word is never read.

    Reference: Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.
    """

    def __init__(self, words: Tensor, dim: int, width: int) -> None:
        """Keep the (n_words, word_dim) vectors; place 0 is put before them for "no word"."""
        super().__init__()
        table = torch.cat([torch.zeros(1, words.shape[1]), (words - words.mean(dim=0)) / words.std()])
        self.register_buffer("words", table, persistent=False)  # given again with the captions
        self.reader = nn.GRU(words.shape[1], width, batch_first=True)
        self.layers = nn.Linear(width, dim, bias=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """(n, longest) numbers of words, -1 behind the last, to (n, dim) embeddings of length 1."""
        return torch.cat([self.project(part) for part in self.prepared(numbers).split(AT_ONCE)])

    def prepared(self, numbers: Tensor) -> Tensor:
        """(n, longest) places in the table; no step of training changes them."""
        return numbers + 1

    def project(self, places: Tensor) -> Tensor:
        """(n, longest) places in the table to (n, dim) embeddings; a caption without words reads one zero."""
        lengths = (places > 0).sum(dim=1).clamp_min(1).cpu()
        vectors = self.words[places[:, : int(lengths.max())]]
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        return functional.normalize(self.layers(self.reader(packed)[1][0]))


def recurrent(
    descent: Descent, dim: int = 512, width: int = 256, margin: float = 0.2
) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: a linear head for images, `Recurrent` for captions, all negatives, both directions.

    Reference: Kiros, Salakhutdinov, Zemel, "Unifying visual-semantic embeddings", 2014.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        train = task.train
        if train.words is None:
            raise ValueError("expected captions as numbers of words, see `text.padded`; these are vectors")
        runtime.seed_everything(seed)
        model = Aligned(heads.linear(train.images, dim), Recurrent(train.words, dim, width))
        objective = objectives.sum_of_hinges(margin)
        said = {"margin": margin, "code": paths.code_key(sys.modules[__name__])}
        fitting.fit_heads(model.images, model.captions, train, objective, descent, seed, said)
        return model.embed(task.ranked)

    return method
