"""Detectors as image encoders, by name: a network that was trained to find things, cut off before its boxes.

Knows torchvision's detectors and their weights. Must not know datasets, caches or labels.
Slides: group 7's deck, "Model Employed": the features of a Faster R-CNN, 4,096 numbers per photograph.
"""

import re
import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from m5utils import paths
from m5utils.encoders import image

DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
)
# Their weights are from a time when batch normalisation added nothing to the variance (pytorch/vision#2933).
WITHOUT_EPS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
# Names in the files that torchvision offers, and what its detectors call these layers today.
RENAMED = (
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    *(
        (rf"^(roi_heads\.mask_head)\.mask_fcn{layer + 1}\.(weight|bias)$", rf"\1.{layer}.0.\2")
        for layer in range(4)
    ),
)


class OfDetector(nn.Module):
    """What the encoders that are made of a detector share.

    Attributes:
        name: The detector's.
        size: Side length of the square that is encoded, in pixels.
        dim: Length of a vector.
        descriptor: What of the detector the vector is.
    """

    dtype = torch.float32
    descriptor: str
    dim: int

    def __init__(self, name: str, size: int, detector: nn.Module) -> None:
        """Keep the statistics of the pixels that the detector was trained on."""
        super().__init__()
        self.name, self.size = name, size
        own = detector.transform  # its statistics are of pixels from 0 to 1
        for buffer, values in (("mean", own.image_mean), ("deviation", own.image_std)):
            self.register_buffer(buffer, 255 * torch.tensor(values)[:, None, None], persistent=False)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.name}, {self.descriptor}, at {self.size} px"

    def settings(self) -> dict[str, object]:
        """Everything that decides the vectors, for the cache's key; nothing that does not."""
        kinds = [kind for kind in reversed(type(self).mro()) if issubclass(kind, OfDetector)]
        code = dict.fromkeys((image.__name__, *(kind.__module__ for kind in kinds)))
        return {
            "encoder": self.name,
            "descriptor": self.descriptor,
            "size": self.size,
            "weights": image.content_of(self.state_dict()),
            **image.versions(),
            "code": paths.code_key(*(sys.modules[name] for name in code)),
        }


class DetectorEncoder(OfDetector):
    """From pictures to vectors: resize, scale, and what one level of a detector says at every place.

    Attributes:
        network: From scaled pixels to the maps of the level, see `pool_level`.
        dim: Channels × places.
    """

    descriptor = "pool"

    def __init__(self, name: str, size: int, detector: nn.Module) -> None:
        """Take what is needed out of a whole detector; use `detector_encoder` to get one by name."""
        super().__init__(name, size, detector)
        self.network = pool_level(detector)
        with torch.inference_mode():
            self.dim = self.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[1]

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The largest centred square of an RGB picture as (3, size, size) uint8."""
        return image.centred_square(picture, self.size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of (n, 3, size, size) uint8 pixels."""
        maps = self.network(image.scaled(pixels, self.mean, self.deviation))
        return maps.contiguous().flatten(1)  # channel by channel, as the deck had them


def pool_level(detector: nn.Module) -> nn.Sequential:
    """From scaled pixels (n, 3, h, w) to the smallest maps of a detector's feature pyramid, (n, 256, h', w').

    torchvision calls this level "pool": every second place of the level below it. The larger levels, which
    take a third of the time, are left out: nothing flows from them to this one (Lin et al. 2017, figure 3).
    """
    body, pyramid = detector.backbone.body, detector.backbone.fpn
    every_second = nn.MaxPool2d(kernel_size=1, stride=2)
    return nn.Sequential(*body.values(), pyramid.inner_blocks[-1], pyramid.layer_blocks[-1], every_second)


def detector_encoder(name: str, size: int = 224, weights: Path | None = None) -> DetectorEncoder:
    """A detector by name, trained on COCO, as an encoder in evaluation mode.

    Args:
        name: One of `DETECTORS`.
        size: Side length in pixels.
        weights: A state_dict of the whole detector (.safetensors, or .pth without code in it), to use instead
            of torchvision's for COCO.

    Raises:
        ValueError: If there is no such detector, `size` is below 32, or the file is of another architecture.
        FileNotFoundError: If weights are missing; there are never random ones.
    """
    if size < image.SMALLEST:
        raise ValueError(f"expected a size of at least {image.SMALLEST} pixels, got {size}")
    return DetectorEncoder(name, size, trained(name, weights)).eval().requires_grad_(False)


def trained(name: str, weights: Path | None = None) -> nn.Module:
    """A whole detector by name, trained on COCO, in evaluation mode; arguments and errors as above."""
    if name not in DETECTORS:
        raise ValueError(f"expected a detector out of {', '.join(DETECTORS)}; got {name!r}")
    file = Path(weights) if weights is not None else image.torchvision_weights(name, "COCO_V1")
    state = image.read_weights(file)
    detector = untrained(name)
    image.load_weights(detector, {_renamed(key): value for key, value in state.items()}, file, name)
    return detector.eval().requires_grad_(False)


def untrained(name: str) -> nn.Module:
    """The whole detector with random weights, as the trained ones expect it."""
    detector = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    if name in WITHOUT_EPS:
        for layer in detector.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 0.0
    return detector


def _renamed(key: str) -> str:
    for old, new in RENAMED:
        key = re.sub(old, new, key)
    return key
