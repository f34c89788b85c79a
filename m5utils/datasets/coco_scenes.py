"""Scenes of the drawn world: which things stand where, how they relate, and the picture of it all.

Knows how a scene is made up from chance, and how it is drawn. Must not know words, nor where pictures are
stored: see `m5utils.datasets.grammar` and `m5utils.datasets.demo_coco`.

Lengths on the canvas are twice those of the picture. A thing's look depends on its own seed alone, so the
same scene without it differs nowhere else.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from m5utils.datasets import backdrops, casting, drawing, objects
from m5utils.datasets.backdrops import SETTINGS
from m5utils.datasets.casting import Box, Thing, Unit
from m5utils.datasets.objects import CATEGORIES

ZOOM = 2  # canvas pixels per pixel of the picture, each way
SIZES = ((256, 192),) * 5 + ((256, 184), (250, 192), (240, 192), (192, 256), (200, 248))
OPAQUE = 128  # alpha of what counts as the thing itself; its shadow is fainter


@dataclass(frozen=True)
class Relation:
    """A fact about two things, by their places in the list; see `PREDICATES`."""

    subject: int
    predicate: str
    object: int


HELD = ("riding", "holding", "on", "in")  # by a joint
PREDICATES = (*HELD, "left of", "in front of", "above", "next to")


@dataclass(frozen=True)
class Graph:
    """A scene.

    Attributes:
        width: Of the picture, pixels.
        height: Of the picture, pixels.
        setting: A name of `backdrops.SETTINGS`.
        time: "sunny", "cloudy", "evening" or "" (indoors).
        horizon: Its y on the canvas.
        things: The farthest first, as they are painted.
        relations: What holds between them.
        look: The seed of the backdrop.
    """

    width: int
    height: int
    setting: str
    time: str
    horizon: int
    things: tuple[Thing, ...]
    relations: tuple[Relation, ...]
    look: int


# Where they are --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """The canvas that things are placed on."""

    width: int
    height: int
    setting: str
    horizon: int

    def y(self, share: float) -> float:
        """This share of the way from the horizon to the lower edge."""
        return self.horizon + (self.height - self.horizon) * share

    def foot_and_scale(self, rng: random.Random, thing: Thing) -> tuple[float, float]:
        """Somewhere that such a thing can be, and how large it looks there."""
        where = SETTINGS[self.setting]
        if thing.flies:
            return self.horizon * rng.uniform(0.5, 1.0), rng.uniform(0.65, 1.0)
        if thing.category == "boat":
            near = rng.random()
            return self.y(where.water[0] + (where.water[1] - where.water[0]) * near), 0.5 + 0.3 * near
        span = where.road if where.road and thing.category in ("car", "bus") else where.ground
        share = rng.uniform(*span)
        near = (share - where.ground[0]) / (where.ground[1] - where.ground[0])
        return self.y(share), 0.6 + 0.4 * near


def _scaled(thing: Thing, scale: float) -> tuple[int, int]:
    width, height = CATEGORIES[thing.category].sizes[thing.pose]
    scale *= {"small": 0.72, "large": 1.3, "": 1.0}[thing.size] * (
        0.78 if thing.kind in ("boy", "girl") else 1
    )
    return round(width * scale), round(height * scale)


def _stand(unit: Unit, x: float, foot: float, scale: float) -> Unit:
    """The unit with its base standing at (x, foot) and its extra where the joint holds it."""
    width, height = _scaled(unit.base, scale)
    base = replace(unit.base, box=(round(x), round(foot) - height, width, height), foot=round(foot))
    if unit.extra is None:
        return Unit(base)
    (at_x, at_y), (wide, tall) = unit.joint.at, _scaled(unit.extra, scale)
    to_x, to_y = unit.joint.to[unit.extra.look % len(unit.joint.to)]
    if not base.right:
        at_x, to_x = 1 - at_x, 1 - to_x
    left, top = (
        round(base.box[0] + to_x * width - at_x * wide),
        round(base.box[1] + to_y * height - at_y * tall),
    )
    return replace(unit, base=base, extra=replace(unit.extra, box=(left, top, wide, tall), foot=base.foot))


def _row(rng: random.Random, cluster: list[Unit], stage: Stage, zoom: float, x: float) -> Iterator[Unit]:
    """The cluster's units side by side around x."""
    foot, scale = stage.foot_and_scale(rng, cluster[0].base)
    scale *= zoom
    left = x - sum(_scaled(unit.base, scale)[0] for unit in cluster) / 2
    for unit in cluster:
        spread = 0.2 * stage.horizon if unit.base.flies else 0.03 * stage.height
        yield _stand(unit, left, foot + rng.uniform(-spread, spread), scale)
        left += _scaled(unit.base, scale)[0] * rng.uniform(1.0, 1.5)
        left += _scaled(unit.extra, scale)[0] * 0.4 if unit.extra else 0


def _overlap(one: Box, other: Box) -> int:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0, wide) * max(0, high)


def _all_seen(units: Sequence[Unit], stage: Stage) -> bool:
    """True if of every thing most of its box lies on the canvas, and before the boxes of other units."""
    canvas = (0, 0, stage.width, stage.height)
    for number, unit in enumerate(units):
        nearer = [thing.box for later in units[number + 1 :] for thing in later.things()]
        for thing in unit.things():
            area = thing.box[2] * thing.box[3]
            hidden = sum(_overlap(thing.box, box) for box in nearer)
            if _overlap(thing.box, canvas) < 0.85 * area or hidden > 0.4 * area:
                return False
    return True


def _scattered(rng: random.Random, clusters: list[list[Unit]], stage: Stage, zoom: float) -> list[Unit]:
    """Units with boxes, farthest first; a cluster is near the one before it, or anywhere."""
    units, x = [], rng.uniform(0, stage.width)
    for cluster in clusters:
        units += _row(rng, cluster, stage, zoom, x)
        x = x + rng.uniform(-90, 90) if rng.random() < 0.4 else rng.uniform(0, stage.width)
    return sorted(units, key=lambda unit: unit.base.foot)


def _placed(rng: random.Random, clusters: list[list[Unit]], stage: Stage) -> list[Unit]:
    """Units with boxes that hide little of each other; the longer that takes, the smaller they get."""
    zoom = rng.uniform(0.85, 1.3)
    units = _scattered(rng, clusters, stage, zoom)
    while not _all_seen(units, stage):
        zoom *= 0.996
        units = _scattered(rng, clusters, stage, zoom)
    return units


# How they relate -------------------------------------------------------------------------------------


def _relations(units: Sequence[Unit], height: int) -> Iterator[Relation]:
    """What holds between any two things: by their joint, or by their boxes and the ground under them."""
    things = [thing for unit in units for thing in unit.things()]
    place_of = {thing.look: place for place, thing in enumerate(things)}
    joined = set()
    for unit in units:
        if unit.joint:
            subject, object_ = place_of[unit.extra.look], place_of[unit.base.look]
            joined |= {(subject, object_), (object_, subject)}
            if unit.joint.predicate == "holding":
                subject, object_ = object_, subject
            yield Relation(subject, unit.joint.predicate, object_)
    for a, b in itertools.permutations(range(len(things)), 2):
        if (a, b) not in joined:
            yield from (Relation(a, predicate, b) for predicate in _between(things[a], things[b], height))


def _between(one: Thing, other: Thing, height: int) -> Iterator[str]:
    (left, top, width, tall), (x, y, wide, _) = one.box, other.box
    shared = min(left + width, x + wide) - max(left, x)
    narrow, level = min(width, wide), abs(one.foot - other.foot) < 0.09 * height
    if one.flies and not other.flies:
        if shared > 0 and top + tall <= y + 4:
            yield "above"
        return
    if other.flies and not one.flies:
        return
    if shared < 0.1 * narrow and left < x:
        yield "left of"
    if level and shared < 0.1 * narrow and -shared < 0.7 * max(width, wide) and not one.flies:
        yield "next to"
    if shared > 0.35 * narrow and one.foot - other.foot > 0.05 * height and not one.flies:
        yield "in front of"


# A whole scene ---------------------------------------------------------------------------------------


def sample(rng: random.Random) -> Graph:
    """A scene from chance; see `Graph`."""
    (width, height), setting = rng.choice(SIZES), rng.choice(list(SETTINGS))
    place = SETTINGS[setting]
    stage = Stage(width * ZOOM, height * ZOOM, setting, round(height * ZOOM * rng.uniform(*place.horizon)))
    units = _placed(rng, casting.cast(rng, setting), stage)
    return Graph(
        width,
        height,
        setting,
        rng.choice(place.times),
        stage.horizon,
        tuple(thing for unit in units for thing in unit.things()),
        tuple(_relations(units, stage.height)),
        rng.getrandbits(32),
    )


def draw(graph: Graph) -> tuple[Image.Image, np.ndarray]:
    """The picture of a scene, and what of each thing is to be seen in it.

    Returns:
        (RGB, `graph.width` x `graph.height` pixels; (n things, height, width) bool, True where a pixel
        shows some of the thing).
    """
    behind, before = backdrops.LIGHTS[graph.time]
    image = Image.new("RGB", (drawing.SIDE, drawing.SIDE))
    scene = drawing.Scene(image, ImageDraw.Draw(image, "RGBA"), random.Random(graph.look), behind)
    SETTINGS[graph.setting].draw(scene, graph.horizon, graph.height * ZOOM)
    owner = Image.new("L", image.size)
    for number, thing in enumerate(graph.things, start=1):
        corner, size = thing.box[:2], thing.box[2:]
        layer = objects.layer(
            thing.category, thing.colour, thing.pose, thing.kind, size, thing.right, before, thing.look
        )
        image.paste(layer, corner, layer)
        owner.paste(number, corner, layer.getchannel("A").point([0] * OPAQUE + [255] * (256 - OPAQUE)))
    cut = (0, 0, graph.width * ZOOM, graph.height * ZOOM)
    owners = np.asarray(owner.crop(cut)).reshape(graph.height, ZOOM, graph.width, ZOOM)
    numbers = np.arange(1, len(graph.things) + 1, dtype=owners.dtype).reshape(-1, 1, 1)
    seen = np.zeros((len(graph.things), graph.height, graph.width), dtype=bool)
    for row, column in itertools.product(range(ZOOM), repeat=2):
        seen |= owners[:, row, :, column] == numbers
    return _photograph(image.crop(cut).reduce(ZOOM), graph.look), seen


def _photograph(picture: Image.Image, look: int) -> Image.Image:
    """With the exposure and the grain of a camera."""
    rng = random.Random(f"{look}/camera")
    exposure = rng.uniform(0.88, 1.06)
    gains = [exposure * rng.uniform(0.97, 1.03) for _ in "RGB"]
    exposed = picture.point([drawing.byte(gain * grey) for gain in gains for grey in range(256)])
    grain = Image.frombytes("L", picture.size, rng.randbytes(picture.width * picture.height)).convert("RGB")
    return Image.blend(exposed, grain, rng.choice((0.02, 0.04, 0.06)))


def box_of(seen: np.ndarray) -> Box:
    """The smallest box (left, top, width, height) around the True pixels of a (height, width) mask."""
    ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(xs[0]), int(ys[0]), int(xs[-1] - xs[0] + 1), int(ys[-1] - ys[0] + 1)
