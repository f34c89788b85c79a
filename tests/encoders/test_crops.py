"""Ten crops and fc7: which pixels are looked at, the network's own numbers, keys that know both."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from m5utils.encoders import crops, fc7, image


def tiny_vgg() -> nn.Module:
    """VGG's parts in their order, with few channels."""
    torch.manual_seed(0)
    net = nn.Module()
    net.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(32))
    net.avgpool = nn.AdaptiveAvgPool2d(7)
    layers = (nn.Linear(4 * 49, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 6), nn.ReLU(), nn.Dropout())
    net.classifier = nn.Sequential(*layers, nn.Linear(6, 3))
    return net


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Its random weights, marked TEST, and torchvision asked for a VGG gives it."""
    file = tmp_path / "vgg19-TEST.pth"
    torch.save(tiny_vgg().state_dict(), file)
    monkeypatch.setattr(torchvision.models, "get_model", lambda *_, **__: tiny_vgg())
    return file


def picture(width: int = 320, height: int = 240) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


class Places(nn.Module):
    """An encoder of a square: its four corner pixels."""

    size, dim = 8, 12

    def forward(self, pixels):
        return pixels[:, :, :: self.size - 1, :: self.size - 1].flatten(1).float()

    def settings(self):
        return {"encoder": "places", "size": self.size, "code": "its own"}


def test_fc7_is_what_torchvision_s_network_computes_before_its_last_layer(weights):
    encoder, whole = fc7.fc7_encoder("vgg19", weights), tiny_vgg().eval()
    pixels = encoder.preprocess(picture())[None]
    seen = []
    whole.classifier[4].register_forward_hook(lambda *given: seen.append(given[-1]))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in image.IMAGENET)
    whole.classifier(whole.avgpool(whole.features((pixels.float() - mean) / deviation)).flatten(1))
    assert encoder.dim == 6
    torch.testing.assert_close(encoder(pixels), seen[0])
    assert (seen[0] > 0).any()
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_the_real_networks_have_4096_numbers(name):
    with torch.device("meta"):  # no memory, no time
        net = torchvision.models.get_model(name, weights=None)
        assert fc7.Fc7(name, net).dim == 4096


@pytest.mark.usefixtures("weights")
def test_fc7_refuses(tmp_path):
    with pytest.raises(ValueError, match="vgg16 or vgg19; got 'resnet50'"):
        fc7.fc7_encoder("resnet50")
    state = {key: value for key, value in tiny_vgg().state_dict().items() if key.startswith("features")}
    torch.save(state, tmp_path / "features.pth")
    with pytest.raises(ValueError, match="features.pth does not hold all of vgg19.*classifier"):
        fc7.fc7_encoder("vgg19", tmp_path / "features.pth")
    with pytest.raises(FileNotFoundError, match="none.pth is missing"):
        fc7.fc7_encoder("vgg19", tmp_path / "none.pth")


def test_crops_are_the_corners_and_the_centre():
    ten = crops.TenCrops(Places())
    width, height = 64, 32  # crops of 56 × 28
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([across, down, np.zeros_like(across)], axis=-1).astype(np.uint8)
    found = ten.preprocess(Image.fromarray(pixels))
    assert (found.shape, found.dtype) == ((5, 3, 8, 8), torch.uint8)
    # the middle of the first and the last of 8 parts of a crop, each 7 pixels wide and 3.5 high
    starts = [(0, 0), (8, 0), (0, 4), (8, 4), (4, 2)]
    for crop, (left, top) in zip(found, starts, strict=True):
        for place, (x, y) in {(0, 0): (3, 1.25), (7, 7): (52, 25.75)}.items():
            assert crop[0, *place] == pytest.approx(left + x, abs=1.9)
            assert crop[1, *place] == pytest.approx(top + y, abs=1.9)


def test_ten_crops_are_the_mean_of_each_and_its_mirror_image(weights):
    encoder = fc7.fc7_encoder("vgg19", weights)
    ten = crops.TenCrops(encoder)
    pixels = torch.stack([ten.preprocess(picture()), ten.preprocess(picture(240, 320))])
    every = [encoder(view) for crop in range(5) for view in (pixels[:, crop], pixels[:, crop].flip(3))]
    assert ten.dim == 6
    torch.testing.assert_close(ten(pixels), torch.stack(every).mean(dim=0))
    torch.testing.assert_close(ten(pixels.flip(4)), ten(pixels))
    assert not torch.allclose(ten(pixels), encoder(pixels[:, 4]))


def test_keys_know_the_weights_and_the_code_of_both(weights, tmp_path, monkeypatch):
    encoder = fc7.fc7_encoder("vgg19", weights)
    before = crops.TenCrops(encoder).settings()
    assert before["encoder"] == "vgg19"
    assert before["size"] == 224
    assert before != encoder.settings()
    state = torch.load(weights, weights_only=True)
    state["classifier.3.bias"][0] += 1e-3
    torch.save(state, tmp_path / "other.pth")
    other = crops.TenCrops(fc7.fc7_encoder("vgg19", tmp_path / "other.pth")).settings()
    assert {name for name in before if before[name] != other[name]} == {"weights"}
    for module, part in ((crops, "crops"), (fc7, "code"), (image, "code")):
        copied = tmp_path / "changed.py"
        copied.write_bytes(Path(module.__file__).read_bytes() + b"\nCHANGED = 1\n")
        with monkeypatch.context() as patch:
            patch.setattr(module, "__file__", str(copied))
            changed = crops.TenCrops(encoder).settings()
        assert {name for name in before if before[name] != changed[name]} == {part}, module


def test_a_mirrored_picture_is_the_picture_from_right_to_left():
    class Centre(Places):
        def preprocess(self, picture):
            return image.centred_square(picture, self.size)

    plain = Centre()
    mirrored = crops.Mirrored(plain)
    pixels = plain.preprocess(picture())[None]
    assert torch.equal(mirrored.preprocess(picture())[None], pixels.flip(3))
    assert torch.equal(mirrored(mirrored.preprocess(picture())[None]), plain(pixels.flip(3)))
    assert (mirrored.size, mirrored.dim) == (8, 12)
    assert set(mirrored.settings()) - set(plain.settings()) == {"mirrored"}
