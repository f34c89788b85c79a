"""VGG's last layer but one, "fc7", as an image encoder: what image–text papers of 2014 to 2016 start from.

Knows torchvision's VGG and its weights. Must not know datasets, caches or labels.
Slides: structure-preserving embeddings, "Image feature extraction". The other encoders stop at the
convolutions (`m5utils.encoders.image`).
"""

import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from m5utils import paths
from m5utils.encoders import image

SIZE = 224  # pixels: the linear layers were trained on maps of 7 × 7 places
UP_TO = 5  # of the classifier's modules: linear, ReLU, dropout, linear, ReLU


class Fc7(nn.Module):
    """From pictures to fc7, after its ReLU.

    Attributes:
        name: The network's.
        size: Side length of the square that is encoded, in pixels.
        dim: Length of a vector: 4,096.
    """

    dtype = torch.float32
    size = SIZE

    def __init__(self, name: str, net: nn.Module) -> None:
        """Keep what lies below the last linear layer; use `fc7_encoder` to get one by name."""
        super().__init__()
        self.name, self.features, self.avgpool = name, net.features, net.avgpool
        self.classifier = net.classifier[:UP_TO]
        self.dim = self.classifier[3].out_features
        mean, deviation = image.IMAGENET
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The largest centred square of an RGB picture as (3, size, size) uint8."""
        return image.centred_square(picture, self.size)

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of (n, 3, size, size) uint8 pixels."""
        maps = self.avgpool(self.features(image.scaled(pixels, self.mean, self.deviation)))
        return self.classifier(maps.flatten(1))

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.name} fc7 at {self.size} px"

    def settings(self) -> dict[str, object]:
        """Everything that decides the vectors, for the cache's key; nothing that does not."""
        return {
            "encoder": self.name,
            "layer": "fc7",
            "size": self.size,
            "weights": image.content_of(self.state_dict()),
            **image.versions(),
            "code": paths.code_key(image, sys.modules[__name__]),
        }


def fc7_encoder(name: str = "vgg19", weights: Path | None = None) -> Fc7:
    """An encoder by name, pretrained, in evaluation mode.

    Args:
        name: "vgg16" or "vgg19".
        weights: A state_dict of the whole network (.safetensors, or .pth without code in it), to use instead
            of ImageNet's.

    Raises:
        ValueError: If the file is of another network or holds its convolutions alone; it is named.
        FileNotFoundError: If weights are missing; there are never random ones.
    """
    if name not in ("vgg16", "vgg19"):
        raise ValueError(f"expected a network with an fc7, vgg16 or vgg19; got {name!r}")
    file = Path(weights) if weights is not None else image.torchvision_weights(name, "IMAGENET1K_V1")
    state, net = image.read_weights(file), torchvision.models.get_model(name, weights=None)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{file} does not hold all of {name}, linear layers included: give torchvision's file of {name}. "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    return Fc7(name, net).eval().requires_grad_(False)
