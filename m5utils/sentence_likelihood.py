"""How likely a sentence is, given an image: a multimodal language model, and ranking by what it says.

Knows images as features and captions as numbers of words. Must not know texts, pictures or a metric of the
report. Slides: Gordo & Larlus, "multimodal RNN (m-RNN)".
"""

import math
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from m5utils import fitting, heads, paths, runtime, vocabularies
from m5utils.fitting import Descent
from m5utils.pairs import Pairs, PairTask

END, UNKNOWN = 0, 1  # classes beside the known words; END also stands before the first word
AT_ONCE = 128  # captions that are read against all images


class LanguageModel(nn.Module):
    """The next word from the words so far and the image: p(w) ∝ exp(v_w · (R h + I x) + b_w).

    h is the state of a gated recurrent unit, x the image, v_w the word's vector, in and out. m-RNN puts an
    activation around the sum of the two; without it exp(v_w · R h) and exp(v_w · I x) are factors, so that
    the sums over the vocabulary, of every place of every caption with every image, are one matrix product.

    References: Mao et al., "Deep captioning with multimodal recurrent neural networks", ICLR 2015; Kiros,
    Salakhutdinov, Zemel, "Multimodal neural language models", ICML 2014.
    """

    def __init__(self, train: Pairs, least: int, dim: int, width: int) -> None:
        """Know the words that occur `least` times in train; draw the first weights."""
        super().__init__()
        classes = (vocabularies.known(train, least)[1:] + UNKNOWN).clamp_min(UNKNOWN)
        self.register_buffer("classes", functional.pad(classes, (1, 0), value=END))  # no word is the end
        first = 0.1 * torch.randn(int(classes.max()) + 1, dim)
        self.words = nn.Embedding.from_pretrained(first, freeze=False)
        self.bias = nn.Parameter(0 * first[:, 0])
        self.reader = nn.GRU(dim, width, batch_first=True)
        self.read, self.forget = nn.Linear(width, dim), nn.Dropout(0.3)
        self.see = heads.linear(train.images, dim, normalise=False)

    def places(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every place of some captions, one after the other, its end included.

        Args:
            numbers: (n, longest) of words, -1 behind the last.

        Returns:
            (n_places, dim) what the words before it say, (n_places,) the class that stands there, and
            (n_places,) which caption it is of.
        """
        classes = self.classes[numbers + 1]
        lengths = (numbers >= 0).sum(dim=1).cpu() + 1
        whose = torch.arange(len(classes), device=classes.device)[:, None].expand(-1, classes.shape[1] + 1)
        before, there = functional.pad(classes, (1, 0), value=END), functional.pad(classes, (0, 1), value=END)
        packed = partial(pack_padded_sequence, lengths=lengths, batch_first=True, enforce_sorted=False)
        states = self.reader(packed(self.words(before)))[0].data
        return self.read(self.forget(states)), packed(there).data, packed(whose).data

    def loss(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Mean cross-entropy of the places of n captions, each beside its image (prepared, see `heads`)."""
        said, there, whose = self.places(numbers)
        seen = self.see.project(images).index_select(
            0, whose
        )  # its gradient adds up in one order, [whose] not
        logits = (said + seen) @ self.words.weight.T + self.bias
        return functional.cross_entropy(logits, there)

    @torch.no_grad()
    def log_likelihood(self, images: Tensor, numbers: Tensor) -> Tensor:
        """(n_captions, n_images) float32: log p(caption | image), of every caption and every image.

        Args:
            images: (n_images, image_dim) features.
            numbers: (n_captions, longest).
        """
        of_images = self.see(images) @ self.words.weight.T
        most = of_images.amax(dim=1, keepdim=True)
        factors, found = (of_images - most).exp(), []
        for part in numbers.split(AT_ONCE):
            said, there, whose = self.places(part)
            of_words = said @ self.words.weight.T + self.bias
            largest = of_words.amax(dim=1, keepdim=True)
            total = ((of_words - largest).exp() @ factors.T).clamp_min(1e-37).log() + largest + most.T
            each = of_words.gather(1, there[:, None]) + of_images[:, there].T - total
            found.append(each.new_zeros(len(part), len(images)).index_add_(0, whose, each))
        return torch.cat(found)


def likelihood(
    descent: Descent, least: int = 5, dim: int = 128, width: int = 192, usual: int = 256
) -> Callable[[PairTask, int], tuple[Tensor, Tensor]]:
    """A method to judge: log p(caption | image) - log p(caption), exactly, of every image with every caption.

    p(caption) is the mean over images of train: without it the short and common captions would answer every
    image. For one caption it is the same number whatever the image.

    Args:
        descent: How the language model is fitted.
        least: How often a word must occur in the captions of train to be known.
        dim: Length of a word's vector.
        width: Of the recurrent state.
        usual: How many images of train p(caption) is meaned over.
    """

    def method(task: PairTask, seed: int) -> tuple[Tensor, Tensor]:
        train, model = task.train, fit(task.train, descent, seed, least, dim, width)
        some = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(seed))[:usual]
        images = torch.cat([task.ranked.images, train.images[some]]).to(model.bias.device)
        found = model.log_likelihood(images, task.ranked.captions.to(model.bias.device)).cpu()
        given, anyway = found.split([len(task.ranked.images), len(some)], dim=1)
        anyway = anyway.logsumexp(dim=1, keepdim=True) - math.log(len(some))
        return torch.eye(len(task.ranked.images)), given - anyway  # inner products are the scores themselves

    return method


def fit(
    train: Pairs, descent: Descent, seed: int, least: int = 5, dim: int = 128, width: int = 192
) -> LanguageModel:
    """The language model of some pairs, out of the cache where it was fitted before."""
    runtime.seed_everything(seed)
    device = runtime.device()
    model = LanguageModel(train, least, dim, width).to(device)
    images, numbers = model.see.prepared(train.images.to(device)), train.captions.to(device)
    image_of = torch.as_tensor(train.image_of, device=device)
    said = {"train": train.key, "code": paths.code_key(sys.modules[__name__], heads)}
    fitting.minimise(
        model,
        lambda rows: model.loss(images[image_of[rows]], numbers[rows]),
        len(numbers),
        descent,
        seed,
        said,
    )
    return model
