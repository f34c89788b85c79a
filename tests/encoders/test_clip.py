"""CLIP and SigLIP: the cosines are those of the model's own forward pass on one picture and one text."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from m5utils import embeddings, paths
from m5utils.datasets.listed import ImageFiles
from m5utils.encoders import clip

WORDS = ["<pad>", "<unk>", "<start>", "<end>", "a", "dog", "cat", "in", "the", "kitchen"]
TEXTS = ["a dog", "the cat in the kitchen", "", "A DOG", "a zebra in the kitchen", "cat " * 100]
LONGEST = 12
LAYERS = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT = LAYERS | {
    "vocab_size": len(WORDS),
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
VISION = LAYERS | {"image_size": 32, "patch_size": 8}


def tokenizer() -> PreTrainedTokenizerFast:
    """Ten words between a start and an end."""
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>",
        model_max_length=LONGEST,
    )  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory):
    """A model with random weights, marked TEST, in Hugging Face's layout."""
    where = tmp_path_factory.mktemp("models") / f"tiny_{request.param}_TEST"
    torch.manual_seed(0)
    if request.param == "clip":
        model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24))
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        CLIPImageProcessor(**size).save_pretrained(where)
    else:
        model = SiglipModel(SiglipConfig(text_config=TEXT | {"projection_size": 32}, vision_config=VISION))
        SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(where)
    for parameter in model.parameters():  # small ones would make all texts alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(where)
    tokenizer().save_pretrained(where)
    return where


@pytest.fixture(scope="module")
def encoders(folder):
    return clip.clip_encoder(folder)


def pictures() -> list[Image.Image]:
    """Wide and tall ones, so that a crop and a squeeze are told apart."""
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (90, 50), (32, 32)]
    return [
        Image.fromarray(rng.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)).resize(
            (width, height)
        )
        for width, height in sizes
    ]


def vectors(texts, some):
    found = torch.empty(len(some), texts.dim)
    for rows, tokens in texts.batches(some):
        found[rows] = texts(tokens)[: len(rows)]
    return found


@pytest.mark.slow
def test_cosines_are_those_of_the_models_own_forward_pass(folder, encoders):
    images, texts = encoders
    whole = (CLIPModel if "tiny_clip" in folder.name else SiglipModel).from_pretrained(folder).eval()
    kind = CLIPImageProcessor if "tiny_clip" in folder.name else SiglipImageProcessor
    processor, words = kind.from_pretrained(folder), tokenizer()
    of_images = torch.cat([images(images.preprocess(picture)[None]) for picture in pictures()])
    cosines = of_images @ vectors(texts, TEXTS).T
    assert cosines.std() > 0.05, "everything is alike: any vector would pass"
    for row, picture in enumerate(pictures()):
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
        for column, text in enumerate(TEXTS):
            # As the model's page says: SigLIP without a mask at full length, CLIP with one.
            tokens = words(text, padding="max_length", truncation=True, return_tensors="pt")
            given = {"input_ids": tokens["input_ids"]}
            if "tiny_clip" in folder.name:
                given["attention_mask"] = tokens["attention_mask"]
            with torch.no_grad():
                logit = whole(**given, pixel_values=pixels).logits_per_image.squeeze()
            scaled = (logit - getattr(whole, "logit_bias", torch.zeros(1))) / whole.logit_scale.exp()
            torch.testing.assert_close(cosines[row, column], scaled.squeeze(), rtol=1e-4, atol=1e-5)


def test_both_towers_end_in_one_space_on_its_sphere(encoders):
    images, texts = encoders
    of_texts, of_images = (
        vectors(texts, TEXTS),
        images(torch.stack([images.preprocess(p) for p in pictures()])),
    )
    assert images.dim == texts.dim == of_texts.shape[1] == of_images.shape[1]
    for found in (of_texts, of_images):
        torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))


def test_tokens_are_cut_off_and_only_siglip_s_filled_up(folder, encoders):
    lengths = [len(tokens) for tokens in encoders[1].tokens(TEXTS)]
    assert lengths == ([4, 7, 2, 4, 7, LONGEST] if "tiny_clip" in folder.name else [LONGEST] * 6)
    assert encoders[1].tokens(["a dog"])[0][:4] == [2, 4, 5, 3]


def test_a_text_s_vector_never_depends_on_its_company(encoders):
    together = vectors(encoders[1], TEXTS)
    assert torch.equal(together, torch.cat([vectors(encoders[1], [each]) for each in TEXTS]))
    assert torch.equal(vectors(encoders[1], TEXTS[::-1] * 7)[: len(TEXTS)].flip(0), together)


def test_images_and_texts_go_through_the_cache(encoders, monkeypatch, tmp_path):
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "cache"))
    images, texts = encoders
    names = tuple(f"{row}.png" for row in range(3))
    for name, picture in zip(names, pictures(), strict=True):
        picture.save(tmp_path / name)
    found = embeddings.encode(images, ImageFiles(tmp_path, names)).values
    direct = torch.cat([images(images.preprocess(picture)[None]) for picture in pictures()])
    torch.testing.assert_close(found, direct, rtol=1e-4, atol=1e-5)
    alone = [embeddings.encode(images, ImageFiles(tmp_path, (name,))).values for name in names]
    assert torch.equal(torch.cat(alone), found)
    assert torch.equal(embeddings.encode_texts(texts, TEXTS), vectors(texts, TEXTS))
    monkeypatch.setattr(clip.ClipTexts, "batches", lambda *_: pytest.fail("encoded again"))
    embeddings.encode_texts(texts, TEXTS)


def test_towers_and_other_weights_have_other_keys(folder, encoders, monkeypatch, tmp_path):
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "cache"))
    images, texts = (encoder.settings() for encoder in encoders)
    assert {name for name in images if images[name] != texts.get(name)} == {"tower", "size"}
    assert (images["tower"], texts["tower"]) == ("images", "texts")
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"} <= set(
        images["files"]
    )
    moved = copied(folder, tmp_path / "moved")
    assert clip.clip_encoder(moved)[0].settings() == images
    data = bytearray((moved / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (moved / "model.safetensors").write_bytes(data)
    changed = clip.clip_encoder(moved)[0].settings()
    assert {name for name in changed if changed[name] != images[name]} == {"files"}


def copied(folder, where, *without):
    where.mkdir()
    for file in folder.iterdir():
        if file.name not in without:
            (where / file.name).write_bytes(file.read_bytes())
    return where


def test_a_folder_or_a_file_that_is_missing_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder.*M5_CLIP unset"):
        clip.clip_encoder(tmp_path / "nowhere")
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(FileNotFoundError, match=f"has no {name}.*never a pickle.*M5_CLIP"):
            clip.clip_encoder(copied(folder, tmp_path / name, name))
    with pytest.raises(FileNotFoundError, match=r"has no vocabulary \(tokenizer\.json"):
        clip.clip_encoder(copied(folder, tmp_path / "words", "tokenizer.json"))
    with pytest.raises(ValueError, match="no image-text model that can be read.*M5_CLIP"):
        clip.clip_encoder(copied(folder, tmp_path / "pixels", "preprocessor_config.json"))


def test_weights_that_are_not_all_there_are_refused_instead_of_drawn(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    where = copied(folder, tmp_path / "incomplete")
    state = load_file(where / "model.safetensors")
    del state["text_model.final_layer_norm.weight"]
    save_file(state, where / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights \(first: text_model\.final_layer_norm\.weight\)"):
        clip.clip_encoder(where)


def test_a_model_of_one_tower_is_refused(tmp_path):
    BertModel(BertConfig(vocab_size=len(WORDS), **LAYERS)).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="BertModel has no get_image_features.*M5_CLIP"):
        clip.clip_encoder(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    where = copied(folder, tmp_path / "mixed")
    words = json.loads((where / "tokenizer.json").read_text())
    words["model"]["vocab"]["zebra"] = len(WORDS)
    (where / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(ValueError, match="has 11 tokens, its model knows 10"):
        clip.clip_encoder(where)


def test_a_setting_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("M5_CLIP", raising=False)
    with pytest.raises(
        FileNotFoundError, match="M5_CLIP is not set: it names a folder with a CLIP or SigLIP"
    ):
        paths.dataset_root("M5_CLIP")
    monkeypatch.setenv("M5_CLIP", str(tmp_path))
    assert paths.dataset_root("M5_CLIP") == tmp_path
