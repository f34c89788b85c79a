"""Detectors as encoders: the level the detector itself computes, the right weights or an error."""

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import nn

from m5utils import embeddings
from m5utils.datasets.listed import ImageFiles
from m5utils.encoders import detectors, image

pytestmark = pytest.mark.slow  # whole detectors are built

SIZE = 64
MOBILE = "fasterrcnn_mobilenet_v3_large_fpn"


@pytest.fixture(scope="module")
def test_weights(tmp_path_factory, detector):
    """Its weights, marked TEST: never to be taken for trained ones."""
    file = tmp_path_factory.mktemp("weights") / f"{MOBILE}-TEST.safetensors"
    safetensors.torch.save_file(detector.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def encoder(test_weights):
    return detectors.detector_encoder(MOBILE, SIZE, test_weights)


def pictures(n: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_a_vector_is_the_pool_level_of_the_whole_detector_flattened(detector, encoder):
    x = pictures(3)
    scaled = torch.stack([detector.transform.normalize(one / 255) for one in x])
    expected = detector.backbone(scaled)["pool"].flatten(1)
    assert expected.std() > 1e-3, "nothing reaches the last level: any vector would pass"
    assert encoder.dim == expected.shape[1]
    assert_near(encoder(x), expected)


def test_every_detector_has_the_deck_s_4096_numbers_at_224_pixels():
    with torch.device("meta"):  # no memory, no time: names and shapes only
        for name in detectors.DETECTORS:
            level = detectors.pool_level(detectors.untrained(name).eval())
            assert level(torch.zeros(1, 3, 224, 224)).shape == (1, 256, 4, 4), name


def test_the_first_detectors_add_nothing_to_the_variance_as_their_weights_expect():
    """Torchvision sets it to 0 when it loads these weights, and to nothing else for the other detectors."""
    with torch.device("meta"):
        for name in detectors.DETECTORS:
            eps = {m.eps for m in detectors.untrained(name).modules() if isinstance(m, nn.BatchNorm2d)}
            assert eps == {0.0 if name in ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn") else 1e-5}, (
                name
            )


def test_inference_folds_every_normalisation_and_computes_the_same(encoder):
    fast, x = image.for_inference(encoder), pictures(2)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    with torch.inference_mode():
        assert_near(fast(x), encoder(x))


def test_the_same_to_the_bit_at_any_place_in_a_batch(encoder):
    network, x, order = image.for_inference(encoder), pictures(32), torch.randperm(32)
    with torch.inference_mode():
        assert torch.equal(network(x[order]), network(x)[order])


def test_frozen_and_in_eval_mode(encoder):
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_preprocess_gives_the_squares_of_every_image_encoder(encoder):
    tall = Image.fromarray(np.arange(100 * 40 * 3, dtype=np.uint8).reshape(100, 40, 3))
    assert torch.equal(encoder.preprocess(tall), image.centred_square(tall, SIZE))
    with pytest.raises(ValueError, match="uint8.*float32"):
        encoder(pictures(1).float())


def test_settings_know_detector_size_and_the_weights_that_are_used(tmp_path, test_weights, encoder):
    state = safetensors.torch.load_file(test_weights)
    state["rpn.head.cls_logits.bias"] += 1  # no vector depends on it
    torch.save(state, tmp_path / "boxes.pth")
    assert detectors.detector_encoder(MOBILE, SIZE, tmp_path / "boxes.pth").settings() == encoder.settings()
    state["backbone.fpn.layer_blocks.1.0.bias"][0] += 1e-3
    torch.save(state, tmp_path / "changed.pth")
    changed = detectors.detector_encoder(MOBILE, SIZE, tmp_path / "changed.pth").settings()
    assert {name for name in changed if changed[name] != encoder.settings()[name]} == {"weights"}
    larger = detectors.detector_encoder(MOBILE, 96, test_weights).settings()
    assert {name for name in larger if larger[name] != encoder.settings()[name]} == {"size"}
    about = ("encoder", "descriptor", "size", "weights", "torch", "torchvision", "pillow", "code")
    assert tuple(encoder.settings()) == about
    assert (encoder.settings()["encoder"], encoder.settings()["descriptor"]) == (MOBILE, "pool")


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A detector's weights under the names of the files from 2019, which torchvision still offers."""
    renamed = {}
    for key, value in state.items():
        for part in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                key = key.replace(f"fpn.{part}.{level}.0.", f"fpn.{part}.{level}.")
        key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for layer in range(4):
            key = key.replace(f"mask_head.{layer}.0.", f"mask_head.mask_fcn{layer + 1}.")
        renamed[key] = value
    return renamed


@pytest.mark.parametrize("name", [MOBILE, "maskrcnn_resnet50_fpn"])
def test_names_of_2019_are_those_that_torchvision_knows(name):
    with torch.device("meta"):
        state = detectors.untrained(name).state_dict()
        old = old_names(state)
        assert len(set(old) - set(state)) == (10 if name == MOBILE else 26)
        detectors.untrained(name).load_state_dict(old, strict=True)  # torchvision's own renaming
        assert {detectors._renamed(key) for key in old} == set(state)


def test_weights_from_torch_s_cache_under_their_names_of_2019(tmp_path, monkeypatch, detector, encoder):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    url = torchvision.models.get_model_weights(MOBILE)["COCO_V1"].url
    torch.save(old_names(detector.state_dict()), tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2])
    assert detectors.detector_encoder(MOBILE, SIZE).settings() == encoder.settings()


def test_missing_weights_name_the_file_the_place_and_another_encoder(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(
        FileNotFoundError, match="maskrcnn_resnet50_fpn_v2.*_v2_coco-.*pth.*efficientnet_lite0"
    ) as error:
        detectors.detector_encoder("maskrcnn_resnet50_fpn_v2")
    assert str(tmp_path) in str(error.value)
    assert not list(tmp_path.rglob("*.pth*")), "something was left in the place of the weights"
    with pytest.raises(FileNotFoundError, match="none.pth.*efficientnet_lite0"):
        detectors.detector_encoder(MOBILE, weights=tmp_path / "none.pth")


def test_weights_of_another_detector_are_refused_with_the_first_names(tmp_path, test_weights):
    with pytest.raises(ValueError, match=r"TEST.*of another network than maskrcnn_resnet50_fpn: .* missing"):
        detectors.detector_encoder("maskrcnn_resnet50_fpn", weights=test_weights)
    state = safetensors.torch.load_file(test_weights)
    del state["backbone.fpn.inner_blocks.1.0.weight"]
    torch.save(state, tmp_path / "incomplete.pth")
    with pytest.raises(ValueError, match=r"1 missing \(first: backbone\.fpn\.inner_blocks\.1\.0\.weight\)"):
        detectors.detector_encoder(MOBILE, weights=tmp_path / "incomplete.pth")


def test_unknown_name_and_size_are_refused(test_weights):
    with pytest.raises(ValueError, match="detector out of fasterrcnn_resnet50_fpn, .*; got 'resnet50'"):
        detectors.detector_encoder("resnet50")
    with pytest.raises(ValueError, match="at least 32 pixels, got 16"):
        detectors.detector_encoder(MOBILE, 16, test_weights)


def test_its_vectors_go_through_the_cache_and_do_not_depend_on_their_company(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("M5_CACHE", str(tmp_path / "cache"))
    names = [f"{row}.png" for row in range(3)]
    for name, pixels in zip(names, pictures(3), strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / name)
    found = embeddings.encode(encoder, ImageFiles(tmp_path, tuple(names))).values
    assert_near(found, encoder(pictures(3)))
    alone = [embeddings.encode(encoder, ImageFiles(tmp_path, (name,))).values for name in reversed(names)]
    assert torch.equal(torch.cat(alone[::-1]), found)
