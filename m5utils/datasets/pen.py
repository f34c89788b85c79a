"""The pen that the objects of the drawn world are drawn with: lines and shapes in a box of size one.

Knows how lengths in an object become pixels of its layer. Must not know which objects there are.

Coordinates run from (0, 0), the layer's upper left corner, to (1, 1), the lower right one. Radii and the
thickness of lines are shares of the layer's height, so circles stay round.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from m5utils.datasets.drawing import BLACK, WHITE, Colour, Point, Scene, mix

GLASS, TYRE, STEEL = (170, 204, 222), (28, 28, 30), (120, 124, 130)


@dataclass(frozen=True)
class Pen:
    """Draws one object on its layer.

    Attributes:
        scene: The layer, its light and its source of chance.
        colour: The object's main colour.
        pose: One of its category's poses.
        kind: For a person "man", "woman", "boy" or "girl", else "".
    """

    scene: Scene
    colour: Colour
    pose: str
    kind: str

    @property
    def rng(self) -> random.Random:
        """The source of the details that nobody speaks of."""
        return self.scene.rng

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Pixels of the layer."""
        width, height = self.scene.image.size
        return [(x * width, y * height) for x, y in points]

    def fill(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled outline."""
        self.scene.polygon(self.place(points), colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse."""
        width, height = self.scene.image.size
        self.scene.disc(x * width, y * height, rx * width, ry * height, colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle; its radius is a share of the layer's height."""
        width, height = self.scene.image.size
        self.scene.disc(x * width, y * height, radius * height, radius * height, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, r: float = 0) -> None:
        """A filled rectangle whose corners are rounded by `r` of the layer's height."""
        corners = self.place([(left, top), (right, bottom)])
        fill = self.scene.shade(colour)
        self.scene.draw.rounded_rectangle(corners, r * self.scene.image.height, fill)

    def line(self, points: Sequence[Point], colour: Colour, thick: float) -> None:
        """A line with round ends and corners, `thick` as a share of the layer's height."""
        placed, wide = self.place(points), max(1, round(thick * self.scene.image.height))
        self.scene.draw.line(placed, self.scene.shade(colour), wide, joint="curve")
        if wide > 2:
            for x, y in (placed[0], placed[-1]):
                self.scene.disc(x, y, wide / 2 - 0.5, wide / 2 - 0.5, colour)

    def ring(self, x: float, y: float, radius: float, colour: Colour, thick: float) -> None:
        """A circle that is not filled; lengths are shares of the layer's height."""
        (cx, cy), height = self.place([(x, y)])[0], self.scene.image.height
        r, wide = radius * height, max(1, round(thick * height))
        self.scene.draw.ellipse(
            (cx - r, cy - r, cx + r, cy + r), outline=self.scene.shade(colour), width=wide
        )

    def shadow(self, left: float, right: float) -> None:
        """A faint shadow on the ground between two places."""
        width, height = self.scene.image.size
        box = (left * width, 0.95 * height, right * width, height - 1)
        self.scene.draw.ellipse(box, (0, 0, 0, 70))


def dark(colour: Colour, share: float = 0.35) -> Colour:
    """The colour in the shade."""
    return mix(colour, BLACK, share)


def pale(colour: Colour, share: float = 0.4) -> Colour:
    """The colour in the light."""
    return mix(colour, WHITE, share)
