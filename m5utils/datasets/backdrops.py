"""The places of the drawn world: what is there before anything stands in them.

Knows how a park, a street, ... looks, and where in it things stand, float and drive. Must not know the
things: see `m5utils.datasets.objects`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from m5utils.datasets import drawing
from m5utils.datasets.drawing import (
    DUSK,
    NOON,
    OVERCAST,
    SAND,
    SIDE,
    WHITE,
    Colour,
    Light,
    Scene,
    below,
    level,
    mix,
    ridge,
    surface,
    vary,
)

GRASS, MEADOW, SNOW = (104, 148, 66), (150, 164, 80), (228, 232, 238)
WALLPAPER = ((226, 214, 188), (188, 206, 214), (206, 216, 186), (222, 200, 196), (214, 212, 208))
FLOORS = ((164, 122, 82), (140, 98, 64), (186, 152, 112), (150, 150, 152))


EVENING = replace(DUSK, tint=(0.74, 0.6, 0.58))


def _down(scene: Scene, horizon: float, height: float, share: float) -> float:
    """The y at this share of the way from the horizon to the lower edge, give or take a little."""
    return horizon + (height - horizon) * share + scene.rng.uniform(-3, 3)


def _sky(scene: Scene, horizon: float) -> None:
    drawing.sky(scene, horizon)
    if scene.light is EVENING:
        shine = mix(scene.light.horizon, WHITE, 0.75)
        x, y = scene.rng.uniform(30, 480), horizon * scene.rng.uniform(0.6, 0.95)
        for radius, alpha in ((60, 30), (38, 50), (22, 255)):
            scene.glow(x, y, radius, shine, alpha)


def _land(scene: Scene, y: float, colour: Colour, rough: float = 3, contrast: float = 0.5) -> None:
    surface(scene, below(ridge(scene.rng, y, rough, 0.4)), vary(scene.rng, colour), 0, (50, 80), contrast)


def park(scene: Scene, horizon: float, height: float) -> None:
    """Trees, a lawn and a path."""
    rng = scene.rng
    _sky(scene, horizon)
    _land(scene, horizon, mix(GRASS, (60, 80, 60), 0.3))
    kinds = rng.choice((("broadleaf",), ("broadleaf", "conifer"), ("autumn", "broadleaf")))
    drawing.grove(scene, horizon + 12, rng.uniform(90, 170), rng.randint(5, 9), kinds, 0.1)
    _land(scene, horizon + 14, GRASS)
    x, top = rng.uniform(-60, 400), _down(scene, horizon, height, 0.15)
    path = [(x + 40, top), (x + 62, top), (x + 200, height), (x + 20, height)]
    surface(scene, path, vary(rng, (196, 180, 150)), 0, (40, 40), 0.3)


def street(scene: Scene, horizon: float, height: float) -> None:
    """House fronts, a pavement, a road and the pavement on this side of it."""
    rng, x = scene.rng, -scene.rng.uniform(0, 90)
    _sky(scene, horizon)
    while x < SIDE:
        width = rng.uniform(130, 260)
        drawing.town_house(scene, x, horizon, width, rng.uniform(0.75, 1.1) * horizon)
        x += width + rng.choice((0, 0, 0, 16))
    for share, colour in ((0, drawing.PAVEMENT), (0.2, drawing.ASPHALT), (0.74, drawing.PAVEMENT)):
        y = _down(scene, horizon, height, share) if share else horizon
        surface(scene, below(level(y)), vary(rng, colour, 8), 0, (40, 60), 0.3)
        scene.box(0, y, SIDE, y + 4, mix(colour, WHITE, 0.4))
    y = horizon + (height - horizon) * 0.47
    for dash in range(6):
        scene.box(dash * 100, y, dash * 100 + 50, y + 4, WHITE)


def beach(scene: Scene, horizon: float, height: float) -> None:
    """The sea, and sand on this side of it."""
    _sky(scene, horizon)
    drawing.water(scene, below(level(horizon)), scene.rng.uniform(0.3, 1.2))
    shore = _down(scene, horizon, height, 0.4)
    edge = ridge(scene.rng, shore, 5, 0.4)
    scene.line(edge, WHITE, 9)
    surface(scene, below([(x, y + 5) for x, y in edge]), vary(scene.rng, SAND), 0, (40, 60), 0.4)


def lake(scene: Scene, horizon: float, height: float) -> None:
    """Still water between wooded hills and a green shore."""
    rng = scene.rng
    _sky(scene, horizon)
    drawing.hills(scene, horizon, 2, rng.choice(((96, 124, 80), (120, 130, 90))), rng.uniform(14, 50))
    drawing.grove(scene, horizon + 4, rng.uniform(24, 50), 14, ("conifer", "broadleaf"), 0.25)
    drawing.water(scene, below(level(horizon + 4)), rng.uniform(0, 0.3))
    _land(scene, _down(scene, horizon, height, 0.54), GRASS, 7)


def field(scene: Scene, horizon: float, height: float) -> None:
    """Open grassland with a fence, hills behind."""
    rng = scene.rng
    _sky(scene, horizon)
    drawing.hills(scene, horizon, 2, (126, 150, 92), rng.uniform(10, 34))
    _land(scene, horizon, rng.choice((MEADOW, (132, 160, 70), (190, 176, 96))))
    fence = _down(scene, horizon, height, 0.06)
    if scene.likely(0.6):
        for rail in (10, 20):
            scene.line([(0, fence - rail), (SIDE, fence - rail)], (140, 112, 84), 3)
        for x in range(rng.randint(0, 40), SIDE, 44):
            scene.box(x, fence - 26, x + 5, fence, (120, 94, 70))


def snow(scene: Scene, horizon: float, height: float) -> None:
    """White ground, firs and bare trees, flakes in the air."""
    rng = scene.rng
    _sky(scene, horizon)
    _land(scene, horizon, mix(SNOW, (150, 160, 180), 0.3), 12)
    drawing.grove(scene, horizon + 14, rng.uniform(60, 130), rng.randint(3, 6), ("conifer", "bare"), 0.2)
    _land(scene, _down(scene, horizon, height, 0.1), SNOW, contrast=0.2)
    for _ in range(60):
        scene.glow(rng.uniform(0, SIDE), rng.uniform(0, horizon), rng.uniform(1, 2.5), (246, 248, 252), 210)


def room(scene: Scene, horizon: float, height: float) -> None:
    """A wall with a window or a painting, and a floor with a rug."""
    rng, wall = scene.rng, vary(scene.rng, scene.rng.choice(WALLPAPER), 10)
    scene.box(0, 0, SIDE, horizon, wall)
    x, width = rng.uniform(20, 280), rng.uniform(80, 130)
    scene.box(
        x - 6, horizon * 0.12 - 6, x + width + 6, horizon * 0.56 + 6, rng.choice((WHITE, (110, 80, 56)))
    )
    if scene.likely(0.5):
        scene.box(x, horizon * 0.12, x + width, horizon * 0.56, (164, 204, 236))
        scene.box(x + width / 2 - 3, horizon * 0.12, x + width / 2 + 3, horizon * 0.56, WHITE)
    else:
        scene.box(x, horizon * 0.12, x + width, horizon * 0.56, (190, 200, 196))
        hill = [(x, horizon * 0.56), (x + width * 0.4, horizon * 0.3), (x + width, horizon * 0.56)]
        scene.polygon(hill, vary(rng, (110, 130, 110), 30))
    floor = vary(rng, rng.choice(FLOORS), 10)
    surface(scene, below(level(horizon)), floor, 0, (20, 160), 0.3)
    scene.box(0, horizon - 8, SIDE, horizon, mix(wall, WHITE, 0.5))
    if scene.likely(0.6):
        y, rug = (
            _down(scene, horizon, height, 0.55),
            vary(rng, rng.choice(((150, 60, 56), (70, 90, 130), (190, 170, 130)))),
        )
        x = rng.uniform(120, 380)
        scene.disc(x, y, 170, 40, rug)
        scene.disc(x, y, 150, 33, mix(rug, WHITE, 0.2))


Span = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """A place.

    Attributes:
        draw: Draws it, given the canvas, the y of the horizon and the canvas's height.
        horizon: From where to where the horizon may lie, as shares of the height.
        ground: Where things stand, as shares of the way from the horizon to the lower edge.
        water: Where boats float; None if nowhere.
        road: Where cars and buses drive; None if nowhere.
        times: The times of the day it is seen at.
    """

    draw: Callable[[Scene, float, float], None]
    horizon: Span
    ground: Span
    water: Span | None = None
    road: Span | None = None
    times: tuple[str, ...] = ("sunny", "sunny", "cloudy", "evening")


SETTINGS: dict[str, Setting] = {
    "park": Setting(park, (0.36, 0.46), (0.2, 0.97)),
    "street": Setting(street, (0.42, 0.5), (0.12, 0.97), road=(0.5, 0.72)),
    "beach": Setting(beach, (0.3, 0.38), (0.54, 0.97), water=(0.12, 0.36)),
    "lake": Setting(lake, (0.3, 0.38), (0.64, 0.97), water=(0.14, 0.5)),
    "field": Setting(field, (0.34, 0.44), (0.16, 0.97)),
    "snow": Setting(snow, (0.34, 0.44), (0.2, 0.97), times=("cloudy", "sunny")),
    "room": Setting(room, (0.52, 0.6), (0.15, 0.97), times=("",)),
}

# The light on the place; the one on the things is brighter at dusk, or their colours could not be told.
LIGHTS: dict[str, tuple[Light, Light]] = {
    "sunny": (NOON, NOON),
    "cloudy": (OVERCAST, replace(OVERCAST, tint=(0.9, 0.91, 0.94))),
    "evening": (EVENING, replace(DUSK, tint=(0.9, 0.78, 0.76))),
    "": (NOON, NOON),
}
