"""Read one picture from a file, whatever it was saved as.

Knows file formats. Must not know datasets or networks.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def read_rgb(path: Path) -> Image.Image:
    """The picture in a file: upright, 8-bit RGB.

    EXIF rotation is undone; CMYK, grey, palette and 16-bit pictures are converted; a transparent picture is
    put on white, as a viewer shows it.

    Raises:
        ValueError: If the file is empty, truncated or no picture; the message names it.
    """
    try:
        with Image.open(path) as picture:
            return _to_rgb(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} is no readable picture ({error}). Replace it, or skip bad images."
        ) from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):  # 16-bit and float grey: PIL would clip instead of scaling
        values = np.asarray(picture, dtype=np.float64)
        top = 65535 if values.max() > 255 else 255
        picture = Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")
