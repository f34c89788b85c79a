"""The people and animals of the drawn world.

Knows how one of them looks in each pose, facing right. Must not know its size, or where it stands: see
`m5utils.datasets.objects`.
"""

import math

from m5utils.datasets.drawing import BLACK, WHITE, Colour
from m5utils.datasets.pen import Pen, dark, pale

SKIN = ((240, 200, 170), (222, 174, 140), (176, 120, 84), (120, 78, 54))
HAIR = ((26, 22, 22), (70, 42, 26), (216, 178, 98), (186, 188, 190))
TROUSERS = ((44, 56, 92), (58, 58, 64), (132, 112, 84), (36, 34, 38))


# People ----------------------------------------------------------------------------------------------


def person(pen: Pen) -> None:
    """Somebody in a shirt of the main colour; women and girls have long hair, children large heads."""
    skin, hair, trousers = (pen.rng.choice(tones) for tones in (SKIN, HAIR, TROUSERS))
    if pen.pose == "riding":
        _rider(pen, skin, hair, trousers)
        return
    child, long_hair, sits = pen.kind in ("boy", "girl"), pen.kind in ("woman", "girl"), pen.pose == "sitting"
    head = (0.1 if child else 0.077) * (1.25 if sits else 1)
    neck, hip = 2 * head + 0.01, 0.6 if sits else 0.53
    if long_hair:
        pen.box(0.5 - 2.3 * head, head * 0.6, 0.5 + 2.3 * head, neck + 0.1, hair, head * 0.8)
    if sits:
        legs = [[(0.4, hip), (0.32, 0.7), (0.34, 0.95)], [(0.6, hip), (0.68, 0.7), (0.66, 0.95)]]
    else:
        step = 0.26 if pen.pose == "walking" else 0.1
        legs = [[(0.44, hip), (0.5 - step, 0.96)], [(0.56, hip), (0.5 + step, 0.96)]]
        pen.shadow(0.1, 0.9)
    for leg in legs:
        pen.line(leg, trousers, 0.085)
        pen.oval(leg[-1][0] + 0.03, 0.972, 0.1, 0.022, dark(trousers, 0.6))
    shoulders = neck + 0.02
    if long_hair and not sits:
        pen.fill([(0.34, hip - 0.06), (0.66, hip - 0.06), (0.8, hip + 0.18), (0.2, hip + 0.18)], pen.colour)
    torso = [(0.24, shoulders), (0.76, shoulders), (0.68, hip + 0.02), (0.32, hip + 0.02)]
    pen.fill(torso, pen.colour)
    pen.box(0.24, neck, 0.76, neck + 0.08, pen.colour, 0.035)
    pen.line([(0.26, neck + 0.05), (0.16, neck + 0.2), (0.2, hip)], dark(pen.colour, 0.2), 0.06)
    pen.disc(0.2, hip + 0.01, 0.026, skin)
    raised = [(0.76, neck + 0.05), (0.88, neck + 0.2), (0.92, 0.36)]
    lowered = [(0.74, neck + 0.05), (0.84, neck + 0.2), (0.8, hip)]
    arm = raised if pen.pose == "holding" else lowered
    pen.line(arm, dark(pen.colour, 0.2), 0.06)
    pen.disc(arm[-1][0], arm[-1][1] + 0.01, 0.026, skin)
    pen.box(0.43, neck - 0.04, 0.57, neck + 0.03, dark(skin, 0.15))
    pen.disc(0.5, head + 0.01, head, skin)
    _hair_and_face(pen, 0.5, head, hair, long_hair)


def _hair_and_face(pen: Pen, x: float, head: float, hair: Colour, long_hair: bool) -> None:
    (left, top), (right, bottom) = pen.place([(x, 0), (x, 2 * head + 0.02)])
    radius = head * pen.scene.image.height
    cut = (left - radius - 1, top, right + radius + 1, bottom)
    pen.scene.draw.chord(cut, *((200, 340) if long_hair else (190, 350)), fill=pen.scene.shade(hair))
    for side in (-0.7, 0.7):
        pen.disc(x + side * head, head * 1.15 + 0.01, head * 0.13, BLACK)
    pen.line([(x - 0.6 * head, head * 1.6), (x + 0.6 * head, head * 1.6)], (150, 60, 60), head * 0.14)


def _rider(pen: Pen, skin: Colour, hair: Colour, trousers: Colour) -> None:
    """Seen from the side: the hip at (0.36, 0.55), a hand at (0.9, 0.47), a foot at (0.56, 0.97)."""
    head = 0.12 if pen.kind in ("boy", "girl") else 0.1
    neck = 2 * head + 0.02
    if pen.kind in ("woman", "girl"):
        pen.line([(0.4, head), (0.36, neck + 0.08)], hair, head)
    pen.line([(0.36, 0.56), (0.68, 0.68), (0.56, 0.93)], trousers, 0.1)
    pen.oval(0.6, 0.955, 0.09, 0.03, dark(trousers, 0.6))
    pen.fill([(0.22, 0.58), (0.36, neck), (0.58, neck), (0.5, 0.6)], pen.colour)
    pen.line([(0.38, neck + 0.05), (0.54, neck + 0.04)], pen.colour, 0.08)
    pen.line([(0.52, neck + 0.06), (0.66, 0.48), (0.88, 0.47)], dark(pen.colour, 0.2), 0.07)
    pen.disc(0.9, 0.47, 0.03, skin)
    pen.disc(0.5, head + 0.01, head, skin)
    _hair_and_face(pen, 0.5, head, hair, False)


# Animals ---------------------------------------------------------------------------------------------


def dog(pen: Pen) -> None:
    """Floppy ears and a muzzle; standing on four legs or sitting."""
    coat, shade = pen.colour, dark(pen.colour, 0.3)
    if pen.pose == "sitting":
        pen.line([(0.2, 0.9), (0.04, 0.72)], coat, 0.07)
        pen.oval(0.36, 0.76, 0.28, 0.22, shade)
        pen.fill([(0.5, 0.3), (0.76, 0.36), (0.74, 0.9), (0.14, 0.9)], coat)
        pen.line([(0.66, 0.6), (0.7, 0.95)], coat, 0.09)
        pen.oval(0.38, 0.94, 0.2, 0.05, coat)
        x, y, r = 0.66, 0.23, 0.19
    else:
        pen.shadow(0.12, 0.72)
        for leg, colour in ((0.28, shade), (0.6, shade), (0.2, coat), (0.66, coat)):
            pen.line([(leg, 0.55), (leg, 0.94)], colour, 0.1)
        pen.line([(0.17, 0.46), (0.05, 0.16)], coat, 0.08)
        pen.box(0.12, 0.38, 0.74, 0.68, coat, 0.14)
        pen.line([(0.66, 0.48), (0.76, 0.3)], coat, 0.22)
        x, y, r = 0.78, 0.25, 0.17
    pen.disc(x, y, r, coat)
    reach = r * pen.scene.image.height / pen.scene.image.width
    pen.oval(x + reach * 1.0, y + r * 0.4, reach * 0.7, r * 0.45, pale(coat, 0.15))
    pen.disc(x + reach * 1.55, y + r * 0.25, r * 0.22, BLACK)
    pen.oval(x - reach * 0.6, y + r * 0.4, reach * 0.36, r * 0.8, shade)
    pen.disc(x + reach * 0.35, y - r * 0.2, r * 0.2, WHITE)
    pen.disc(x + reach * 0.4, y - r * 0.2, r * 0.13, BLACK)
    pen.line([(x - reach * 0.9, y + r * 1.05), (x + reach * 0.3, y + r * 1.05)], (200, 50, 50), 0.045)


def cat(pen: Pen) -> None:
    """Pointed ears, whiskers and a long tail; sitting, standing or lying."""
    coat, shade = pen.colour, dark(pen.colour, 0.25)
    if pen.pose == "sitting":
        pen.line([(0.7, 0.92), (0.92, 0.86), (0.93, 0.6)], shade, 0.07)
        pen.oval(0.5, 0.7, 0.31, 0.28, coat)
        for paw in (0.4, 0.6):
            pen.line([(paw, 0.66), (paw, 0.94)], pale(coat, 0.2), 0.09)
        x, y, r = 0.5, 0.31, 0.2
    elif pen.pose == "lying":
        pen.line([(0.14, 0.84), (0.04, 0.92), (0.2, 0.94)], shade, 0.1)
        pen.oval(0.42, 0.7, 0.36, 0.27, coat)
        pen.line([(0.6, 0.9), (0.82, 0.92)], pale(coat, 0.2), 0.12)
        x, y, r = 0.78, 0.42, 0.27
    else:
        pen.shadow(0.1, 0.75)
        for leg, colour in ((0.28, shade), (0.6, shade), (0.2, coat), (0.67, coat)):
            pen.line([(leg, 0.6), (leg, 0.94)], colour, 0.08)
        pen.line([(0.16, 0.52), (0.07, 0.36), (0.1, 0.08)], coat, 0.07)
        pen.oval(0.43, 0.55, 0.33, 0.17, coat)
        x, y, r = 0.78, 0.37, 0.19
    reach = r * pen.scene.image.height / pen.scene.image.width
    for side in (-1, 1):
        ear = [(x + side * reach * 0.15, y - r * 0.8), (x + side * reach * 0.85, y - r * 1.5)]
        pen.fill([*ear, (x + side * reach * 0.98, y - r * 0.2)], shade)
    pen.disc(x, y, r, coat)
    pen.oval(x, y + r * 0.45, reach * 0.5, r * 0.35, pale(coat, 0.35))
    for side in (-1, 1):
        pen.disc(x + side * reach * 0.42, y - r * 0.12, r * 0.2, (150, 200, 70))
        pen.oval(x + side * reach * 0.42, y - r * 0.12, reach * 0.07, r * 0.18, BLACK)
        for tilt in (-0.12, 0.12):
            whiskers = [(x + side * reach * 0.2, y + r * 0.4), (x + side * reach * 1.2, y + r * (0.4 + tilt))]
            pen.line(whiskers, pale(coat, 0.6), 0.012)
    pen.disc(x, y + r * 0.25, r * 0.12, (220, 120, 130))


def horse(pen: Pen) -> None:
    """A long neck with a mane, a long head and long legs; standing or grazing."""
    coat, hair = pen.colour, dark(pen.colour, 0.5) if sum(pen.colour) > 200 else (90, 86, 84)
    pen.shadow(0.08, 0.72)
    for leg, colour in ((0.24, dark(coat)), (0.58, dark(coat)), (0.16, coat), (0.65, coat)):
        pen.line([(leg, 0.5), (leg + 0.01, 0.94)], colour, 0.065)
        pen.box(leg - 0.02, 0.925, leg + 0.04, 0.97, dark(coat, 0.7))
    pen.line([(0.13, 0.36), (0.05, 0.48), (0.06, 0.72)], hair, 0.06)
    pen.oval(0.4, 0.45, 0.3, 0.16, coat)
    pen.oval(0.22, 0.43, 0.13, 0.15, coat)
    pen.oval(0.6, 0.44, 0.12, 0.15, coat)
    if pen.pose == "grazing":
        neck, head, ear = [(0.64, 0.42), (0.8, 0.7)], [(0.8, 0.7), (0.87, 0.9)], (0.77, 0.66)
        mane = [(0.66, 0.34), (0.83, 0.64)]
    else:
        neck, head, ear = [(0.64, 0.4), (0.76, 0.16)], [(0.77, 0.13), (0.93, 0.27)], (0.77, 0.02)
        mane = [(0.6, 0.3), (0.71, 0.1)]
    pen.line(neck, coat, 0.17)
    pen.line(mane, hair, 0.06)
    pen.line(head, coat, 0.11)
    (x, y), (nose_x, nose_y) = head
    pen.disc(nose_x, nose_y, 0.05, dark(coat, 0.3))
    pen.fill([(ear[0] - 0.02, ear[1] + 0.08), ear, (ear[0] + 0.04, ear[1] + 0.08)], coat)
    pen.disc(x + 0.03, y + 0.015, 0.018, BLACK)


def sheep(pen: Pen) -> None:
    """A cloud of wool on four dark legs; standing or grazing."""
    wool, skin = pen.colour, (70, 64, 62) if sum(pen.colour) > 240 else (150, 140, 132)
    pen.shadow(0.12, 0.74)
    for leg in (0.26, 0.34, 0.56, 0.64):
        pen.line([(leg, 0.6), (leg, 0.95)], skin, 0.07)
    for turn in range(10):
        angle = turn * math.tau / 10
        x, y = 0.44 + 0.27 * math.cos(angle), 0.45 + 0.22 * math.sin(angle)
        pen.disc(x, y, 0.13, dark(wool, 0.14) if math.sin(angle) > 0.2 else wool)
    pen.oval(0.44, 0.45, 0.3, 0.24, wool)
    for x, y in ((0.34, 0.42), (0.5, 0.36), (0.56, 0.54), (0.3, 0.56)):
        pen.ring(x, y, 0.07, dark(wool, 0.16), 0.015)
    x, y = (0.83, 0.78) if pen.pose == "grazing" else (0.82, 0.3)
    pen.line([(0.7, 0.45), (x - 0.04, y)], wool, 0.2)
    pen.oval(x, y, 0.09, 0.17, skin)
    pen.line([(x - 0.12, y - 0.06), (x + 0.1, y - 0.06)], skin, 0.06)
    pen.disc(x - 0.02, y - 0.14, 0.09, wool)
    for side in (-0.035, 0.035):
        pen.disc(x + side, y - 0.01, 0.022, WHITE)


def bird(pen: Pen) -> None:
    """A beak, a wing and a tail; standing on thin legs or flying."""
    coat, wing = pen.colour, dark(pen.colour, 0.3) if sum(pen.colour) > 150 else pale(pen.colour, 0.25)
    if pen.pose == "flying":
        pen.fill([(0.38, 0.56), (0.02, 0.5), (0.06, 0.72)], wing)
        pen.fill([(0.42, 0.6), (0.24, 0.02), (0.66, 0.52)], dark(wing, 0.2))
        pen.oval(0.52, 0.62, 0.25, 0.14, coat)
        pen.fill([(0.4, 0.6), (0.5, 0.05), (0.66, 0.6)], wing)
        x, y, r = 0.8, 0.55, 0.14
    else:
        for leg in (0.42, 0.54):
            pen.line([(leg, 0.7), (leg, 0.96), (leg + 0.07, 0.97)], (190, 120, 40), 0.035)
        pen.fill([(0.3, 0.5), (0.0, 0.7), (0.1, 0.8), (0.4, 0.7)], wing)
        pen.oval(0.46, 0.57, 0.27, 0.24, coat)
        pen.oval(0.38, 0.56, 0.2, 0.15, wing)
        x, y, r = 0.7, 0.28, 0.19
    pen.disc(x, y, r, coat)
    reach = r * pen.scene.image.height / pen.scene.image.width
    beak = [(x + reach * 0.8, y - r * 0.35), (x + reach * 1.7, y + r * 0.1), (x + reach * 0.8, y + r * 0.4)]
    pen.fill(beak, (240, 160, 30) if coat[2] > 60 or coat[0] < 200 else (90, 70, 60))
    pen.disc(x + reach * 0.3, y - r * 0.2, r * 0.3, WHITE)
    pen.disc(x + reach * 0.38, y - r * 0.2, r * 0.18, BLACK)
