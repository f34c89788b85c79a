"""What stands for a picture when its objects count: a frozen network's vector, or what a detector finds.

Knows encoders and detectors by name, and the cache. Must not know relevance, queries or metrics.
Slides: P4 (e).
"""

from collections.abc import Iterator

from torch import Tensor, nn

from m5utils import detection, embeddings
from m5utils.datasets.coco_retrieval import ObjectImages
from m5utils.encoders import boxes, detectors, image
from m5utils.encoders.boxes import BoxEncoder
from m5utils.encoders.frozen_detector import BoxesOfMaps, DetectorMaps, Scenes
from m5utils.runtime import Profile

SIZE, EPOCHS = 320, 4  # of the detector that is trained here: pixels, passes
BOX_SIZE = 448  # pixels, for those that were trained on COCO


def readable(profile: Profile, listed: ObjectImages, on_bad_image: str = "raise") -> ObjectImages:
    """The pictures that can be read, as the first encoder found when it went through them.

    Raises:
        ValueError: If some cannot be read and `on_bad_image` is "raise"; the message names them.
    """
    encoder = embeddings.encoder_named(profile.object_encoders[0])
    return listed.take(embeddings.encode(encoder, listed, on_bad_image).kept)


def described(profile: Profile, splits: dict[str, ObjectImages]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every descriptor of the profile: its name, and (n, dim) vectors by split.

    "frozen" is the first encoder's; other encoders and detectors bear their names, and what follows the name
    says which summary of the boxes it is, see `boxes.BoxEncoder`, or "pool", a level of the pyramid.

    Args:
        profile: Names encoders and detectors.
        splits: Readable pictures by split; a detector is trained on "train" alone.

    Raises:
        FileNotFoundError: If the first encoder's or a detector's weights are missing; there are never random
            ones.
    """
    for number, name in enumerate(encoder_names(profile)):
        vectors = {split: embeddings.vectors_of(name, part) for split, part in splits.items()}
        yield "frozen" if number == 0 else name, vectors
    for name in profile.detectors:
        if name != "trained":
            yield f"{name}_pool", {split: embeddings.vectors_of(name, part) for split, part in splits.items()}
        encoder = box_encoder(profile, name, splits["train"])
        found = {split: embeddings.encode(encoder, part).values for split, part in splits.items()}
        for summary in boxes.DESCRIPTORS:
            yield (
                f"{'detector' if name == 'trained' else name}_{summary}",
                {split: encoder.one(values, summary) for split, values in found.items()},
            )


def encoder_names(profile: Profile) -> list[str]:
    """The profile's encoders; but for the first, those whose weights are missing are left out, and named."""
    first, *others = profile.object_encoders
    there = [first]
    for name in others:
        try:
            embeddings.encoder_named(name)
            there.append(name)
        except FileNotFoundError as error:
            print(f"{name} is left out: {error}")
    return there


def box_encoder(profile: Profile, name: str, train: ObjectImages) -> BoxEncoder:
    """A detector as an encoder: one of `detectors.DETECTORS`, or "trained" on these pictures."""
    if name != "trained":
        return _of_coco(name)
    return BoxesOfMaps(trained_detector(profile, train))


def _of_coco(name: str) -> BoxEncoder:
    return BoxEncoder(name, BOX_SIZE, detectors.trained(name))


def trained_detector(profile: Profile, train: ObjectImages) -> nn.Module:
    """A Faster R-CNN on the profile's frozen backbone, trained on these pictures and their boxes, once."""
    return detection.fit(scenes(profile, train), EPOCHS)


def maps_of(profile: Profile) -> DetectorMaps:
    """What makes the maps that a detector is trained on, and looks at later."""
    return DetectorMaps(image.image_encoder(profile.image_encoder, SIZE))


def scenes(profile: Profile, listed: ObjectImages) -> Scenes:
    """The maps of these pictures, and their boxes where a detector sees them."""
    source = maps_of(profile)
    maps = embeddings.encode(source, listed)
    seen = [
        boxes.in_whole_picture(of_one, sides, SIZE)
        for of_one, sides in zip(listed.boxes, listed.sizes, strict=True)
    ]
    return Scenes(source, maps.values, seen, len(listed.categories), maps.name)


def sources(profile: Profile) -> list[nn.Module]:
    """All that takes pictures through a frozen network, for the encoding job."""
    named = [name for name in profile.detectors if name != "trained"]
    frozen = [embeddings.encoder_named(name) for name in (*encoder_names(profile), *named)]
    maps = [maps_of(profile)] if "trained" in profile.detectors else []
    return frozen + maps + [_of_coco(name) for name in named]
