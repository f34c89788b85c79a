"""The things of the drawn world: sky, hills, water, trees, houses, roads, cars, people.

Knows how one thing is drawn on a canvas, in which light and how far away. Must not know which things
make a scene, nor where pictures are stored: see `m5utils.datasets.demo`.

Lengths are canvas pixels, y points down; `base` is the y where a thing stands; `far` runs from 0 (near)
to 1 (lost in the haze); chance comes from the scene's own generator, so a seed gives one picture.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 512  # the canvas; pictures are smaller, which smooths the edges

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Light:
    """The time of day: the sky's colours, what it does to other colours, the share of lit windows."""

    zenith: Colour
    horizon: Colour
    tint: tuple[float, float, float]
    lamps: float = 0.0


NOON = Light((60, 120, 205), (195, 218, 242), (1.0, 1.0, 0.98))
GOLDEN = Light((110, 150, 205), (250, 226, 180), (1.05, 0.9, 0.72))
OVERCAST = Light((160, 168, 178), (214, 218, 222), (0.8, 0.82, 0.86))
STORM = Light((62, 68, 80), (140, 146, 152), (0.52, 0.55, 0.6), lamps=0.1)
DUSK = Light((66, 62, 112), (248, 152, 84), (0.55, 0.42, 0.42), lamps=0.25)
NIGHT = Light((10, 13, 32), (48, 52, 84), (0.34, 0.37, 0.5), lamps=0.5)
LIGHTS = (NOON, NOON, NOON, GOLDEN, GOLDEN, OVERCAST, OVERCAST, STORM, DUSK, NIGHT)

WHITE, BLACK, ASPHALT, PAVEMENT = (242, 244, 246), (22, 22, 24), (100, 100, 104), (156, 152, 146)
LEAF, NEEDLE, BARK, ROCK, SAND = (64, 104, 44), (36, 74, 48), (78, 60, 46), (108, 104, 102), (206, 182, 140)
AUTUMN = ((196, 120, 36), (176, 70, 34), (208, 168, 60))
WALLS = ((196, 176, 148), (150, 84, 66), (206, 200, 190), (122, 116, 112), (178, 142, 104), (226, 214, 186))
PAINTS = ((180, 30, 34), (236, 236, 238), (40, 60, 120), (40, 42, 46), (150, 154, 160), (60, 100, 80))


# The canvas, colours and surfaces ------------------------------------------------------------------


def byte(value: float) -> int:
    """The nearest grey level from 0 to 255 (towards 0)."""
    return 0 if value < 0 else 255 if value > 255 else int(value)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """The colour that lies this share (0 to 1) of the way from one to the other."""
    (r, g, b), (x, y, z) = one, other
    return int(r + (x - r) * share), int(g + (y - g) * share), int(b + (z - b) * share)


def vary(rng: random.Random, colour: Colour, by: float = 18) -> Colour:
    """A colour near the given one: brighter or darker, and a little off in each channel."""
    bright = by * (2 * rng.random() - 1)
    return tuple(byte(channel + bright + by * (rng.random() - 0.5)) for channel in colour)


@dataclass(frozen=True)
class Scene:
    """A canvas of SIDE x SIDE pixels with its light and its source of chance; shapes are shaded by it."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    rng: random.Random
    light: Light

    def likely(self, chance: float) -> bool:
        """True in this share of the cases."""
        return self.rng.random() < chance

    def shade(self, colour: Colour, far: float = 0.0, alpha: int = 255) -> tuple[int, int, int, int]:
        """The colour in this light, faded into the haze of the horizon."""
        (r, g, b), (x, y, z) = self.light.tint, self.light.horizon
        near = 1 - far
        return (
            byte(colour[0] * r * near + x * far),
            byte(colour[1] * g * near + y * far),
            byte(colour[2] * b * near + z * far),
            alpha,
        )

    def polygon(self, outline: Sequence[Point], colour: Colour, far: float = 0.0, alpha: int = 255) -> None:
        """A filled outline."""
        self.draw.polygon(outline, fill=self.shade(colour, far, alpha))

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: Colour, far: float = 0.0
    ) -> None:
        """A filled upright rectangle; nothing if it is thinner than a pixel."""
        if right > left and bottom > top:
            self.draw.rectangle((left, top, right, bottom), fill=self.shade(colour, far))

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, far: float = 0.0) -> None:
        """A filled ellipse around (x, y)."""
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=self.shade(colour, far))

    def glow(self, x: float, y: float, radius: float, colour: Colour, alpha: int = 255) -> None:
        """A disc that shines by itself: no light falls on it."""
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, alpha))

    def line(self, points: Sequence[Point], colour: Colour, width: float, far: float = 0.0) -> None:
        """Straight lines from point to point."""
        self.draw.line(points, fill=self.shade(colour, far), width=max(1, round(width)))


def blank(rng: random.Random) -> Scene:
    """An empty canvas in a random light."""
    image = Image.new("RGB", (SIDE, SIDE))
    return Scene(image, ImageDraw.Draw(image, "RGBA"), rng, rng.choice(LIGHTS))


def noise(rng: random.Random, size: tuple[int, int], grain: tuple[int, int]) -> Image.Image:
    """Grey patches: random images of `grain` pixels and of thrice as fine a grain, blown up to `size`."""
    fine = (grain[0] * 3, grain[1] * 3)
    coarse, detail = (
        Image.frombytes("L", cells, rng.randbytes(cells[0] * cells[1])) for cells in (grain, fine)
    )
    both = Image.blend(coarse.resize(fine, Image.Resampling.BILINEAR), detail, 0.5)
    return both.resize(size, Image.Resampling.BILINEAR)


def surface(
    scene: Scene,
    outline: Sequence[Point],
    colour: Colour,
    far: float = 0.0,
    grain: tuple[int, int] = (40, 40),
    contrast: float = 1.0,
) -> None:
    """Fill an outline with darker and lighter patches of a colour, `grain` of them across the canvas."""
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    width, height = min(SIDE, math.ceil(max(xs))) - left, min(SIDE, math.ceil(max(ys))) - top
    if width < 1 or height < 1:
        return
    inside = Image.new("L", (width, height))
    ImageDraw.Draw(inside).polygon([(x - left, y - top) for x, y in outline], fill=255)
    patches = noise(scene.rng, (width, height), (grain[0] * width // SIDE + 2, grain[1] * height // SIDE + 2))
    dark, light = mix(colour, (10, 15, 25), 0.6), mix(colour, (255, 250, 225), 0.3)
    palette = []
    for grey in range(8, 256, 16):
        share = max(-1.0, min(1.0, (grey - 128) / 80 * contrast))
        palette += [*scene.shade(mix(colour, light if share > 0 else dark, abs(share)), far)[:3]] * 16
    patches.putpalette(palette)
    scene.image.paste(patches.convert("RGB"), (left, top), inside)


def ridge(rng: random.Random, level: float, height: float, rough: float, tops: int = 2) -> list[Point]:
    """A skyline across the canvas by midpoint displacement, up to about `height` above and below `level`."""
    ys, spread = [rng.uniform(-1, 1) for _ in range(tops + 1)], 0.6
    while len(ys) < 50:
        between = [(a + b) / 2 + spread * rng.uniform(-1, 1) for a, b in zip(ys, ys[1:], strict=False)]
        ys = [y for pair in zip(ys, between, strict=False) for y in pair] + ys[-1:]
        spread *= rough
    return [(i * SIDE / (len(ys) - 1), level - height * y) for i, y in enumerate(ys)]


def level(y: float) -> list[Point]:
    """A level line across the canvas."""
    return [(0, y), (SIDE, y)]


def below(line: Sequence[Point]) -> list[Point]:
    """The outline of everything under a line that crosses the canvas from left to right."""
    return [*line, (SIDE, SIDE), (0, SIDE)]


# Nature --------------------------------------------------------------------------------------------


def sky(scene: Scene, horizon: float) -> None:
    """Air from the zenith to the horizon, often with clouds, sometimes with a low sun or a moon."""
    rng, light = scene.rng, scene.light
    for y in range(0, SIDE, 6):
        scene.draw.rectangle((0, y, SIDE, y + 5), fill=mix(light.zenith, light.horizon, min(1, y / horizon)))
    if light in (DUSK, GOLDEN, NIGHT) and scene.likely(0.6):
        x, y, shine = rng.uniform(60, 450), horizon * rng.uniform(0.3, 0.95), mix(light.horizon, WHITE, 0.75)
        for radius, alpha in ((70, 26), (44, 40), (26, 70), (15, 255)):
            scene.glow(x, y, radius, shine, alpha)
    if scene.likely(0.75):
        clouds = noise(rng, (SIDE, round(horizon)), (rng.randint(2, 6), rng.randint(4, 12)))
        thin, gain = rng.randint(90, 170), rng.uniform(1.5, 4)
        bright = mix(light.horizon, WHITE, 0.05 if light is NIGHT else 0.5)
        for colour, floor, most in (
            (bright, thin, 235),
            (mix(light.zenith, (120, 120, 130), 0.5), thin + 40, 120),
        ):
            thickness = [min(most, byte((grey - floor) * gain)) for grey in range(256)]
            scene.image.paste(colour, (0, 0), clouds.point(thickness))


def mountains(scene: Scene, base: float, height: float, far: float, snow: float) -> None:
    """A rocky range with shadowed flanks; the upper `snow` (0 to 1) of its height is white."""
    rng = scene.rng
    line = ridge(rng, base - height * 0.45, height * 0.5, 0.56, rng.randint(2, 5))
    rock = vary(rng, rng.choice((ROCK, (96, 104, 118), (130, 112, 92), (84, 96, 80))))
    surface(scene, below(line), rock, far, (26, 60), 1.2)
    snowline = min(y for _, y in line) + height * snow
    edge = [(x, max(y, snowline + rng.uniform(-0.12, 0.12) * height)) for x, y in reversed(line)]
    if snow:
        surface(scene, [*line, *edge], WHITE, far, (24, 40), 0.9)
    lee = rng.choice((-1, 1))
    for before, (x, y), after in zip(line[::2], line[2::2], line[4::2], strict=False):
        if y <= min(before[1], after[1]):
            drop = rng.uniform(0.3, 0.8) * (base - y)
            flank = [(x, y), (x + lee * drop * 0.8, y + drop), (x + lee * drop * 0.2, y + drop * 0.8)]
            scene.polygon(flank, (30, 36, 60), far, 90)


def hills(scene: Scene, horizon: float, count: int, colour: Colour, height: float) -> None:
    """Rolling hills, one behind the other."""
    for index in range(count):
        behind = 1 - index / count
        line = ridge(scene.rng, horizon - height * behind, height, 0.3)
        surface(scene, below(line), vary(scene.rng, colour), 0.7 * behind, (30, 90), 0.7)


def water(scene: Scene, outline: Sequence[Point], waves: float) -> None:
    """A lake or the sea in the sky's colours, with waves from 0 (still) to 1.5 (foam)."""
    rng = scene.rng
    deep = vary(rng, rng.choice(((20, 70, 120), (30, 110, 140), (40, 90, 90), (70, 100, 125))))
    surface(scene, outline, mix(deep, scene.light.zenith, 0.35), 0.12, (14, 150), 0.5 + waves)
    top, bottom = min(y for _, y in outline), min(SIDE, max(y for _, y in outline))
    for _ in range(int(12 * waves)):
        y = top + 6 + (bottom - top) * rng.random() ** 1.5
        x, length = rng.uniform(-60, SIDE), rng.uniform(20, 160) * (y - top + 30) / 150
        crest = [(x + length * step / 6, y + rng.uniform(-2, 2)) for step in range(7)]
        scene.line(crest, WHITE, rng.uniform(1, 4), 0.3)


def rock(scene: Scene, x: float, y: float, size: float) -> None:
    """A boulder."""
    corners = [(angle, size * scene.rng.uniform(0.7, 1.2)) for angle in range(6)]
    outline = [(x + r * math.cos(angle), y + 0.6 * r * math.sin(angle)) for angle, r in corners]
    surface(scene, outline, vary(scene.rng, (88, 80, 72)), 0, (60, 60), 1.4)


def tree(scene: Scene, x: float, base: float, height: float, kind: str, far: float = 0.0) -> None:
    """A tree of a kind: "conifer", "broadleaf", "autumn" or "bare"."""
    rng, bark, trunk = scene.rng, vary(scene.rng, BARK), height * 0.05
    scene.line([(x, base), (x, base - height * 0.6)], bark, trunk, far)
    if kind == "bare":
        branch(scene, (x, base - height * 0.3), -math.pi / 2, height * 0.28, bark, trunk, far)
    elif kind == "conifer":
        green = vary(rng, NEEDLE, 14)
        for layer in range(6):
            y, half, droop = (
                base - height * (0.12 + 0.145 * layer),
                height * 0.2 * (1 - layer / 6.5),
                rng.uniform(0, 6),
            )
            skirt = [(x - half, y + droop), (x, y - height * 0.24), (x + half, y + 6 - droop)]
            scene.polygon(skirt, vary(rng, green, 8), far)
    else:
        leaf = vary(rng, LEAF if kind == "broadleaf" else rng.choice(AUTUMN))
        tones = [
            mix(leaf, (10, 20, 20), 0.35),
            mix(leaf, (10, 20, 20), 0.15),
            leaf,
            mix(leaf, (255, 250, 190), 0.25),
        ]
        for layer in range(20):
            rise = layer / 20
            spread = height * 0.3 * math.sqrt(max(0.05, 1 - (2 * rise - 0.9) ** 2))
            y = base - height * (0.38 + 0.5 * rise + rng.uniform(-0.06, 0.06))
            size = height * rng.uniform(0.06, 0.14)
            tone = tones[min(3, int(rise * 4 + rng.random() * 0.8))]
            scene.disc(x + rng.uniform(-spread, spread), y, size, size * 0.8, tone, far)


def branch(
    scene: Scene, start: Point, angle: float, length: float, bark: Colour, width: float, far: float = 0.0
) -> None:
    """A bough that forks until its twigs are short."""
    end = (start[0] + length * math.cos(angle), start[1] + length * math.sin(angle))
    scene.line([start, end], bark, width, far)
    if length > 8:
        for turn in (-0.5, 0.45):
            turned, shorter = (
                angle + turn * scene.rng.uniform(0.6, 1.4),
                length * scene.rng.uniform(0.6, 0.75),
            )
            branch(scene, end, turned, shorter, bark, width * 0.6, far)


def grove(
    scene: Scene, base: float, height: float, count: int, kinds: Sequence[str], far: float = 0.0
) -> None:
    """Trees across the canvas, the ones behind first."""
    feet = sorted(base + scene.rng.uniform(-0.1, 0.15) * height for _ in range(count))
    for foot in feet:
        tall = height * scene.rng.uniform(0.6, 1.2)
        tree(scene, scene.rng.uniform(-20, SIDE + 20), foot, tall, scene.rng.choice(kinds), far)


# What people built, and people -----------------------------------------------------------------------


@dataclass(frozen=True)
class Ground:
    """A plane that leads to a vanishing point, for roads and what stands beside them."""

    vanish: float
    horizon: float

    def at(self, x: float, scale: float, up: float = 0.0) -> Point:
        """The point of the canvas `up` above the ground where things have this scale.

        Scale 1 is the lower edge, where x and `up` are in pixels; scale 0 is the vanishing point.
        """
        y = self.horizon + (SIDE - self.horizon) * scale
        return self.vanish + (x - self.vanish) * scale, y - up * scale

    def strip(self, left: float, right: float, near: float, far: float) -> list[Point]:
        """The outline of a strip of ground between two scales."""
        return [self.at(left, near), self.at(left, far), self.at(right, far), self.at(right, near)]


def road(scene: Scene, ground: Ground, left: float, right: float, lanes: int) -> None:
    """Asphalt up to the horizon, with edges and dashed lanes."""
    grey = vary(scene.rng, scene.rng.choice((ASPHALT, (128, 124, 118), (84, 86, 92))), 8)
    surface(scene, ground.strip(left, right, 1.6, 0.02), grey, 0.1, (20, 80), 0.4)
    paint = scene.rng.choice((WHITE, (230, 190, 60)))
    for lane in range(lanes + 1):
        x = left + (right - left) * (0.03 + 0.94 * lane / lanes)
        if lane in (0, lanes):
            scene.polygon(ground.strip(x - 5, x + 5, 1.5, 0.04), paint, 0.1)
            continue
        for step in range(12):
            scale = 1.4 * 0.76**step
            scene.polygon(ground.strip(x - 5, x + 5, scale, scale * 0.88), paint, 0.1)


def facade(
    scene: Scene, corners: Sequence[Point], wall: Colour, columns: int, rows: int, far: float = 0.0
) -> None:
    """A wall with windows between four corners (clockwise from the top left), seen at any slant."""
    rng, ((ax, ay), (bx, by), (cx, cy), (dx, dy)) = scene.rng, corners

    def at(u: float, v: float) -> Point:
        top_x, top_y, foot_x, foot_y = (
            ax + (bx - ax) * u,
            ay + (by - ay) * u,
            dx + (cx - dx) * u,
            dy + (cy - dy) * u,
        )
        return top_x + (foot_x - top_x) * v, top_y + (foot_y - top_y) * v

    surface(scene, corners, wall, far, (70, 70), 0.4)
    wide, tall = rng.choice(((0.5, 0.6), (0.42, 0.66), (0.8, 0.5), (0.98, 0.55), (0.6, 0.96)))
    glass = mix(vary(rng, (58, 72, 92)), scene.light.zenith, rng.uniform(0, 0.5))
    panes = [scene.shade(vary(rng, glass, 12), far) for _ in range(4)]
    lit = [(*vary(rng, (250, 214, 140)), 255) for _ in range(4)]
    frame = scene.shade(mix(wall, WHITE, 0.45), far) if scene.likely(0.5) else None
    for column in range(columns):
        left, right = (column + (1 - wide) / 2) / columns, (column + (1 + wide) / 2) / columns
        for row in range(rows):
            top, foot = (row + (1 - tall) / 2) / rows, (row + (1 + tall) / 2) / rows
            fill = rng.choice(lit if rng.random() < scene.light.lamps else panes)
            scene.draw.polygon([at(left, top), at(right, top), at(right, foot), at(left, foot)], fill, frame)


def upright(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """The corners of a rectangle, clockwise from the top left."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def cottage(scene: Scene, x: float, base: float, width: float) -> None:
    """A farm house with a pitched roof."""
    wall, eaves = vary(scene.rng, scene.rng.choice(WALLS)), base - width * 0.45
    facade(scene, upright(x, eaves, x + width, base), wall, 3, 1)
    roof = [(x - width * 0.08, eaves), (x + width * 0.5, eaves - width * 0.36), (x + width * 1.08, eaves)]
    surface(scene, roof, vary(scene.rng, (120, 64, 50)), 0, (60, 90), 0.6)


def town_house(scene: Scene, x: float, base: float, width: float, height: float) -> None:
    """A house front: floors of windows, a cornice, shops with or without awnings at the pavement."""
    rng, wall = scene.rng, vary(scene.rng, scene.rng.choice(WALLS))
    shop = min(64, height * 0.3)
    top, lintel, right, doors = base - height, base - shop, x + width, max(1, round(width / 70))
    rows = max(1, round((height - shop) / rng.uniform(40, 64)))
    facade(scene, upright(x, top, right, lintel), wall, max(2, round(width / 44)), rows)
    surface(scene, upright(x, lintel, right, base), mix(wall, BLACK, 0.5), 0, (60, 60), 0.4)
    if scene.likely(0.7):
        awning = rng.choice(((160, 40, 40), (40, 90, 70), (50, 60, 130), (220, 180, 60)))
        scene.box(x + 4, lintel, right - 4, lintel + shop * 0.28, vary(rng, awning))
    for door in range(doors):
        left = x + (door + 0.15) * width / doors
        box = (left, lintel + shop * 0.34, left + width * 0.7 / doors, base - 4)
        lit = rng.random() < scene.light.lamps * 1.5
        scene.draw.rectangle(box, (240, 220, 170) if lit else scene.shade((46, 54, 66)))
    for y in (top, lintel):
        scene.box(x - 3, y - 5, right + 3, y + 4, mix(wall, WHITE, 0.4))


def tower(scene: Scene, x: float, base: float, width: float, height: float, far: float = 0.0) -> None:
    """A high-rise of stone or glass; one or two sides in view, set back towards the top or straight."""
    rng = scene.rng
    wall = vary(rng, rng.choice((*WALLS, (70, 86, 108), (86, 112, 130), (60, 64, 74))))
    side, lean, setbacks = (
        width * rng.choice((0, 0.25, 0.4)),
        rng.uniform(0, 0.04) * height,
        rng.choice((0, 0, 0, 1, 2)),
    )
    bay, floor = rng.uniform(14, 24), rng.uniform(14, 26)
    for setback in range(setbacks + 1):
        inset, top = width * 0.14 * setback, base - height * (1 - 0.2 * (setbacks - setback))
        left, right, foot = x + inset, x + width - inset, base if setback == 0 else top + height * 0.2
        columns, rows = max(2, round((right - left) / bay)), max(3, round((foot - top) / floor))
        if side:
            flank = [(right, top), (right + side, top + lean), (right + side, foot), (right, foot)]
            facade(scene, flank, mix(wall, BLACK, 0.4), max(2, columns // 2), rows, far)
        facade(scene, upright(left, top, right, foot), wall, columns, rows, far)
    if scene.likely(0.3):
        scene.line([(x + width / 2, top), (x + width / 2, top - height * 0.15)], ROCK, 4, far)


def lamp_post(scene: Scene, x: float, base: float, height: float, reach: float) -> None:
    """A street lamp whose arm reaches to the right (to the left if negative), lit in the dark."""
    scene.line([(x, base), (x, base - height), (x + reach, base - height)], (76, 80, 84), height / 50)
    if scene.light.lamps > 0.2:
        scene.glow(x + reach, base - height, height * 0.1, (255, 220, 150), 70)
        scene.glow(x + reach, base - height, height * 0.03, (255, 240, 200))


def car(scene: Scene, x: float, base: float, width: float, aside: bool = False) -> None:
    """A car or a van on its wheels at `base`, seen from behind, from ahead or from the side."""
    rng, half = scene.rng, width / 2
    paint, lamp = vary(rng, rng.choice(PAINTS)), rng.choice(((255, 40, 30), (255, 246, 210)))
    high = width * (rng.uniform(0.3, 0.36) if aside else rng.uniform(0.72, 0.95))
    waist, sill, hood = base - high * 0.58, base - high * 0.14, 0.4 if aside else 0.62
    scene.draw.ellipse(
        (x - half * 1.1, base - width * 0.06, x + half * 1.1, base + width * 0.06), (0, 0, 0, 110)
    )
    for wheel in (-0.62, 0.62) if aside else (-0.8, 0.8):
        scene.disc(x + wheel * half, base - high * 0.16, width * (0.09 if aside else 0.07), high * 0.2, BLACK)
    for shrink, colour in ((1.0, paint), (0.84, (52, 62, 76))):
        roof, top = half * shrink, waist - high * 0.42 * shrink
        cabin = [
            (x - roof * 0.62, top),
            (x + roof * hood, top),
            (x + roof * (hood + 0.28), waist),
            (x - roof * 0.88, waist),
        ]
        scene.polygon(cabin, colour)
    body = (x - half, waist, x + half, sill)
    scene.draw.rounded_rectangle(body, max(1, high * 0.12), scene.shade(paint))
    for end in (-0.86, 0.86):
        scene.glow(x + end * half, waist + high * 0.16, width * 0.05, lamp)
    if not aside:
        scene.box(x - half, sill - high * 0.1, x + half, sill, BLACK)
        scene.box(x - half * 0.25, waist + high * 0.2, x + half * 0.25, waist + high * 0.3, WHITE)


def person(scene: Scene, x: float, base: float, height: float) -> None:
    """Somebody on foot."""
    coat, legs = (tuple(scene.rng.randint(20, 220) for _ in range(3)) for _ in range(2))
    for step in (-0.08, 0.08):
        scene.line([(x, base - height * 0.45), (x + step * height, base)], legs, height * 0.09)
    scene.box(x - height * 0.13, base - height * 0.84, x + height * 0.13, base - height * 0.4, coat)
    scene.disc(x, base - height * 0.92, height * 0.07, height * 0.085, (206, 160, 130))


def boat(scene: Scene, x: float, y: float, width: float) -> None:
    """A sailing boat or a small ship on the water line `y`."""
    deck, half = y - width * 0.12, width / 2
    hull = [(x - half, deck), (x + half, deck), (x + half * 0.72, y), (x - half * 0.72, y)]
    scene.polygon(hull, scene.rng.choice(PAINTS))
    if scene.likely(0.6):
        scene.polygon([(x, deck - 2), (x, y - width * 1.1), (x + width * 0.42, deck - 3)], WHITE)
    else:
        scene.box(x - width * 0.2, y - width * 0.28, x + width * 0.12, deck, WHITE)
