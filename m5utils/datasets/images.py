"""Read a picture file of any common kind as upright 8-bit RGB, or say which file is broken.

Knows file formats. Must not know datasets or networks.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# What Pillow's many readers raise on bytes that are no picture, or only the beginning of one.
BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)


def read_rgb(path: Path) -> Image.Image:
    """The picture in a file, see `decode_rgb`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If its bytes are no whole picture. Both name the file.
    """
    try:
        return decode_rgb(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Replace it, or skip bad images.") from error


def decode_rgb(data: bytes) -> Image.Image:
    """The first frame of an encoded picture: RGB, 8 bits, turned upright as its EXIF data say.

    Grey, palette, CMYK and 16-bit pictures are converted; a transparent picture is put on white, as a
    viewer shows it.

    Raises:
        ValueError: If the bytes are empty, cut off or no picture.
    """
    if not data:
        raise ValueError("empty file, 0 bytes")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture))
    except Image.UnidentifiedImageError as error:
        raise ValueError("no picture format that Pillow knows") from error
    except BROKEN as error:
        raise ValueError(f"not a whole picture ({error})") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F":
        raise ValueError("expected 8 or 16 bits a pixel, got floating point: its white is unknown")
    if picture.mode.startswith("I"):  # 16-bit grey: Pillow would cut off at 255 instead of scaling
        values = np.asarray(picture, dtype=np.int64)
        low, high = values.min(), values.max()
        if low < 0 or high > 65535:
            raise ValueError(f"expected 8 or 16 bits a pixel, got values from {low} to {high}")
        picture = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")
