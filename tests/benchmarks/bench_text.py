"""Captions to vectors: FastText on one core, and BERT against the model alone on batches that are ready."""

import os
import random
from pathlib import Path

import numpy as np
import torch

from m5utils import embeddings
from m5utils.encoders import bert, text

from .measuring import interleaved, temporary_cache

N_WORDS, N_CAPTIONS = 20_000, 2_048
SUBJECTS = ["man", "woman", "child", "dog", "cat", "horse", "boy", "girl", "group", "team"]
WHERE = ["street", "beach", "park", "kitchen", "field", "snow", "grass", "water", "hill", "road"]
DOES = ["runs", "jumps", "stands", "sits", "plays", "walks", "looks", "sleeps", "eats", "rides"]
MORE = [
    "with a red ball",
    "in the sun",
    "near two other people",
    "while it rains",
    "and smiles",
    "under a tall green tree",
]


def run() -> dict[str, float]:
    """Captions per second, and the share of the model's own throughput that encoding reaches."""
    with temporary_cache() as folder:
        return of_fasttext(folder) | of_bert(folder)


def captions(n: int) -> list[str]:
    """Sentences of 6 to 25 words, no two alike."""
    draw = random.Random(0)
    return [
        f"A {draw.choice(SUBJECTS)} {draw.choice(DOES)} on the {draw.choice(WHERE)} "
        f"{' '.join(draw.choices(MORE, k=draw.randint(0, 4)))}, number {number}."
        for number in range(n)
    ]


def of_fasttext(folder: Path) -> dict[str, float]:
    """Split, look up and average on one core; the words' vectors are there, as after the first time."""
    some = captions(N_WORDS)
    vectors = text.fasttext_trained(some[:2000], folder / "fasttext.bin", epochs=1)
    vocabulary = text.split(some).vocabulary
    known = dict(zip(vocabulary, vectors.table(vocabulary), strict=True))

    def encode() -> np.ndarray:
        found = text.split(some)
        return text.aggregate(found, np.stack([known[word] for word in found.vocabulary]), "mean")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = interleaved({"encode": encode}, rounds=3)["encode"]
    torch.set_num_threads(threads)
    return {"fasttext/captions_per_second": N_WORDS / seconds}


def of_bert(folder: Path) -> dict[str, float]:
    """Tokens, batches of one length, the model, four poolings and the cache's files, over the model alone."""
    some, encoder, caches = captions(N_CAPTIONS), bert.bert_encoder(), iter(range(100))
    ready = [tokens for _, tokens in encoder.batches(some)]

    def cold() -> torch.Tensor:
        os.environ["M5_CACHE"] = str(folder / f"cache{next(caches)}")
        return embeddings.encode_texts(encoder, some)

    @torch.inference_mode()
    def forward() -> None:
        for tokens in ready:
            encoder.model(input_ids=tokens)

    seconds = interleaved({"encode": cold, "forward": forward}, rounds=5)
    return {"bert/fraction_of_forward": seconds["forward"] / seconds["encode"]}
