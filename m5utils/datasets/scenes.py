"""The eight kinds of scene of the drawn world, and the camera that makes pictures of them.

Knows what belongs into a coast, a forest, ..., and how weather and camera spoil it. Must not know where
pictures are stored, nor how a single thing is drawn: see `m5utils.datasets.drawing`.

The classes share their things on purpose - open country has lakes and lanes, coasts have dunes, cities
have towers behind - because telling drawings apart is otherwise too easy to rank methods by.
"""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageFilter

from m5utils.datasets import drawing
from m5utils.datasets.drawing import SIDE, Ground, Scene, below, level, mix, ridge, surface, vary

PICTURE = 256  # pixels, width and height, as in MIT_split

SUMMER = ((112, 140, 62), (88, 122, 58), (150, 140, 74), (196, 172, 70))
DRY = ((176, 156, 92), (150, 130, 84), (140, 118, 84), (196, 160, 96))
WINTER = ((222, 226, 232), (200, 204, 210), (228, 230, 236), (150, 140, 120))
SEASONS = (
    (SUMMER, ("broadleaf",)),
    (SUMMER, ("conifer", "broadleaf")),
    (DRY, ("autumn", "broadleaf")),
    (DRY, ("conifer",)),
    (WINTER, ("bare", "conifer")),
)


# The eight scenes ------------------------------------------------------------------------------------


def coast(scene: Scene) -> None:
    """The sea under a wide sky; the other side of a bay, a boat, and the shore it is seen from."""
    rng, horizon = scene.rng, scene.rng.uniform(150, 320)
    drawing.sky(scene, horizon)
    if scene.likely(0.5):
        far_shore = ridge(rng, horizon - 14, rng.uniform(10, 70), 0.45)
        surface(scene, below(far_shore), vary(rng, (90, 100, 84)), rng.uniform(0.2, 0.7))
    drawing.water(scene, below(level(horizon)), rng.uniform(0.1, 1.5))
    if scene.likely(0.3):
        drawing.boat(scene, rng.uniform(60, 450), horizon + rng.uniform(4, 50), rng.uniform(20, 80))
    shore = rng.choice((beach, beach, dunes, dunes, cliff, rocks, None))
    if shore:
        shore(scene, horizon)


def beach(scene: Scene, horizon: float) -> None:
    """Sand from the breaking waves to the lower edge, with people or without."""
    rng = scene.rng
    y, slant = rng.uniform(horizon + 50, 470), rng.uniform(-90, 90)
    edge = [(x, y + slant * (x / SIDE - 0.5) + rng.uniform(-5, 5)) for x in range(0, SIDE + 1, 32)]
    scene.line(edge, drawing.WHITE, rng.randint(6, 16), 0.1)
    surface(scene, below(edge), vary(rng, drawing.SAND), 0, (30, 60), 0.6)
    for _ in range(rng.choice((0, 0, 2, 5))):
        drawing.person(scene, rng.uniform(20, 490), y + rng.uniform(30, 60), rng.uniform(24, 60))


def dunes(scene: Scene, horizon: float) -> None:
    """Grass, and perhaps trees, between the camera and the water."""
    rng, (fields, trees) = scene.rng, scene.rng.choice(SEASONS[:4])
    edge = ridge(rng, rng.uniform(horizon + 40, 460), rng.uniform(10, 50), 0.4)
    surface(scene, below(edge), vary(rng, rng.choice(fields)), 0, (60, 50), 1.2)
    if scene.likely(0.5):
        drawing.grove(scene, max(y for _, y in edge) + 20, rng.uniform(40, 160), rng.randint(1, 9), trees)


def cliff(scene: Scene, horizon: float) -> None:
    """High land that falls into the sea on one side."""
    rng, side, top = scene.rng, scene.rng.choice((0, SIDE)), horizon - scene.rng.uniform(10, 130)
    edge = [
        (abs(side - x), top + x * rng.uniform(0.1, 0.3) + 150 * (x / 260) ** 6) for x in range(0, 340, 26)
    ]
    outline = [(side, top), *edge, (abs(side - 300), SIDE), (side, SIDE)]
    surface(scene, outline, vary(rng, (116, 104, 84)), 0, (40, 20), 1.3)


def rocks(scene: Scene, horizon: float) -> None:
    """Boulders in the surf."""
    rng = scene.rng
    for y in sorted(rng.uniform(horizon + 40, SIDE) for _ in range(rng.randint(4, 14))):
        drawing.rock(scene, rng.uniform(0, SIDE), y, rng.uniform(14, 90))


def open_country(scene: Scene) -> None:
    """Fields and meadows; hedges, hills, a lake, a farm or a lane, mountains far away."""
    rng, horizon, (fields, trees) = scene.rng, scene.rng.uniform(150, 320), scene.rng.choice(SEASONS)
    drawing.sky(scene, horizon)
    if scene.likely(0.4):
        drawing.mountains(
            scene, horizon + 10, rng.uniform(50, 190), rng.uniform(0.3, 0.7), rng.choice((0, 0.3))
        )
    drawing.hills(scene, horizon, rng.randint(1, 3), rng.choice(fields), rng.uniform(6, 40))
    depth = rng.uniform(4, 20)
    while depth < SIDE - horizon:  # fields, each nearer and wider than the last
        edge = ridge(rng, horizon + depth, depth * 0.1 + 2, 0.35)
        surface(scene, below(edge), vary(rng, rng.choice(fields)), max(0, 0.4 - depth / 300), (50, 90))
        if scene.likely(0.35):
            drawing.grove(scene, horizon + depth + 4, depth * 0.35 + 16, rng.randint(3, 16), trees, 0.15)
        depth += depth * rng.uniform(0.6, 1.6) + 14
    extra = rng.choice((lake, lake, lane, farm, None, None))
    if extra:
        extra(scene, horizon)
    if scene.likely(0.4):
        drawing.tree(
            scene, rng.uniform(30, 480), rng.uniform(380, 520), rng.uniform(150, 330), rng.choice(trees)
        )


def lake(scene: Scene, horizon: float) -> None:
    """Still water from edge to edge, with land behind and before it."""
    rng, top = scene.rng, horizon + scene.rng.uniform(8, 90)
    far_shore = [(x, top + rng.uniform(-4, 4)) for x in range(0, SIDE + 1, 64)]
    bottom = top + rng.uniform(40, 200)
    near_shore = [(x, bottom + rng.uniform(-8, 8)) for x in range(SIDE, -1, -64)]
    drawing.water(scene, far_shore + near_shore, rng.uniform(0, 0.5))


def lane(scene: Scene, horizon: float) -> None:
    """A country road towards the horizon."""
    x = scene.rng.uniform(0, SIDE)
    drawing.road(scene, Ground(scene.rng.uniform(100, 400), horizon + 6), x - 90, x + 90, 2)


def farm(scene: Scene, horizon: float) -> None:
    """A few houses in the fields."""
    for _ in range(scene.rng.randint(1, 3)):
        x, base = scene.rng.uniform(0, 440), horizon + scene.rng.uniform(20, 110)
        drawing.cottage(scene, x, base, scene.rng.uniform(24, 80))


def mountain(scene: Scene) -> None:
    """Ranges of rock and snow; forest, a meadow or a lake at their feet."""
    rng, base, (fields, _) = scene.rng, scene.rng.uniform(300, 480), scene.rng.choice(SEASONS)
    drawing.sky(scene, base * 0.8)
    snow, ranges = rng.choice((0, 0, 0.25, 0.5, 0.9)), rng.randint(1, 3)
    for index in range(ranges):
        height = base * rng.uniform(0.45, 0.85) * (1 - 0.25 * index)
        far = 0.55 * (1 - (index + 1) / ranges) + rng.uniform(0, 0.2)
        drawing.mountains(scene, base + 40 * index, height, far, snow * (1 - 0.2 * index))
    foot = rng.choice(("forest", "meadow", "lake", "nothing"))
    if foot != "nothing":
        surface(scene, below(ridge(rng, base + 20, 16, 0.4)), vary(rng, rng.choice(fields)), 0.1, (60, 60))
    if foot == "lake":
        drawing.water(scene, below(level(base + 36)), rng.uniform(0, 0.4))
    if foot == "forest" or scene.likely(0.3):
        drawing.grove(scene, base + 60, rng.uniform(40, 140), rng.randint(10, 30), ("conifer",), 0.1)


def forest(scene: Scene) -> None:
    """Trees from edge to edge: a wall of them, or the view from among their trunks."""
    rng, (fields, trees), horizon = scene.rng, scene.rng.choice(SEASONS), scene.rng.uniform(200, 380)
    among = scene.likely(0.5)
    drawing.sky(scene, horizon)
    leaves = vary(rng, drawing.AUTUMN[0] if "autumn" in trees else drawing.LEAF)
    if among:
        surface(scene, below(level(0)), leaves, rng.uniform(0.1, 0.5), (26, 30), 1.8)
    floor = rng.choice((*fields, (72, 84, 44), (104, 78, 48)))
    surface(scene, below(ridge(rng, horizon, 16, 0.4)), vary(rng, floor), 0, (50, 80), 1.2)
    if scene.likely(0.3):
        path_or_stream(scene, horizon)
    for far in (0.5, 0.3, 0.12, 0.0):
        foot = horizon + 130 * (0.5 - far)
        if among:
            trunks(scene, foot, far)
        else:
            drawing.grove(scene, foot, rng.uniform(150, 330), rng.randint(6, 11), trees, far * 0.6)
    if among and "bare" not in trees:
        for _ in range(rng.randint(6, 40)):
            size = rng.uniform(14, 46)
            scene.disc(rng.uniform(0, SIDE), rng.uniform(0, 180), size, size * 0.6, vary(rng, leaves, 30))


def path_or_stream(scene: Scene, horizon: float) -> None:
    """Something to follow between the trees."""
    bed = Ground(scene.rng.uniform(150, 350), horizon).strip(140, 400, 1.2, 0.1)
    if scene.likely(0.5):
        drawing.water(scene, bed, 0)
    else:
        surface(scene, bed, vary(scene.rng, (150, 124, 92)))


def trunks(scene: Scene, foot: float, far: float) -> None:
    """Stems that leave the picture at its upper edge."""
    rng = scene.rng
    for _ in range(rng.randint(3, 8)):
        x, width = rng.uniform(0, SIDE), rng.uniform(5, 16) * (1.6 - 1.2 * far)
        stem = [(x, -10), (x + width * 0.8, -10), (x + width, foot), (x - width * 0.2, foot)]
        bark = rng.choice((drawing.BARK, (100, 88, 74), (56, 48, 42)))
        surface(scene, stem, vary(rng, bark), far, (120, 30), 1.4)


def highway(scene: Scene) -> None:
    """A broad road to the horizon; cars, rails, a sign over the lanes; hills, trees or a town beyond."""
    rng, (fields, trees) = scene.rng, scene.rng.choice(SEASONS)
    ground = Ground(rng.uniform(140, 372), rng.uniform(180, 300))
    drawing.sky(scene, ground.horizon)
    if scene.likely(0.3):
        drawing.mountains(scene, ground.horizon + 10, rng.uniform(40, 160), 0.5, 0)
    if scene.likely(0.25):
        for _ in range(5):
            size = rng.uniform(16, 50)
            drawing.tower(scene, rng.uniform(0, 480), ground.horizon + 6, size, size * rng.uniform(2, 4), 0.4)
    drawing.hills(scene, ground.horizon, 1, rng.choice(fields), rng.uniform(4, 26))
    surface(scene, below(level(ground.horizon)), vary(rng, rng.choice(fields)), 0.1, (40, 80), 0.9)
    if scene.likely(0.6):
        drawing.grove(scene, ground.horizon + 14, rng.uniform(20, 90), rng.randint(6, 24), trees, 0.25)
    lanes, left = rng.randint(2, 5), rng.uniform(-420, 60)
    right = left + lanes * rng.uniform(150, 240)
    drawing.road(scene, ground, left, right, lanes)
    if scene.likely(0.4):
        for x in (left - 30, right + 30):
            scene.line([ground.at(x, 1.4, 26), ground.at(x, 0.04, 26)], (180, 184, 188), 5, 0.1)
    if scene.likely(0.3):
        sign_bridge(scene, ground, left - 30, right + 30)
    for scale in sorted(1 / rng.uniform(1.2, 12) for _ in range(rng.choice((0, 2, 5, 9)))):
        x = left + (right - left) * (rng.randrange(lanes) + 0.5) / lanes
        drawing.car(scene, *ground.at(x, scale), rng.uniform(110, 150) * scale)


def sign_bridge(scene: Scene, ground: Ground, left: float, right: float) -> None:
    """A green or blue sign that hangs over the road."""
    scale, up = scene.rng.uniform(0.15, 0.35), scene.rng.uniform(380, 480)
    (x, top), (end, _) = ground.at(left, scale, up), ground.at(right, scale, up)
    scene.line([ground.at(left, scale), (x, top), (end, top), ground.at(right, scale)], (120, 124, 128), 4)
    start, stop = mix((x, 0, 0), (end, 0, 0), 0.2)[0], mix((x, 0, 0), (end, 0, 0), 0.6)[0]
    scene.box(start - 2, top - 10, stop + 2, top + 110 * scale + 2, drawing.WHITE)
    scene.box(start, top - 8, stop, top + 110 * scale, scene.rng.choice(((20, 110, 70), (30, 70, 150))))


def street(scene: Scene) -> None:
    """A street between houses; trees or lamps, parked cars, people."""
    rng, ground = scene.rng, Ground(scene.rng.uniform(110, 400), scene.rng.uniform(230, 330))
    drawing.sky(scene, ground.horizon)
    if scene.likely(0.3):
        for _ in range(rng.randint(1, 4)):
            size = rng.uniform(30, 90)
            drawing.tower(scene, rng.uniform(0, 480), ground.horizon, size, size * rng.uniform(2, 4), 0.4)
    surface(scene, below(level(ground.horizon)), vary(rng, drawing.PAVEMENT), 0.1, (40, 60), 0.4)
    kerbs = rng.uniform(-160, 80), rng.uniform(430, 660)
    drawing.road(scene, ground, *kerbs, 2)
    for side, kerb in zip((-1, 1), kerbs, strict=True):
        house_row(scene, ground, kerb + side * rng.uniform(60, 110), shaded=side > 0)
        trees = scene.likely(0.4)
        for scale in (0.12, 0.17, 0.23, 0.31, 0.43, 0.6):
            x, y = ground.at(kerb + side * 20, scale)
            if trees:
                drawing.tree(scene, x, y, 260 * scale, rng.choice(("broadleaf", "bare", "autumn")))
            elif scene.likely(0.3):
                drawing.lamp_post(scene, x, y, 330 * scale, -side * 60 * scale)
            if scene.likely(0.5):
                drawing.car(scene, *ground.at(kerb - side * 70, scale), 130 * scale)
            if scene.likely(0.3):
                drawing.person(scene, *ground.at(kerb + side * 40, scale), 130 * scale)


def house_row(scene: Scene, ground: Ground, x: float, shaded: bool) -> None:
    """House fronts along one side of a street, from the far end to the camera."""
    rng, height, scale = scene.rng, scene.rng.uniform(160, 700), 0.07
    while scale < 1.6:
        nearer, up = scale * rng.uniform(1.25, 1.8), height * rng.uniform(0.75, 1.2)
        corners = [
            ground.at(x, scale, up),
            ground.at(x, nearer, up),
            ground.at(x, nearer),
            ground.at(x, scale),
        ]
        wall = mix(vary(rng, rng.choice(drawing.WALLS)), (20, 20, 40), 0.25 if shaded else 0)
        if scene.likely(0.85):
            rows = max(2, round(up / 95))
            drawing.facade(scene, corners, wall, rng.randint(2, 5), rows, min(0.5, 0.04 / scale))
        else:
            drawing.tree(scene, *ground.at(x, nearer), 300 * nearer, "broadleaf")
        scale = nearer


def inside_city(scene: Scene) -> None:
    """House fronts across the picture; shops, people on the pavement, cars passing, towers behind."""
    rng, base, house_height = scene.rng, scene.rng.uniform(370, 470), scene.rng.uniform(150, 480)
    drawing.sky(scene, base)
    if scene.likely(0.35):
        for _ in range(3):
            drawing.tower(
                scene, rng.uniform(-20, 460), base, rng.uniform(60, 110), rng.uniform(220, 420), 0.3
            )
    x = rng.uniform(-120, 0)
    while x < SIDE:
        width = rng.uniform(100, 330)
        if scene.likely(0.85):
            drawing.town_house(scene, x, base, width, house_height * rng.uniform(0.7, 1.15))
        x += width + rng.choice((0, 0, 0, 20))
    kerb = base + rng.uniform(14, 40)
    surface(scene, below(level(base)), vary(rng, drawing.PAVEMENT), 0, (40, 60), 0.4)
    surface(scene, below(level(kerb)), vary(rng, drawing.ASPHALT), 0, (30, 80), 0.4)
    for _ in range(rng.choice((0, 1, 3, 6))):
        drawing.person(scene, rng.uniform(0, SIDE), base + rng.uniform(4, 20), rng.uniform(44, 64))
    if scene.likely(0.35):
        drawing.grove(scene, kerb, rng.uniform(130, 240), rng.randint(1, 4), ("broadleaf", "bare", "autumn"))
    for _ in range(rng.choice((0, 1, 2, 3))):
        drawing.car(
            scene, rng.uniform(20, 490), kerb + rng.uniform(16, 60), rng.uniform(120, 180), aside=True
        )
    if scene.likely(0.3):
        drawing.lamp_post(scene, rng.uniform(40, 470), kerb, rng.uniform(200, 320), 40)


def tall_building(scene: Scene) -> None:
    """High-rises against the sky: one, a few or a skyline; trees, houses or water before them."""
    rng, base, count = scene.rng, scene.rng.uniform(420, 540), scene.rng.choice((1, 2, 3, 5, 9))
    drawing.sky(scene, base)
    width = rng.uniform(280, 420) / (count + 1) ** 0.6
    for index in range(count):
        x = SIDE * (index + 0.5) / count - width * rng.uniform(0.3, 0.9)
        drawing.tower(scene, x, base, width, base * rng.uniform(0.55, 0.95), 0.4 * rng.random() ** 2)
    foot = rng.choice(("trees", "houses", "houses", "water", "nothing"))
    if foot == "trees":
        drawing.grove(scene, base + 10, rng.uniform(50, 130), rng.randint(6, 16), rng.choice(SEASONS)[1])
    elif foot == "houses":
        for index in range(4):
            x, high = index * 130 + rng.uniform(-20, 20), rng.uniform(60, 170)
            drawing.town_house(scene, x, base, rng.uniform(90, 150), high)
        surface(scene, below(level(base)), vary(rng, drawing.PAVEMENT), 0, (40, 60), 0.4)
    elif foot == "water":
        drawing.water(scene, below(level(base - 50)), 0.2)


SCENES: dict[str, Callable[[Scene], None]] = {
    "coast": coast,
    "forest": forest,
    "highway": highway,
    "inside_city": inside_city,
    "mountain": mountain,
    "Opencountry": open_country,
    "street": street,
    "tallbuilding": tall_building,
}


# From a scene to a picture ---------------------------------------------------------------------------


def weather(scene: Scene) -> None:
    """Fog, rain or snow between the camera and the scene; most days none."""
    rng, kind = scene.rng, scene.rng.choice(("dry",) * 6 + ("fog", "rain", "snow"))
    if kind == "fog":
        thick, middle, grey = (
            rng.uniform(0.35, 0.75),
            rng.uniform(150, 330),
            mix(scene.light.horizon, (200, 204, 210), 0.3),
        )
        for y in range(0, SIDE, 4):
            alpha = round(255 * thick * math.exp(-(((y - middle) / 260) ** 2)))
            scene.draw.rectangle((0, y, SIDE, y + 3), (*grey, alpha))
    elif kind == "rain":
        slant = rng.uniform(-0.3, 0.3)
        scene.draw.rectangle((0, 0, SIDE, SIDE), (70, 76, 86, 70))
        for _ in range(rng.randint(150, 350)):
            x, y, length = rng.uniform(0, SIDE), rng.uniform(-20, SIDE), rng.uniform(14, 46)
            scene.draw.line((x, y, x + slant * length, y + length), (220, 226, 236, 90), 2)
    elif kind == "snow":
        for _ in range(rng.randint(100, 350)):
            scene.glow(rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(1, 3), (246, 248, 252), 210)


def photograph(scene: Scene) -> Image.Image:
    """What a hand-held camera makes of it: tilted, mirrored, cropped, mis-exposed, blurred, grainy."""
    rng, half = scene.rng, PICTURE / 2
    zoom, tilt, mirror = rng.uniform(1.3, 1.86), math.radians(rng.gauss(0, 2)), rng.choice((-1, 1))
    slack = max(0, SIDE / 2 - zoom * half * 1.06)
    x, y = (SIDE / 2 + rng.uniform(-slack, slack) for _ in range(2))
    cos, sin = zoom * math.cos(tilt), zoom * math.sin(tilt)
    rows = (
        (mirror * cos, sin, x - half * (mirror * cos + sin)),
        (-mirror * sin, cos, y - half * (cos - mirror * sin)),
    )
    size = (PICTURE, PICTURE)
    shot = scene.image.transform(size, Image.Transform.AFFINE, rows[0] + rows[1], Image.Resampling.BILINEAR)
    gamma, gains = math.exp(rng.gauss(0, 0.2)), [rng.uniform(0.94, 1.06) for _ in "RGB"]
    shot = shot.point(
        [drawing.byte(255 * gain * (grey / 255) ** gamma) for gain in gains for grey in range(256)]
    )
    shot = shot.filter(ImageFilter.BoxBlur(rng.choice((0, 0, 0.5, 1.0))))
    grain = Image.frombytes("L", size, rng.randbytes(PICTURE**2)).convert("RGB")
    return Image.blend(shot, grain, rng.choice((0.02, 0.04, 0.08)))


def picture(class_name: str, rng: random.Random) -> Image.Image:
    """One picture of a class, RGB, PICTURE x PICTURE pixels."""
    scene = drawing.blank(rng)
    SCENES[class_name](scene)
    weather(scene)
    return photograph(scene)
