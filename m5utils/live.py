"""Ask the models themselves: one's own sentence through BERT, one's own photograph through the image network.

Knows the profile's data and models. Must not know the explorer's page. What answers is notebook 09's row
`bert_mean`: its heads are taken from the cache, or fitted if the notebook has not been run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from m5utils import alignment, embeddings, heads, runtime, search
from m5utils.datasets import captions, images
from m5utils.encoders import bert
from m5utils.pairs import Pairs

MEGABYTES = 20  # of a photograph that is looked at
LETTERS = 10_000  # of a sentence
AXES, DIM, BATCH, RATE = 256, 512, 512, 1e-3  # of notebook 09


@dataclass(frozen=True, eq=False)
class Models:
    """What answers, and from what.

    Attributes:
        gallery: The images and captions of the evaluation split.
        images: (n_images, dim) unit vectors of them.
        captions: (n_captions, dim) the same.
        read: From a sentence to (1, dim).
        see: From a picture to (1, dim).
    """

    gallery: captions.CaptionedImages
    images: Tensor
    captions: Tensor
    read: Callable[[str], Tensor]
    see: Callable[[Image.Image], Tensor]


def load(profile_name: str, eval_split: str = "") -> Models:
    """The models of a profile, ready to be asked.

    Raises:
        FileNotFoundError: If its data or its weights are not there.
        ValueError: If there is no such profile or split.
    """
    profile = runtime.profile(profile_name)
    runtime.use_machine(profile.threads)
    splits = captions.for_profile(profile)
    parts = {"train": splits["train"], "ranked": captions.evaluated(splits, eval_split)}
    language = bert.bert_encoder(profile.language_model)
    encoders = [embeddings.encoder_named(profile.image_encoder, size) for size in profile.image_sizes]
    pictures = {name: embeddings.plain_features(profile, part) for name, part in parts.items()}
    axes = heads.principal_axes(pictures["train"], AXES)
    texts = {
        name: language.pooled(embeddings.encode_texts(language, part.captions), "mean").clone()
        for name, part in parts.items()
    }
    pairs = {name: Pairs(axes(pictures[name]), texts[name], part.image_of) for name, part in parts.items()}
    recipe = alignment.Recipe(dim=DIM, epochs=profile.pair_epochs, batch=BATCH, rate=RATE)
    model = alignment.fit(pairs["train"], recipe).model.cpu()

    @torch.no_grad()
    def read(sentence: str) -> Tensor:
        vectors = language(torch.tensor(language.tokens([sentence])).to(_device(language))).float().cpu()
        return model.captions(language.pooled(vectors, "mean"))

    @torch.no_grad()
    def see(picture: Image.Image) -> Tensor:
        return model.images(axes(vector_of(picture, encoders)))

    return Models(parts["ranked"], *model.embed(pairs["ranked"]), read, see)


@torch.no_grad()
def vector_of(picture: Image.Image, encoders: Sequence[nn.Module]) -> Tensor:
    """(1, dim) features of a picture, as `embeddings.plain_features` of a file; nothing is cached."""
    each = [
        encoder(encoder.preprocess(picture)[None].to(_device(encoder))).float().cpu() for encoder in encoders
    ]
    return functional.normalize(torch.cat([functional.normalize(one) for one in each], dim=1))


def _device(module: nn.Module) -> torch.device:
    return next((value.device for value in module.parameters()), torch.device("cpu"))


def images_for(models: Models, sentence: str, k: int = 10) -> list[tuple[Path, str]]:
    """The images that a sentence describes best: their files, and what to write below them.

    Raises:
        ValueError: If there is no sentence, or too long a one.
    """
    if not sentence.strip() or len(sentence) > LETTERS:
        raise ValueError(f"expected a sentence of 1 to {LETTERS:,} letters; got {len(sentence.strip()):,}")
    gallery = models.gallery
    scores, ranking = search.nearest(models.read(sentence), models.images, min(k, len(models.images)))
    return [
        (gallery.root / gallery.files[item], f"{score:.3f} · {gallery.files[item]}")
        for score, item in zip(scores[0].tolist(), ranking[0].tolist(), strict=True)
    ]


def captions_for(models: Models, file: Path, k: int = 10) -> list[tuple[str, float]]:
    """The captions that describe a photograph best, and their scores.

    Raises:
        ValueError: If the file is too large or no picture; the message says what was expected.
    """
    size = file.stat().st_size / 1e6
    if size > MEGABYTES:
        raise ValueError(f"expected a picture of at most {MEGABYTES} MB; this file has {size:.0f} MB")
    picture = images.decode_rgb(file.read_bytes())
    scores, ranking = search.nearest(models.see(picture), models.captions, min(k, len(models.captions)))
    found = zip(scores[0].tolist(), ranking[0].tolist(), strict=True)
    return [(models.gallery.captions[item], round(score, 3)) for score, item in found]


def app(models: Models) -> object:
    """The page: one tab for sentences, one for photographs. What goes wrong is said in it.

    Raises:
        ModuleNotFoundError: If Gradio is not installed.
    """
    import gradio

    def said(answer: Callable, *given: object) -> object:
        try:
            return answer(models, *given)
        except (ValueError, OSError) as error:
            raise gradio.Error(str(error), print_exception=False) from error

    def of_file(name: str | None) -> object:
        if name is None:
            raise gradio.Error("Choose a photograph first.", print_exception=False)
        return said(captions_for, Path(name))

    with gradio.Blocks(title="m5utils, live", analytics_enabled=False) as page:
        gradio.Markdown(
            f"{models.gallery.setting}: {len(models.gallery):,} images. Row `bert_mean` of notebook 09."
        )
        with gradio.Tab("A sentence"):
            sentence = gradio.Textbox(label="Describe a photograph", max_length=LETTERS)
            found = gradio.Gallery(label="First ten", columns=5)
            sentence.submit(lambda text: said(images_for, text), sentence, found)
        with gradio.Tab("A photograph"):
            photograph = gradio.File(label="A picture file", file_types=["image"], type="filepath")
            told = gradio.Dataframe(headers=["caption", "score"], label="First ten")
            gradio.Button("Describe it").click(of_file, photograph, told)
    return page


def serve(profile_name: str, eval_split: str = "", show: bool = True) -> None:
    """Answer in a browser on this machine, 127.0.0.1, until Ctrl-C.

    Raises:
        FileNotFoundError: If Gradio, data or weights are not there.
    """
    try:
        import gradio  # noqa: F401 - before the models, which take a while
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            "m5 explore --live needs Gradio, which brings its own Pillow: "
            "`.venv/bin/uv pip install --python .venv/bin/python '.[explore]'`."
        ) from error
    models = load(profile_name, eval_split)
    app(models).launch(
        server_name="127.0.0.1",
        inbrowser=show,
        max_file_size=MEGABYTES * 10**6,
        allowed_paths=[str(models.gallery.root)],
    )
