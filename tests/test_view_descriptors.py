"""Views averaged: the mean that the encoder itself gives, one view in the cache of the others."""

import drawn
import pytest
import torch
from PIL import Image

from m5utils import embeddings, runtime, view_descriptors
from m5utils.encoders import crops, fc7, image


@pytest.fixture
def listed(tmp_path, monkeypatch):
    monkeypatch.setattr(view_descriptors, "SIZE", 64)
    monkeypatch.setattr(embeddings, "BATCH", 3)
    return drawn.pictures(tmp_path, 3, (90, 60))


@pytest.mark.slow
def test_centre_and_mirror_image_are_what_the_encoder_averages(listed, monkeypatch):
    encoders = view_descriptors.sources(runtime.profile("demo"))
    found = view_descriptors.averaged(encoders, listed)
    both = image.image_encoder("efficientnet_lite0", 64, flip=True)
    pixels = torch.stack([both.preprocess(Image.open(path)) for path in listed.paths()])
    torch.testing.assert_close(found, both(pixels), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(found, embeddings.vectors_of("efficientnet_lite0", listed, 64), atol=1e-3)
    # both views are in the cache now, the first where other notebooks look for it
    monkeypatch.setattr(embeddings, "_of_images", None)
    assert torch.equal(view_descriptors.averaged(encoders, listed), found)


def test_the_course_s_profile_has_the_paper_s_network_and_ten_crops(monkeypatch):
    asked = []
    with torch.device("meta"):  # no memory, no time
        import torchvision

        net = torchvision.models.get_model("vgg19", weights=None)
    monkeypatch.setattr(fc7, "fc7_encoder", lambda name: asked.append(name) or fc7.Fc7(name, net))
    (encoder,) = view_descriptors.sources(runtime.profile("course"))
    assert isinstance(encoder, crops.TenCrops)
    assert (asked, encoder.dim, str(encoder)) == (["vgg19"], 4096, "vgg19 fc7 at 224 px, ten crops")
