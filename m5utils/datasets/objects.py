"""The objects of the drawn world: sixteen of COCO's categories, in named colours and poses.

Knows how one object looks and how large it is. Must not know where it stands, what is beside it, or how
pictures are stored: see `m5utils.datasets.coco_scenes`.

An object is drawn on a transparent layer of its own, facing right; what is opaque is the object.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from m5utils.datasets import creatures, drawing
from m5utils.datasets.drawing import BLACK, WHITE, Colour, Light, Point, mix, vary
from m5utils.datasets.pen import GLASS, STEEL, TYRE, Pen, dark, pale

COLOURS: dict[str, Colour] = {
    "red": (206, 36, 36),
    "blue": (36, 88, 204),
    "green": (36, 142, 66),
    "yellow": (246, 208, 40),
    "orange": (240, 128, 30),
    "purple": (128, 58, 168),
    "pink": (244, 140, 180),
    "white": (244, 244, 242),
    "black": (36, 36, 40),
    "grey": (144, 146, 150),
    "brown": (126, 78, 44),
}
BRIGHT = ("red", "blue", "green", "yellow", "orange", "purple", "pink")


# Vehicles --------------------------------------------------------------------------------------------


def bicycle(pen: Pen) -> None:
    """Two wheels with spokes, a frame of the main colour, a saddle and a handlebar."""
    (back, front), hub, r = (0.2, 0.8), 0.68, 0.3
    for x in (back, front):
        pen.ring(x, hub, r, TYRE, 0.05)
        for turn in range(4):
            angle = turn * math.pi / 4
            dx, dy = r * math.cos(angle) * _aspect(pen), r * math.sin(angle)
            pen.line([(x - dx, hub - dy), (x + dx, hub + dy)], STEEL, 0.012)
    crank, seat, fork = (0.46, 0.7), (0.37, 0.26), (0.7, 0.24)
    pen.line([(back, hub), crank, fork, (0.39, 0.32), (back, hub)], pen.colour, 0.055)
    pen.line([crank, seat], pen.colour, 0.055)
    pen.line([(front, hub), (0.68, 0.1)], pen.colour, 0.055)
    pen.line([(0.31, 0.22), (0.43, 0.22)], BLACK, 0.07)
    pen.line([(0.68, 0.1), (0.76, 0.06), (0.79, 0.14)], BLACK, 0.045)
    pen.disc(*crank, 0.075, TYRE)
    pen.line([(0.46, 0.7), (0.5, 0.86)], STEEL, 0.04)


def _aspect(pen: Pen) -> float:
    width, height = pen.scene.image.size
    return height / width


def car(pen: Pen) -> None:
    """A saloon or an estate car, seen from the side."""
    paint, rear = pen.colour, pen.rng.choice((0.06, 0.16))
    pen.shadow(0.02, 0.98)
    pen.fill([(rear, 0.44), (rear + 0.1, 0.06), (0.58, 0.06), (0.76, 0.44)], paint)
    pen.fill([(rear + 0.06, 0.44), (rear + 0.13, 0.14), (0.38, 0.14), (0.38, 0.44)], GLASS)
    pen.fill([(0.42, 0.44), (0.42, 0.14), (0.56, 0.14), (0.69, 0.44)], GLASS)
    pen.box(0.02, 0.4, 0.98, 0.84, paint, 0.13)
    pen.box(0.03, 0.72, 0.97, 0.84, dark(paint, 0.3), 0.06)
    pen.line([(0.4, 0.44), (0.4, 0.76)], dark(paint, 0.3), 0.015)
    pen.box(0.44, 0.52, 0.5, 0.555, dark(paint, 0.5))
    pen.box(0.93, 0.48, 0.98, 0.6, (255, 240, 170), 0.03)
    pen.box(0.02, 0.48, 0.05, 0.6, (230, 40, 30), 0.02)
    for x in (0.22, 0.78):
        pen.disc(x, 0.8, 0.18, TYRE)
        pen.disc(x, 0.8, 0.09, (190, 192, 196))


def bus(pen: Pen) -> None:
    """A long high box with a row of windows and a door, seen from the side."""
    paint = pen.colour
    pen.shadow(0.01, 0.99)
    pen.box(0.01, 0.02, 0.99, 0.88, paint, 0.07)
    for window in range(5):
        left = 0.05 + window * 0.146
        pen.box(left, 0.14, left + 0.125, 0.46, GLASS, 0.02)
    pen.box(0.8, 0.14, 0.89, 0.82, mix(GLASS, BLACK, 0.3), 0.02)
    pen.line([(0.845, 0.16), (0.845, 0.8)], paint, 0.02)
    pen.box(0.92, 0.14, 0.985, 0.5, GLASS, 0.03)
    pen.box(0.01, 0.56, 0.78, 0.62, pale(paint, 0.7) if sum(paint) < 620 else (70, 90, 150))
    pen.box(0.01, 0.8, 0.99, 0.88, dark(paint, 0.4), 0.03)
    pen.disc(0.975, 0.7, 0.03, (255, 240, 170))
    for x in (0.2, 0.7):
        pen.disc(x, 0.85, 0.125, TYRE)
        pen.disc(x, 0.85, 0.06, (190, 192, 196))


def boat(pen: Pen) -> None:
    """A sailing boat with two sails, or a small open boat."""
    hull = pen.colour
    if pen.pose == "sailing":
        pen.line([(0.46, 0.02), (0.46, 0.84)], (110, 80, 56), 0.02)
        pen.fill([(0.49, 0.04), (0.49, 0.74), (0.94, 0.74)], (250, 248, 240))
        pen.fill([(0.43, 0.12), (0.43, 0.74), (0.1, 0.74)], (226, 226, 222))
        top, depth = 0.8, 0.98
    else:
        pen.line([(0.36, 0.3), (0.1, 0.93)], (150, 110, 70), 0.07)
        top, depth = 0.04, 0.97
    pen.fill([(0.02, top), (0.98, top), (0.84, depth), (0.16, depth)], hull)
    rim = top + (depth - top) * 0.22
    pen.fill([(0.02, top), (0.98, top), (0.95, rim), (0.05, rim)], dark(hull) if sum(hull) > 150 else STEEL)


# Things ----------------------------------------------------------------------------------------------


def bench(pen: Pen) -> None:
    """Slats for the back and the seat, between two iron ends."""
    for x in (0.08, 0.92):
        pen.line([(x, 0.06), (x, 0.95)], (60, 62, 66), 0.06)
    for y in (0.06, 0.2, 0.34):
        pen.box(0.02, y, 0.98, y + 0.095, vary(pen.rng, pen.colour, 10), 0.03)
    pen.box(0.0, 0.5, 1.0, 0.62, pale(pen.colour, 0.15), 0.03)
    pen.box(0.0, 0.6, 1.0, 0.66, dark(pen.colour), 0.03)
    for x in (0.14, 0.86):
        pen.line([(x, 0.64), (x, 0.95)], (60, 62, 66), 0.06)


def chair(pen: Pen) -> None:
    """A kitchen chair: a back with an opening, a seat, four legs."""
    for x in (0.3, 0.7):
        pen.line([(x, 0.6), (x, 0.88)], dark(pen.colour, 0.5), 0.05)
    pen.box(0.14, 0.02, 0.86, 0.3, pen.colour, 0.05)
    pen.box(0.3, 0.1, 0.7, 0.18, dark(pen.colour, 0.45), 0.02)
    for x in (0.19, 0.81):
        pen.line([(x, 0.28), (x, 0.55)], dark(pen.colour, 0.2), 0.055)
    pen.fill([(0.16, 0.5), (0.84, 0.5), (0.98, 0.62), (0.02, 0.62)], pale(pen.colour, 0.15))
    pen.box(0.02, 0.61, 0.98, 0.67, dark(pen.colour), 0.02)
    for x in (0.08, 0.92):
        pen.line([(x, 0.66), (x, 0.96)], dark(pen.colour, 0.25), 0.06)


def umbrella(pen: Pen) -> None:
    """An open dome of panels on a stick, planted in the ground or with a handle to hold."""
    tip = 0.52 if pen.pose == "open" else 0.6
    end = [(0.5, 0.97)] if pen.pose == "open" else [(0.5, 0.93), (0.56, 0.97), (0.62, 0.92)]
    pen.line([(0.5, 0.02), *end], (90, 70, 54), 0.03)
    dome = [_on_dome(0.49, tip, turn * math.pi / 24) for turn in range(-12, 13)]
    pen.fill(dome, pen.colour)
    other = pale(pen.colour, 0.55) if pen.pose == "open" else dark(pen.colour, 0.18)
    for left, right in ((-0.42, -0.25), (0.0, 0.25), (0.42, 0.49)):
        down = [_on_dome(left, tip, turn * math.pi / 24) for turn in range(13)]
        up = [_on_dome(right, tip, turn * math.pi / 24) for turn in range(12, -1, -1)]
        pen.fill(down + up, other)
    pen.disc(0.5, 0.03, 0.02, (90, 70, 54))


def _on_dome(reach: float, tip: float, angle: float) -> Point:
    """The point of an umbrella's rib that ends `reach` beside the stick, `angle` from the top."""
    return 0.5 + reach * math.sin(angle), tip - 0.94 * tip * math.cos(angle)


def kite(pen: Pen) -> None:
    """A diamond in the air with a tail of bows."""
    tail = [(0.5, 0.62), (0.6, 0.74), (0.42, 0.84), (0.56, 0.97)]
    pen.line(tail, (240, 240, 240), 0.018)
    for x, y in tail[1:]:
        pen.fill(
            [(x - 0.12, y - 0.03), (x + 0.12, y + 0.03), (x + 0.12, y - 0.03), (x - 0.12, y + 0.03)],
            pen.colour,
        )
    top, right, foot, left, middle = (0.5, 0.01), (0.95, 0.25), (0.5, 0.64), (0.05, 0.25), (0.5, 0.25)
    pen.fill([top, right, foot, left], pen.colour)
    other = pale(pen.colour, 0.4) if sum(pen.colour) < 560 else dark(pen.colour, 0.2)
    pen.fill([top, right, middle], other)
    pen.fill([left, middle, foot], other)
    pen.line([top, foot], dark(pen.colour, 0.5), 0.012)
    pen.line([left, right], dark(pen.colour, 0.5), 0.012)


def sports_ball(pen: Pen) -> None:
    """A football if white, a basketball if orange, else a ball with a stripe."""
    pen.disc(0.5, 0.5, 0.48, pen.colour)
    if sum(pen.colour) > 660:
        pen.ring(0.5, 0.5, 0.48, STEEL, 0.04)
        for turn in range(6):
            angle, reach = turn * math.tau / 5 - math.pi / 2, 0.36 if turn < 5 else 0
            x, y = 0.5 + reach * math.cos(angle), 0.5 + reach * math.sin(angle)
            corners = [k * math.tau / 5 + (math.pi / 2 if reach else -math.pi / 2) for k in range(5)]
            size = 0.11 if reach else 0.15
            pen.fill([(x + size * math.cos(a), y + size * math.sin(a)) for a in corners], BLACK)
    elif pen.colour[0] > 200 and 90 < pen.colour[1] < 160 and pen.colour[2] < 70:
        pen.line([(0.5, 0.03), (0.5, 0.97)], BLACK, 0.04)
        pen.line([(0.03, 0.5), (0.97, 0.5)], BLACK, 0.04)
        for x in (-0.12, 1.12):
            pen.scene.draw.arc(
                [v for p in pen.place([(x - 0.4, 0.1), (x + 0.4, 0.9)]) for v in p],
                *((-80, 80) if x < 0 else (100, 260)),
                fill=pen.scene.shade(BLACK),
                width=max(1, round(0.04 * pen.scene.image.height)),
            )
    else:
        pen.line([(0.1, 0.42), (0.5, 0.52), (0.9, 0.42)], WHITE, 0.16)
        pen.disc(0.36, 0.26, 0.09, pale(pen.colour, 0.6))


def potted_plant(pen: Pen) -> None:
    """Leaves on stems in a pot of the main colour."""
    green = vary(pen.rng, (52, 124, 56), 14)
    for lean in (-0.4, 0.4, -0.24, 0.24, 0.0):
        x, y = 0.5 + lean, 0.16 + abs(lean) * 0.5 + pen.rng.uniform(-0.05, 0.05)
        pen.line([(0.5, 0.66), (0.5 + lean * 0.6, y + 0.14)], dark(green), 0.022)
        middle = ((0.5 + x) / 2, (0.66 + y) / 2)
        out = (0.13, 0.09 - 0.1 * lean)
        leaf = [
            (0.5 + lean * 0.3, 0.56),
            (middle[0] - out[0], middle[1] - 0.08),
            (x, y),
            (middle[0] + out[0], middle[1]),
        ]
        pen.fill(leaf, mix(green, (150, 200, 90), pen.rng.uniform(0, 0.35)))
        pen.line([leaf[0], leaf[2]], dark(green, 0.25), 0.012)
    pen.fill([(0.24, 0.66), (0.76, 0.66), (0.68, 0.98), (0.32, 0.98)], pen.colour)
    pen.box(
        0.2, 0.62, 0.8, 0.71, pale(pen.colour, 0.15) if sum(pen.colour) < 650 else dark(pen.colour, 0.1), 0.02
    )


# The categories --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Category:
    """One of COCO's categories.

    Attributes:
        id: COCO's number of it.
        supercategory: COCO's.
        draw: Draws one.
        colours: Names of `COLOURS` that it comes in.
        sizes: For each pose, width and height in canvas pixels where the scale is 1.
    """

    id: int
    supercategory: str
    draw: Callable[[Pen], None]
    colours: tuple[str, ...]
    sizes: dict[str, tuple[float, float]]


UPRIGHT = (96, 192)
PERSON = {
    "standing": UPRIGHT,
    "walking": UPRIGHT,
    "holding": UPRIGHT,
    "sitting": (84, 140),
    "riding": (112, 150),
}
PAINTS = ("red", "blue", "green", "yellow", "white", "black", "grey", "orange")
HORSE, SHEEP = (222, 178), (130, 104)

CATEGORIES: dict[str, Category] = {
    "person": Category(1, "person", creatures.person, (*BRIGHT, "white", "black"), PERSON),
    "bicycle": Category(2, "vehicle", bicycle, ("red", "blue", "green", "yellow", "black"), {"": (176, 110)}),
    "car": Category(3, "vehicle", car, PAINTS, {"": (236, 104)}),
    "bus": Category(
        6, "vehicle", bus, ("red", "blue", "green", "yellow", "white", "orange"), {"": (340, 166)}
    ),
    "boat": Category(
        9,
        "vehicle",
        boat,
        ("red", "blue", "white", "green", "brown"),
        {"sailing": (150, 170), "rowing": (170, 40)},
    ),
    "bench": Category(15, "outdoor", bench, ("brown", "green", "red", "grey", "blue"), {"": (190, 100)}),
    "bird": Category(
        16,
        "animal",
        creatures.bird,
        ("red", "blue", "yellow", "white", "black"),
        {"standing": (66, 56), "flying": (90, 70)},
    ),
    "cat": Category(
        17,
        "animal",
        creatures.cat,
        ("black", "white", "grey", "orange", "brown"),
        {"sitting": (68, 84), "standing": (112, 84), "lying": (124, 66)},
    ),
    "dog": Category(
        18,
        "animal",
        creatures.dog,
        ("brown", "black", "white", "grey"),
        {"standing": (126, 94), "sitting": (84, 104)},
    ),
    "horse": Category(
        19,
        "animal",
        creatures.horse,
        ("brown", "black", "white", "grey"),
        {"standing": HORSE, "grazing": HORSE},
    ),
    "sheep": Category(
        20, "animal", creatures.sheep, ("white", "black", "grey"), {"standing": SHEEP, "grazing": SHEEP}
    ),
    "umbrella": Category(
        28, "accessory", umbrella, BRIGHT + ("black",), {"open": (176, 190), "held": (124, 112)}
    ),
    "sports ball": Category(
        37, "sports", sports_ball, ("white", "orange", "red", "blue", "yellow"), {"": (44, 44)}
    ),
    "kite": Category(38, "sports", kite, BRIGHT, {"": (70, 104)}),
    "chair": Category(
        62, "furniture", chair, ("brown", "red", "blue", "white", "black", "green"), {"": (84, 122)}
    ),
    "potted plant": Category(
        64, "furniture", potted_plant, ("brown", "white", "blue", "orange", "red"), {"": (80, 112)}
    ),
}


def layer(
    category: str,
    colour: str,
    pose: str,
    kind: str,
    size: tuple[int, int],
    right: bool,
    light: Light,
    look: int,
) -> Image.Image:
    """One object on a transparent layer.

    Args:
        category: A name of `CATEGORIES`.
        colour: A name of `COLOURS`.
        pose: One of the category's poses.
        kind: See `Pen`.
        size: Width and height of the layer, canvas pixels.
        right: Whether it faces right.
        light: What falls on it.
        look: The seed of the details.

    Returns:
        RGBA, of that size.
    """
    rng = random.Random(look)
    image = Image.new("RGBA", size)
    scene = drawing.Scene(image, ImageDraw.Draw(image), rng, light)
    CATEGORIES[category].draw(Pen(scene, vary(rng, COLOURS[colour], 8), pose, kind))
    return image if right else ImageOps.mirror(image)
