"""R-MAC descriptors of a list of pictures: the whitening learned once, every picture encoded once.

Knows encoders by name, and the cache. Must not know captions, queries or metrics.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from m5utils import checkpoints, embeddings, paths
from m5utils.datasets.listed import ImageFiles
from m5utils.encoders import rmac
from m5utils.runtime import Profile

DIM = 512  # axes that whitening keeps
SAMPLE = 300  # pictures that it is learned from
DEEPER = {"resnet50": "resnet101"}  # the paper's network, where the profile has its smaller sister


def backbone(profile: Profile) -> str:
    """The name of the network under R-MAC: the profile's, or its larger sister where the paper has that."""
    return DEEPER.get(profile.image_encoder, profile.image_encoder)


def rmac_encoder(profile: Profile, train: ImageFiles) -> rmac.RMacEncoder:
    """The profile's backbone under R-MAC, whitened on the regions of pictures from the start of train.

    Pictures are as large as those on which the profile trains whole networks: as in the paper, whose R-MAC
    is trained end to end, and smaller for drawings.

    The learned whitening is kept in the cache: whoever reads the cache has the same one, to the last bit.

    Raises:
        FileNotFoundError: If the backbone's weights are missing; there are never random ones.
    """
    encoder = embeddings.encoder_named(backbone(profile), profile.finetune_size)
    by_region, sample = rmac.RegionEncoder(encoder), train.take(range(min(SAMPLE, len(train))))
    decided_by = {
        "regions": by_region.settings(),
        "pictures": paths.content_hashes(sample.paths()),
        "dim": DIM,
        "code": paths.code_key(sys.modules[__name__], rmac),
    }

    def learn(folder: Path) -> None:
        vectors = by_region.vectors(embeddings.encode(by_region, sample).values)
        checkpoints.save(folder / "rmac.safetensors", {"white": rmac.whitening(vectors, DIM)}, {})

    white = rmac.Whitening(by_region.channels, DIM)
    checkpoints.load(
        checkpoints.trained_once("whitening/rmac.safetensors", decided_by, "whitening regions", learn),
        {"white": white},
    )
    return rmac.RMacEncoder(encoder, white)


@torch.no_grad()
def described(profile: Profile, splits: dict[str, ImageFiles]) -> dict[str, Tensor]:
    """(n, dim) R-MAC vectors by split, of length 1; the whitening is learned on "train" alone."""
    encoder = rmac_encoder(profile, splits["train"])
    return {name: embeddings.encode(encoder, part).values for name, part in splits.items()}
