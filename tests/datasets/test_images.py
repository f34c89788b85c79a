"""Pictures of every common kind come out upright and 8-bit RGB; broken ones are named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m5utils.datasets import images

# Top left red, top right green, bottom left blue, bottom right white: a turn or a mirror shows.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
PICTURE = Image.fromarray(CORNERS.repeat(16, axis=0).repeat(16, axis=1))


def saved(folder: Path, picture: Image.Image, name: str, **more: object) -> Path:
    picture.save(folder / name, **more)
    return folder / name


def stored_mode(file: Path) -> str:
    with Image.open(file) as picture:
        return picture.mode


def corners(picture: Image.Image) -> np.ndarray:
    """The middle of each quarter, as int so that differences do not wrap around."""
    assert picture.mode == "RGB"
    values = np.asarray(picture, dtype=int)
    height, width = values.shape[:2]
    return values[height // 4 :: height // 2, width // 4 :: width // 2]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.gif"])
def test_formats(tmp_path, name):
    assert np.abs(corners(images.read_rgb(saved(tmp_path, PICTURE, name))) - CORNERS).max() <= 4


def test_the_suffix_does_not_matter(tmp_path):
    file = saved(tmp_path, PICTURE, "a.png").rename(tmp_path / "a.jpg")
    assert (corners(images.read_rgb(file)) == CORNERS).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    # How a camera held so stores the upright picture: the inverse of what a viewer has to do.
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    upright = PICTURE.resize((32, 48), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = upright if stored is None else upright.transpose(stored)
    picture = images.read_rgb(saved(tmp_path, turned, "a.png", exif=exif))
    assert picture.size == (32, 48)
    assert (corners(picture) == CORNERS).all()


def test_cmyk(tmp_path):
    file = saved(tmp_path, PICTURE.convert("CMYK"), "a.jpg", quality=95)
    assert stored_mode(file) == "CMYK"
    assert np.abs(corners(images.read_rgb(file)) - CORNERS).max() <= 12


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_has_three_equal_colours(tmp_path, mode):
    grey = np.array([[0, 255], [255, 0]], dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    file = saved(tmp_path, Image.fromarray(grey).convert(mode), "a.png")
    assert stored_mode(file) == mode
    found = corners(images.read_rgb(file))
    assert (found == np.array([[0, 255], [255, 0]])[:, :, None]).all()


def test_16_bits_are_scaled_not_cut_off(tmp_path):
    values = np.array([[0, 257], [32768, 65535]], dtype=np.uint16).repeat(16, axis=0).repeat(16, axis=1)
    file = saved(tmp_path, Image.fromarray(values), "a.png")
    assert stored_mode(file).startswith("I")
    assert corners(images.read_rgb(file))[..., 0].tolist() == [[0, 1], [128, 255]]


def test_a_dark_16_bit_picture_stays_dark(tmp_path):
    values = np.full((32, 32), 200, dtype=np.uint16)
    assert images.read_rgb(saved(tmp_path, Image.fromarray(values), "a.png")).getextrema() == ((1, 1),) * 3


def test_palette(tmp_path):
    file = saved(tmp_path, PICTURE.quantize(4), "a.png")
    assert stored_mode(file) == "P"
    assert np.abs(corners(images.read_rgb(file)) - CORNERS).max() <= 2


def test_what_is_transparent_is_white(tmp_path):
    picture = PICTURE.convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 16, 16))
    found = corners(images.read_rgb(saved(tmp_path, picture, "a.png")))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert (found[1] == CORNERS[1]).all()


def test_a_palette_with_a_transparent_colour(tmp_path):
    picture = PICTURE.quantize(4)
    file = saved(tmp_path, picture, "a.png", transparency=picture.getpixel((0, 0)))
    assert corners(images.read_rgb(file))[0, 0].tolist() == [255, 255, 255]


def broken_files() -> dict[str, bytes]:
    jpeg, png = io.BytesIO(), io.BytesIO()
    PICTURE.resize((128, 128)).save(jpeg, "JPEG")
    PICTURE.save(png, "PNG")
    damaged = bytearray(png.getvalue())
    damaged[damaged.index(b"IDAT") + 6] ^= 0xFF
    return {
        "zero.jpg": b"",
        "half.jpg": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "beginning.jpg": jpeg.getvalue()[:20],
        "half.png": png.getvalue()[: len(png.getvalue()) // 2],
        "damaged.png": bytes(damaged),
        "page.jpg": b"<html><body>404 Not Found</body></html>",
        "noise.jpg": np.random.default_rng(0).bytes(5000),
    }


@pytest.mark.parametrize("name", broken_files())
def test_broken_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(broken_files()[name])
    with pytest.raises(ValueError, match=name):
        images.read_rgb(tmp_path / name)


def test_a_jpeg_cut_off_anywhere_is_broken_or_whole(tmp_path):
    file = saved(tmp_path, PICTURE, "a.jpg")
    data, refused = file.read_bytes(), 0
    whole = np.asarray(images.read_rgb(file))
    for length in range(0, len(data), 7):
        try:
            picture = images.decode_rgb(data[:length])
        except ValueError:
            refused += 1
        else:  # only bytes after the last pixel were missing
            assert (np.asarray(picture) == whole).all()
    assert refused > 0.9 * len(data) / 7


def test_floating_point_is_refused(tmp_path):
    file = saved(tmp_path, Image.fromarray(np.zeros((8, 8), dtype=np.float32)), "a.tif")
    with pytest.raises(ValueError, match="a.tif.*floating point"):
        images.read_rgb(file)


def test_a_missing_file_is_an_error_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        images.read_rgb(tmp_path / "nowhere.jpg")
