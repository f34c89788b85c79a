"""R-MAC of a list of pictures: learned on train alone, encoded once, the same backbone whatever the list."""

import drawn
import numpy as np
import pytest
import torch
from PIL import Image

from m5utils import embeddings, region_descriptors, runtime

PROFILE = runtime.profile("demo")


@pytest.fixture
def splits(tmp_path, monkeypatch):
    monkeypatch.setattr(region_descriptors, "DIM", 6)
    monkeypatch.setattr(region_descriptors, "SAMPLE", 3)
    monkeypatch.setattr(embeddings, "BATCH", 4)
    listed = drawn.pictures(tmp_path, 6, (100, 100))
    return {"train": listed.take(np.arange(4)), "ranked": listed.take(np.arange(4, 6))}


@pytest.mark.slow
def test_vectors_are_of_length_1_and_those_of_the_encoder(splits, monkeypatch):
    found = region_descriptors.described(PROFILE, splits)
    assert found["train"].shape == (4, 6)
    torch.testing.assert_close(found["ranked"].norm(dim=1), torch.ones(2))
    encoder = region_descriptors.rmac_encoder(PROFILE, splits["train"])
    assert encoder.encoder.size == PROFILE.finetune_size
    pixels = torch.stack([encoder.preprocess(Image.open(path)) for path in splits["ranked"].paths()])
    torch.testing.assert_close(encoder(pixels), found["ranked"], atol=1e-3, rtol=1e-3)
    # and again, from the cache: nothing is encoded
    monkeypatch.setattr(embeddings, "_of_images", None)
    again = region_descriptors.described(PROFILE, splits)
    assert torch.equal(again["train"], found["train"])


@pytest.mark.slow
def test_the_whitening_is_learned_on_the_start_of_train_alone(splits):
    first = region_descriptors.rmac_encoder(PROFILE, splits["train"])
    fewer = region_descriptors.rmac_encoder(PROFILE, splits["train"].take([0, 1, 2]))  # SAMPLE of them
    assert torch.equal(first.white.projection, fewer.white.projection)
    others = region_descriptors.rmac_encoder(PROFILE, splits["train"].take([1, 2, 3]))
    assert not torch.equal(first.white.projection, others.white.projection)
