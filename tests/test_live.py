from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from m5utils import embeddings, freshness, live, run, runtime
from m5utils.datasets.captions import CaptionedImages
from m5utils.datasets.listed import ImageFiles


@pytest.fixture
def models(tmp_path) -> live.Models:
    """Three images and captions; a sentence is its number, a picture its amount of red."""
    for name in "abc":
        Image.new("RGB", (20, 20)).save(tmp_path / f"{name}.png")
    gallery = CaptionedImages(
        tmp_path, ("a.png", "b.png", "c.png"), ("one", "two", "three"), np.arange(3), "s"
    )
    rows = torch.eye(3)
    return live.Models(
        gallery,
        rows,
        rows,
        lambda sentence: rows[[int(sentence)]],
        lambda picture: rows[[picture.getpixel((0, 0))[0] // 100]],
    )


def test_a_sentence_finds_images(models):
    found = live.images_for(models, "2", k=2)
    assert [file.name for file, _ in found] == ["c.png", "a.png"]
    assert found[0][1] == "1.000 · c.png"
    assert all(file.is_file() for file, _ in found)


@pytest.mark.parametrize("sentence", ["", "  \n", "x" * 10_001])
def test_no_sentence_or_too_long_a_one_is_refused(models, sentence):
    with pytest.raises(ValueError, match="expected a sentence of 1 to 10,000 letters"):
        live.images_for(models, sentence)


def test_a_photograph_finds_captions(models, tmp_path):
    Image.new("RGB", (30, 20), (150, 0, 0)).save(tmp_path / "mine.png")
    assert live.captions_for(models, tmp_path / "mine.png")[0] == ("two", 1.0)


def test_what_is_no_picture_is_refused(models, tmp_path):
    (tmp_path / "mine.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(ValueError, match="no picture format"):
        live.captions_for(models, tmp_path / "mine.png")


def test_too_large_a_file_is_refused(models, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "MEGABYTES", 0.0001)
    Image.effect_noise((50, 50), 90).save(tmp_path / "mine.png")
    with pytest.raises(ValueError, match="at most 0.0001 MB"):
        live.captions_for(models, tmp_path / "mine.png")


@pytest.mark.slow
def test_a_photograph_is_encoded_as_those_in_the_cache(tmp_path):
    picture = Image.effect_noise((90, 70), 60).convert("RGB")
    picture.save(tmp_path / "a.png")
    profile = replace(runtime.profile("demo"), image_sizes=(64, 96))
    encoders = [embeddings.encoder_named(profile.image_encoder, size) for size in profile.image_sizes]
    cached = embeddings.plain_features(profile, ImageFiles(tmp_path, ("a.png",)))
    assert torch.allclose(live.vector_of(picture, encoders), cached, atol=1e-5)


def test_without_gradio_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(FileNotFoundError, match=r"\.\[explore\]"):
        live.serve("demo")


def test_the_heads_are_those_of_notebook_09():
    notebook = run.notebooks()["09"]
    assert freshness.parameters(notebook)["n_axes"] == live.AXES
    asked = f"Recipe(dim={live.DIM}, epochs=run.profile.pair_epochs, batch={live.BATCH}, rate=1e-3)"
    assert any(f"recipe = alignment.{asked}" in cell for cell in freshness.code_cells(notebook))
    assert live.RATE == 1e-3
