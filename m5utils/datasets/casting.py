"""Who is in a scene of the drawn world: one to three categories, how many of each, in which colours.

Knows what belongs into a park, a street, ..., and what can sit on, ride or hold what. Must not know where
anything stands, nor how it looks: see `m5utils.datasets.coco_scenes` and `m5utils.datasets.objects`.
"""

import random
from dataclasses import dataclass, replace

from m5utils.datasets.objects import CATEGORIES

Box = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        category: A name of `objects.CATEGORIES`.
        colour: A name of `objects.COLOURS`; of a person, the shirt's.
        pose: One of the category's.
        kind: Of a person "man", "woman", "boy" or "girl", else "".
        size: "small", "large" or "" (as usual).
        right: Whether it faces right.
        box: Its layer on the canvas, in canvas pixels.
        foot: The canvas y of the ground under it: the larger, the nearer.
        look: The seed of its details.
    """

    category: str
    colour: str
    pose: str
    kind: str
    size: str
    right: bool
    box: Box
    foot: int
    look: int

    @property
    def flies(self) -> bool:
        """Whether it is in the air."""
        return self.category == "kite" or self.pose == "flying"


# What belongs into a setting: often, now and then, seldom.
WEIGHTS = (7, 4, 2)
CASTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "park": (("person", "dog"), ("bench", "bicycle", "kite", "sports ball", "bird"), ("cat", "umbrella")),
    "street": (("person", "car"), ("bus", "bicycle", "dog"), ("cat", "bench", "umbrella", "potted plant")),
    "beach": (("person", "umbrella"), ("chair", "kite", "dog", "boat", "sports ball", "bird"), ("horse",)),
    "lake": (("boat", "person"), ("bird", "dog", "bench"), ("chair", "bicycle", "horse")),
    "field": (("sheep", "horse"), ("person", "dog", "bird"), ("kite", "cat", "car", "bicycle")),
    "snow": (("person", "dog"), ("horse", "sheep", "car", "bird"), ("bench", "cat", "bus")),
    "room": (("chair", "cat"), ("potted plant", "person", "dog", "sports ball"), ("bicycle", "umbrella")),
}
MOST = {"bus": 2, "boat": 3, "car": 3, "horse": 3, "bicycle": 3, "bench": 2, "umbrella": 3}
KINDS = ("man", "man", "man", "woman", "woman", "woman", "boy", "boy", "girl", "girl")


@dataclass(frozen=True)
class Joint:
    """How an extra thing is held by a base thing that stands on the ground.

    Attributes:
        base: The base's category.
        base_pose: Its pose.
        extra: The extra's category.
        extra_pose: Its pose.
        predicate: What the subject of the two does to the object.
        at: The point of the extra's layer that ...
        to: ... comes to one of these points of the base's layer.
        under: Whether the extra is painted before the base.
    """

    base: str
    base_pose: str
    extra: str
    extra_pose: str
    predicate: str
    at: tuple[float, float]
    to: tuple[tuple[float, float], ...]
    under: bool = False


SEAT, BACKREST = ((0.28, 0.55), (0.5, 0.55), (0.72, 0.55)), ((0.25, 0.05), (0.5, 0.05), (0.75, 0.05))
JOINTS = (
    Joint("horse", "standing", "person", "riding", "riding", (0.36, 0.56), ((0.4, 0.32),)),
    Joint("bicycle", "", "person", "riding", "riding", (0.36, 0.57), ((0.37, 0.22),)),
    Joint("person", "holding", "umbrella", "held", "holding", (0.55, 0.94), ((0.92, 0.36),)),
    Joint("bench", "", "person", "sitting", "on", (0.5, 0.6), SEAT),
    Joint("chair", "", "person", "sitting", "on", (0.5, 0.6), ((0.5, 0.58),)),
    Joint("bench", "", "cat", "sitting", "on", (0.5, 0.98), SEAT),
    Joint("bench", "", "cat", "lying", "on", (0.5, 0.98), SEAT),
    Joint("bench", "", "bird", "standing", "on", (0.5, 0.98), BACKREST),
    Joint("bench", "", "sports ball", "", "on", (0.5, 0.98), SEAT),
    Joint("bench", "", "dog", "sitting", "on", (0.5, 0.98), SEAT),
    Joint("chair", "", "cat", "sitting", "on", (0.5, 0.98), ((0.5, 0.58),)),
    Joint("chair", "", "potted plant", "", "on", (0.5, 0.98), ((0.5, 0.58),)),
    Joint("chair", "", "sports ball", "", "on", (0.5, 0.98), ((0.5, 0.57),)),
    Joint("chair", "", "bird", "standing", "on", (0.5, 0.98), ((0.4, 0.03), (0.6, 0.03))),
    Joint("car", "", "cat", "lying", "on", (0.5, 0.98), ((0.38, 0.08),)),
    Joint("car", "", "bird", "standing", "on", (0.5, 0.98), ((0.3, 0.07), (0.5, 0.07))),
    Joint("bus", "", "bird", "standing", "on", (0.5, 0.98), ((0.2, 0.03), (0.5, 0.03), (0.7, 0.03))),
    Joint("boat", "rowing", "person", "sitting", "in", (0.5, 0.72), ((0.5, 0.22),), under=True),
    Joint("boat", "rowing", "dog", "sitting", "in", (0.5, 0.75), ((0.4, 0.22), (0.6, 0.22)), under=True),
)


@dataclass(frozen=True)
class Unit:
    """A base thing, and perhaps an extra one that a joint ties to it."""

    base: Thing
    extra: Thing | None = None
    joint: Joint | None = None

    def things(self) -> list[Thing]:
        """The farther one first."""
        if self.extra is None:
            return [self.base]
        return [self.extra, self.base] if self.joint.under else [self.base, self.extra]


def cast(rng: random.Random, setting: str) -> list[list[Unit]]:
    """Clusters of units whose boxes still have to be found; all of a category are in one cluster."""
    weights = {name: weight for names, weight in zip(CASTS[setting], WEIGHTS, strict=True) for name in names}
    clusters = []
    pairs = sorted({(j.base, j.extra) for j in JOINTS if j.base in weights and j.extra in weights})
    if pairs and rng.random() < 0.4:
        pair = rng.choice(pairs)
        clusters.append(_joined(rng, rng.choice([j for j in JOINTS if (j.base, j.extra) == pair])))
        del weights[pair[0]], weights[pair[1]]
    if setting != "beach":
        weights.pop("umbrella", None)  # elsewhere they are held, not planted
    wanted = rng.choice((1, 2, 2, 3)) if clusters else rng.choice((1, 2, 2, 2, 2, 3, 3))
    while len(clusters) < wanted:
        category = rng.choices(list(weights), list(weights.values()))[0]
        del weights[category]
        count = min(rng.choice((1, 1, 1, 1, 2, 2, 3, 4)), MOST.get(category, 4))
        clusters.append([Unit(thing) for thing in _alike(rng, category, count, None)])
    return clusters


def _joined(rng: random.Random, joint: Joint) -> list[Unit]:
    count = rng.choice((1, 1, 1, 2))
    bases = _alike(rng, joint.base, count, joint.base_pose)
    extras = _alike(rng, joint.extra, count, joint.extra_pose)
    pairs = zip(bases, extras, strict=True)
    return [Unit(base, replace(extra, right=base.right), joint) for base, extra in pairs]


def _alike(rng: random.Random, category: str, count: int, pose: str | None) -> list[Thing]:
    """So many of a category, without a place: in one pose and size, in one colour or several."""
    what, human = CATEGORIES[category], category == "person"
    same, colour = rng.random() < (0.15 if human else 0.65), rng.choice(what.colours)
    size = rng.choice(("",) * 5 + ("small", "large")) if count == 1 and not human else ""
    poses = ("standing", "walking") if human else [name for name in what.sizes if name != "held"]
    pose = rng.choice(poses) if pose is None else pose
    things = []
    for _ in range(count):
        own = colour if same else rng.choice(what.colours)
        kind, right = rng.choice(KINDS) if human else "", rng.random() < 0.5
        things.append(Thing(category, own, pose, kind, size, right, (0, 0, 0, 0), 0, rng.getrandbits(32)))
    return things
