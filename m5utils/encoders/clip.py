"""CLIP and SigLIP: photographs and captions in one space that others have trained, the zero-shot anchor.

Knows image-text models in Hugging Face's layout, their processors and tokenizers. Must not know datasets,
caches or relevance. Papers: Radford et al. 2021 (CLIP), Zhai et al. 2023 (SigLIP).
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from m5utils import paths
from m5utils.encoders import bert, image

PADDED = ("siglip", "siglip2")  # were trained on texts filled up to one length, without a mask
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
INSTEAD = "Give another folder, or leave M5_CLIP unset: only the zero-shot rows need it."


class _Tower(nn.Module):
    """What both encoders share: the model, and that a vector has length 1, so a dot product is a cosine."""

    dtype = torch.float32

    def __init__(self, folder: Path, model: nn.Module) -> None:
        super().__init__()
        self.folder, self.model = folder, model

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.model.config.model_type} {self.folder.name}"

    def settings(self) -> dict[str, object]:
        """Everything that decides the vectors, for the cache's key; nothing that does not."""
        import transformers

        kinds = (".json", ".safetensors", ".txt", ".model")
        used = [file for file in sorted(self.folder.iterdir()) if file.suffix in kinds]
        return {
            "encoder": self.model.config.model_type,
            "files": dict(zip([file.name for file in used], paths.content_hashes(used), strict=True)),
            **image.versions(),
            "transformers": transformers.__version__,
            "code": paths.code_key(bert, image, sys.modules[__name__]),
        }


class ClipImages(_Tower):
    """From pictures to vectors in the common space.

    Attributes:
        processor: The model's own: how it resizes, crops and scales.
        size: Side length of the square that is encoded, in pixels.
        dim: Of the common space.
    """

    def __init__(self, folder: Path, model: nn.Module, processor: object) -> None:
        """Keep the model and its processor; use `clip_encoder` to load both."""
        super().__init__(folder, model)
        self.processor = processor
        shape = tuple(self.preprocess(Image.new("RGB", (40, 30))).shape)
        if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
            raise ValueError(
                f"the processor of {folder} makes {shape} of a picture: expected (3, size, size). {INSTEAD}"
            )
        self.size = shape[1]
        with torch.inference_mode():
            self.dim = self(torch.zeros(1, *shape)).shape[1]

    def preprocess(self, picture: Image.Image) -> Tensor:
        """An RGB picture as (3, size, size) float32, as the model's own processor makes it."""
        return torch.as_tensor(self.processor(images=picture, return_tensors="pt")["pixel_values"][0])

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of length 1 of (n, 3, size, size) float32 from `preprocess`."""
        return _of_length_1(self.model.get_image_features(pixel_values=pixels))

    def settings(self) -> dict[str, object]:
        """The model's, and the size of the pictures."""
        return super().settings() | {"tower": "images", "size": self.size}


class ClipTexts(_Tower):
    """From captions to vectors in the common space.

    Texts are encoded beside others of their length (CLIP: nothing is padded), or all at the length they were
    trained at (SigLIP); neither needs a mask, and a text's vector never depends on its company.

    Attributes:
        tokenizer: The model's own.
        longest: Tokens that the model takes; what is longer is cut off.
        dim: Of the common space.
    """

    def __init__(self, folder: Path, model: nn.Module, tokenizer: object) -> None:
        """Keep the model and its tokenizer; use `clip_encoder` to load both."""
        super().__init__(folder, model)
        self.tokenizer, words = tokenizer, model.config.text_config
        if len(tokenizer) > words.vocab_size:
            raise ValueError(
                f"the tokenizer in {folder} has {len(tokenizer)} tokens, its model knows {words.vocab_size}: "
                f"they belong to different models. {INSTEAD}"
            )
        self.longest = min(words.max_position_embeddings, tokenizer.model_max_length)
        with torch.inference_mode():
            self.dim = self(torch.tensor(self.tokens(["a photograph"]))).shape[1]

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of every text's word pieces, cut off (SigLIP: and filled up) at `longest`."""
        padding = "max_length" if self.model.config.model_type in PADDED else False
        found = self.tokenizer(list(texts), padding=padding, truncation=True, max_length=self.longest)
        return found["input_ids"]

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Rows of `texts`, all of one length, and their tokens, see `bert.by_length`."""
        return bert.by_length(self.tokens(texts))

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, dim) vectors of length 1 of (n, length) tokens."""
        return _of_length_1(self.model.get_text_features(input_ids=tokens))

    def settings(self) -> dict[str, object]:
        """The model's, and which half of it this is."""
        return super().settings() | {"tower": "texts"}


def clip_encoder(folder: Path) -> tuple[ClipImages, ClipTexts]:
    """The two encoders of an image-text model: one for photographs, one for captions, into one space.

    Args:
        folder: In Hugging Face's layout: config.json, model.safetensors, the files of the image processor and
            of the tokenizer; `paths.dataset_root("M5_CLIP")` where that is set.

    Raises:
        FileNotFoundError: If the folder, or a file in it, is missing; there are never random weights.
        ValueError: If what is in it is no model with a tower for images and one for texts in one space.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: expected a CLIP or SigLIP model. {INSTEAD}")
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in VOCABULARIES):  # transformers would make up an empty one
        missing.append(f"vocabulary ({', '.join(VOCABULARIES)})")
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}: expected config.json, model.safetensors (never a pickle) and the "
            f"files of the image processor and the tokenizer, as save_pretrained writes them. {INSTEAD}"
        )
    model, processor, tokenizer = _loaded(folder)
    images, texts = ClipImages(folder, model, processor), ClipTexts(folder, model, tokenizer)
    if images.dim != texts.dim:
        raise ValueError(
            f"{folder} makes vectors of length {images.dim} of images and {texts.dim} of texts: expected one "
            f"space for both. {INSTEAD}"
        )
    return images, texts


def _loaded(folder: Path) -> tuple[nn.Module, object, object]:
    """The model, its image processor and its tokenizer; no code in the folder is run."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # of a file that is there
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, report = AutoModel.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **local
        )
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            kind = type(model).__name__
            raise ValueError(
                f"{kind} has no get_image_features and get_text_features: it is no CLIP or SigLIP"
            )
        if report["missing_keys"]:  # transformers would draw them at random
            first = sorted(report["missing_keys"])[0]
            raise ValueError(
                f"model.safetensors lacks {len(report['missing_keys'])} weights (first: {first})"
            )
        processor = AutoImageProcessor.from_pretrained(folder, **local)
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
    except Exception as error:  # transformers raises whatever a file makes it stumble over
        raise ValueError(
            f"{folder} is no image-text model that can be read without running its code "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}). {INSTEAD}"
        ) from error
    return model.float().eval().requires_grad_(False), processor, tokenizer


def _of_length_1(found: object) -> Tensor:
    """The vectors of what `get_..._features` returns: bare until transformers 4, in an object since 5."""
    return functional.normalize(found if isinstance(found, Tensor) else found.pooler_output)
