import base64
import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from m5utils import answers, explorer, explorer_files, freshness, heads, paths, run, runtime
from m5utils.explorer import Method, Shown


def read(file) -> dict:
    """The fields of a script, unpacked."""
    packed = explorer_files.get_json(file)
    return {key: gzip.decompress(base64.b64decode(value)) for key, value in packed.items()}


def captioned(n_images=6, per_image=2, files=None) -> Shown:
    image_of = np.repeat(np.arange(n_images), per_image)
    captions = tuple(f"caption {i} of a dog" for i in range(len(image_of)))
    return Shown("six images", tuple(f"{i}.png" for i in range(n_images)), files, captions, image_of)


def methods_of(shown: Shown) -> dict[str, Method]:
    images = torch.randn(len(shown.names), 8)
    return {"ours": Method(images, images[shown.image_of] + 0.1 * torch.randn(len(shown.captions), 8))}


def test_what_is_written_is_what_was_given(tmp_path):
    shown = captioned()
    methods = methods_of(shown)
    ours = methods["ours"]
    maps = {"PCA": explorer.shadow(ours.images, ours.captions)}
    folder = explorer.write(tmp_path, "07", "A title", shown, methods, maps)
    items = read(folder / "items.js")
    assert json.loads(items["names"]) == list(shown.names)
    assert json.loads(items["captions"]) == list(shown.captions)
    assert np.frombuffer(items["image_of"], np.uint32).tolist() == shown.image_of.tolist()
    written = read(folder / "method-0.js")
    found = np.frombuffer(written["found"], np.uint32).reshape(-1, answers.TOP)
    asked = np.frombuffer(written["items"], np.uint32)
    assert asked.tolist() == [*range(6), *range(6, 18)]
    expected = answers.first_answers(ours.captions, shown.image_of, ours.images, np.arange(6))
    assert found[6:, :6].tolist() == expected.found.tolist()
    assert (found[6:, 6:] == explorer_files.NOTHING).all()
    assert (found[:6] >= 6).all()  # images ask for captions
    assert explorer_files.get_json(tmp_path / "spaces.js") == [
        {"folder": "space_07", "name": "07", "title": "A title"}
    ]
    assert {file.name for file in explorer.PAGE.iterdir()} <= {file.name for file in tmp_path.iterdir()}


def test_two_pages_of_the_same_are_the_same_bytes(tmp_path):
    shown = captioned()
    methods = methods_of(shown)
    for name in ("a", "b"):
        explorer.write(tmp_path / name, "07", "A title", shown, methods, {})
    files = [file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*.*")]
    assert len(files) > 5
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_gallery_images_ask_without_themselves(tmp_path):
    images = torch.randn(9, 4)
    shown = Shown(
        "classes", tuple("abcdefghi"), classes=("x", "y"), labels=np.arange(9) % 2, is_query=np.arange(9) > 5
    )
    folder = explorer.write(tmp_path, "05", "Classes", shown, {"frozen": Method(images)}, {})
    found = np.frombuffer(read(folder / "method-0.js")["found"], np.uint32).reshape(9, answers.TOP)
    for row in range(9):
        real = found[row][found[row] != explorer_files.NOTHING]
        assert row not in real
        assert (real < 6).all()
        assert len(real) == 5  # one is left out everywhere, so that all lists are of one length


def test_coordinates_keep_their_proportions_and_what_is_absent():
    xy = np.array([[0.0, 0.0], [4.0, 1.0], [np.nan, 2.0]])
    placed = explorer_files.coordinates(xy, None).astype(float)
    assert placed[2].tolist() == [explorer_files.ABSENT] * 2
    across, up = placed[1] - placed[0]
    assert across / up == pytest.approx(4, rel=1e-3)
    assert (placed[:2] < explorer_files.ABSENT).all()
    assert (placed[0] + placed[1]) / 2 == pytest.approx([32767, 32767], abs=1)


def test_one_point_or_none_is_a_map():
    assert explorer_files.coordinates(np.zeros((1, 2)), None).tolist() == [[32767, 32767]]
    assert explorer_files.coordinates(np.full((2, 2), np.nan), None).tolist() == [[65535] * 2] * 2


def test_a_shadow_keeps_the_two_widest_axes():
    rows = torch.nn.functional.normalize(torch.randn(50, 6) * torch.tensor([9.0, 5, 1, 1, 1, 1]))
    drawn, nothing = explorer.shadow(rows)
    centred = rows - rows.mean(dim=0)
    singular = torch.linalg.svdvals(centred)[:2] ** 2
    assert (drawn**2).sum(axis=0) == pytest.approx(singular.numpy(), rel=1e-3)
    assert nothing is None


@pytest.mark.parametrize("bits", [8, 16])
def test_rounding_is_off_by_half_a_step_at_most(bits):
    rows = torch.randn(20, 30)
    whole, scale = explorer_files.rounded(rows, bits)
    assert np.abs(whole * scale - rows.numpy()).max() <= scale / 2 * 1.001
    assert whole.dtype == {8: np.int8, 16: np.int16}[bits]


def test_typed_words_are_the_head_of_their_mean():
    head = heads.linear(torch.randn(50, 7) * 3 + 1, dim=5)
    vectors = torch.randn(4, 7)
    typed = explorer.typed_words(head, ("a", "dog", "runs", "fast"), vectors.numpy())
    mean = head(vectors[[1, 2, 2]].mean(dim=0, keepdim=True))
    from_words = torch.nn.functional.normalize(typed.vectors[[1, 2, 2]].mean(dim=0, keepdim=True))
    assert torch.allclose(mean, from_words, atol=1e-6)


@pytest.mark.parametrize(
    "head",
    [
        heads.hidden(torch.randn(9, 4), 3),
        heads.Head(torch.randn(9, 4), nn.Linear(4, 3)),
        heads.Head(torch.randn(9, 4), nn.Linear(4, 3, bias=False), rectify=True),
    ],
    ids=["hidden layer", "bias", "rectified"],
)
def test_a_head_that_is_not_linear_cannot_be_typed_to(head):
    with pytest.raises(ValueError, match="expected a head of one linear layer without bias"):
        explorer.typed_words(head, ("a",), np.zeros((1, 4), np.float32))


def test_thumbnails_show_the_pictures_in_their_places(tmp_path):
    colours = {"red.png": (255, 0, 0), "blue.png": (0, 0, 255)}
    for name, colour in colours.items():
        Image.new("RGB", (300, 200), colour).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = [tmp_path / name for name in ("red.png", "broken.png", "away.png", "blue.png")]
    about, unreadable = explorer_files.thumbnails(tmp_path / "page", files)
    assert unreadable == ["broken.png", "away.png"]
    with Image.open(tmp_path / "page" / about["folder"] / "0.jpg") as sheet:
        middle = about["size"] // 2
        colours = [sheet.getpixel((middle + i * about["size"], middle)) for i in range(4)]
    expected = [(255, 0, 0), (128, 128, 128), (128, 128, 128), (0, 0, 255)]
    assert np.abs(np.subtract(colours, expected)).max() < 12


def test_thumbnails_are_made_again_when_a_picture_has_come(tmp_path):
    file = tmp_path / "late.png"
    assert explorer_files.thumbnails(tmp_path, [file])[1] == ["late.png"]
    Image.new("RGB", (30, 20)).save(file)
    assert explorer_files.thumbnails(tmp_path, [file])[1] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"methods": {"m": Method(torch.zeros(5, 2), torch.zeros(12, 2))}},
            r"method 'm': expected \(6, 12\)",
        ),
        ({"methods": {"m": Method(torch.zeros(6, 2))}}, r"method 'm': expected \(6, 12\).*got \(6, 0\)"),
        ({"maps": {"PCA": (np.zeros((6, 2)), None)}}, r"map 'PCA': expected \(6, 12\)"),
        ({"maps": {"PCA": (np.zeros((6, 3)), np.zeros((12, 3)))}}, r"map 'PCA': expected \(n, 2\)"),
        ({"maps": {"PCA": (np.full((6, 2), np.inf), np.zeros((12, 2)))}}, r"map 'PCA'.*finite"),
        ({"methods": {"m": Method(torch.full((6, 2), torch.nan), torch.ones(12, 2))}}, "holds NaN"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        explorer.write(tmp_path, "07", "t", captioned(), **{"methods": {}, "maps": {}, **change})
    assert not list(tmp_path.glob("space_*"))
    assert not list(tmp_path.glob(".*"))  # no part of one either


@pytest.mark.parametrize(
    "parts",
    [
        {"labels": np.zeros(2)},
        {"captions": ("a",), "image_of": np.array([3])},
        {"captions": ("a", "b"), "image_of": np.array([0])},
        {"captions": ("a",)},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(parts):
    with pytest.raises(ValueError, match="expected"):
        Shown("s", ("x", "y", "z"), **parts)


def test_what_a_page_lacks_is_said(tmp_path):
    def missing(shown, methods=None, maps=None):
        folder = explorer.write(tmp_path, "00", "t", shown, methods or {}, maps or {})
        return " ".join(explorer_files.get_json(folder / "space.js")["missing"])

    empty = Shown("s", ())
    assert "There are no images" in missing(empty, {"m": Method(torch.zeros(0, 3))}, {})
    all_ask = Shown("s", ("a", "b"), labels=np.zeros(2, int), is_query=np.ones(2, bool))
    assert "The gallery is empty" in missing(all_ask, {"m": Method(torch.ones(2, 3))})
    assert "no projection" in missing(captioned())
    assert "no method" in missing(captioned())
    assert "one method only, ours" in missing(captioned(), methods_of(captioned()))
    there = tmp_path / "there.png"
    Image.new("RGB", (9, 9)).save(there)
    some = captioned(2, 1, files=[there, tmp_path / "away.png"])
    assert "1 of 2 pictures cannot be read: away.png" in missing(some)
    assert "without pictures" in missing(captioned())


def test_a_preview_escapes_what_it_is_given():
    shown = explorer.Preview(b"png", 'a"b', "<script>")._repr_html_()
    assert "<script>" not in shown
    assert 'href="a&quot;b"' in shown
    assert "data:image/png;base64," in shown


def test_a_notebook_links_to_the_page_from_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    started = runtime.Run("08", runtime.profile("demo"), 0, 0.0)
    monkeypatch.delenv("M5_EXECUTED_IN", raising=False)
    by_hand = explorer.look_around(started, "t", captioned(), {}, {})
    assert by_hand.link == "../build/demo/explorer/index.html#space=08"
    monkeypatch.setenv("M5_EXECUTED_IN", str(tmp_path / "build" / "demo"))
    executed = explorer.look_around(
        started, "t", captioned(), {}, {"m": (np.zeros((6, 2)), np.ones((12, 2)))}
    )
    assert executed.link == "explorer/index.html#space=08"
    assert executed.png.startswith(b"\x89PNG")


def test_the_site_holds_one_profile_and_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    with pytest.raises(FileNotFoundError, match="m5 run 05 07 08 09 --profile lab --force"):
        explorer.publish_site("lab")
    picture = tmp_path / "0.png"
    Image.new("RGB", (9, 9)).save(picture)
    explorer.write(explorer.folder_of("lab"), "08", "t", captioned(1, 1, [picture]), {}, {})
    (explorer.folder_of("lab") / "thumbnails_old").mkdir()
    (explorer.folder_of("lab") / "explorer.js").write_text("of an earlier version")
    site = explorer.publish_site("lab")
    about = explorer_files.get_json(site / "space_08" / "space.js")
    assert (site / about["thumbnails"]["folder"] / "0.jpg").is_file()
    assert (site / "index.html").is_file()
    assert (site / "explorer.js").read_text() == (explorer.PAGE / "explorer.js").read_text()
    assert not (site / "thumbnails_old").exists()
    explorer.write(explorer.folder_of("demo"), "07", "t", captioned(), {}, {})
    site = explorer.publish_site("demo")
    assert not (
        site / "space_08"
    ).exists()  # lab's photographs do not stay where the drawn world is published


def test_the_notebooks_that_leave_a_space_are_those_the_error_names():
    used = [
        number
        for number, path in run.notebooks().items()
        if "m5utils.explorer" in freshness.modules(freshness.code_cells(path))
    ]
    assert used == ["05", "07", "08", "09"]
