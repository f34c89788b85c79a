"""Pictures as vectors averaged over views: VGG-19's fc7 over ten crops, or a small network's over two.

Knows encoders by name, and the cache. Must not know captions, queries or metrics.
Slides: structure-preserving embeddings, "Image feature extraction".
"""

from collections.abc import Sequence

from torch import Tensor, nn

from m5utils import embeddings
from m5utils.datasets.listed import ImageFiles
from m5utils.encoders import crops, fc7
from m5utils.runtime import Profile

SIZE = 224  # pixels
OF_THE_PAPER = {"resnet50": "vgg19"}  # its network, where the profile has torchvision's


def sources(profile: Profile) -> list[nn.Module]:
    """What takes pictures through a network: their vectors are averaged.

    Ten crops of the paper's network in one encoder; or the profile's own, which looks at the centre and, as
    an encoder of its own, at its mirror image: the first of the two other notebooks need as well.

    Raises:
        FileNotFoundError: If the network's weights are missing; there are never random ones.
    """
    if profile.image_encoder in OF_THE_PAPER:
        return [crops.TenCrops(fc7.fc7_encoder(OF_THE_PAPER[profile.image_encoder]))]
    encoder = embeddings.encoder_named(profile.image_encoder, SIZE)
    return [encoder, crops.Mirrored(encoder)]


def averaged(encoders: Sequence[nn.Module], listed: ImageFiles) -> Tensor:
    """(n, dim) float32: the mean over the views of each picture.

    Args:
        encoders: Of `sources`.
        listed: n readable images.
    """
    return sum(embeddings.encode(encoder, listed).values for encoder in encoders) / len(encoders)
