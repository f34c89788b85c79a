"""What a detector finds as vectors: the pooled features of its own boxes, whatever stands beside it."""

import copy

import pytest
import torch
from PIL import Image
from torchvision.models.detection.image_list import ImageList

from m5utils.encoders import boxes, detectors, image

pytestmark = pytest.mark.slow  # whole detectors are built

SIZE = 96
MOBILE = "fasterrcnn_mobilenet_v3_large_fpn"


@pytest.fixture(scope="module")
def encoder(detector):
    return boxes.BoxEncoder(MOBILE, SIZE, detector)


def pictures(n: int) -> torch.Tensor:
    return torch.randint(
        0, 256, (n, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_descriptors_are_those_of_the_boxes_that_the_detector_is_sure_of(detector, encoder, monkeypatch):
    seen = []
    head = detector.roi_heads.box_head.forward
    monkeypatch.setattr(detector.roi_heads.box_head, "forward", lambda x: seen.append(head(x)) or seen[-1])
    vectors = encoder(pictures(1))
    features = seen[-1]  # of the sure boxes; the call before was of all proposals
    scaled = image.scaled(pictures(1), encoder.mean, encoder.deviation)
    maps = detector.backbone(scaled)
    proposals, _ = detector.rpn(ImageList(scaled, [(SIZE, SIZE)]), maps)
    ((found,), _) = detector.roi_heads(maps, proposals, [(SIZE, SIZE)])
    sure = found["scores"] >= boxes.SURE
    scores, labels = found["scores"][sure], found["labels"][sure]
    assert 1 < len(scores) == len(features) < len(found["scores"])
    weighted = (features * scores[:, None]).sum(dim=0) / scores.sum()
    expected = {"mean": features.mean(dim=0), "weighted": weighted, "max": features.max(dim=0).values}
    for name, of_name in expected.items():
        torch.testing.assert_close(encoder.one(vectors, name)[0], of_name, rtol=1e-4, atol=1e-4)
    histogram = encoder.one(vectors, "histogram")[0]
    assert histogram.tolist() == [int((labels == category).sum()) for category in range(1, 91)]


def test_the_same_to_the_bit_in_any_company(encoder):
    network, x, order = image.for_inference(encoder), pictures(8), torch.randperm(8)
    with torch.inference_mode():
        assert torch.equal(network(x[order]), network(x)[order])


def test_a_picture_without_anything_has_zeros(encoder, monkeypatch):
    assert encoder(pictures(2)).any(dim=1).all()
    monkeypatch.setattr(boxes, "SURE", 2.0)
    assert not encoder(pictures(2)).any()


def test_the_whole_picture_is_seen(encoder):
    square = encoder.preprocess(Image.new("RGB", (200, 100), (250, 0, 0)))
    assert square.shape == (3, SIZE, SIZE)
    assert (square[0, : SIZE // 2] == 250).all()
    assert square[:, SIZE // 2 + 1 :].float().std(dim=(1, 2)).max() == 0
    assert square[:, -1, -1].tolist() == encoder.mean.flatten().round().int().tolist()
    assert encoder.preprocess(Image.new("RGB", (3000, 2))).shape == (3, SIZE, SIZE)


def test_unknown_descriptors_are_refused(encoder):
    with pytest.raises(ValueError, match="out of mean, weighted, max, histogram; got 'sum'"):
        encoder.one(torch.zeros(1, encoder.dim), "sum")


def test_masks_are_left_out():
    with torch.device("meta"):  # no memory, no time
        net = detectors.untrained("maskrcnn_resnet50_fpn")
        assert net.roi_heads.has_mask()
        assert not boxes.BoxEncoder("masks", 64, net).boxes.has_mask()


def test_weights_decide(encoder, detector):
    changed = copy.deepcopy(detector)
    changed.roi_heads.box_predictor.bbox_pred.bias[0] += 1e-3
    other = boxes.BoxEncoder(MOBILE, SIZE, changed).settings()
    differ = {name for name, value in encoder.settings().items() if value != other[name]}
    assert differ == {"weights"}
