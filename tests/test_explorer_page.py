"""The explorer's page in a browser: from the file system, with no network."""

from pathlib import Path

import browser as browsers
import numpy as np
import pytest
import torch
from PIL import Image

from m5utils import explorer, search
from m5utils.encoders import text
from m5utils.explorer import Method, Shown, TypedWords

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browsers.CHROMIUM, reason="no chromium: apt-get install chromium chromium-driver"),
]

HOSTILE = (
    "</script><script>document.title = 'hacked'</script>",
    "<img src=x onerror=\"document.title = 'hacked'\">",
    "\"double\" 'single' `back` & ampersand \\ backslash ${template}",
    "a 🐕 chases a 👩‍👩‍👧 over a 🌈",
    "כלב רץ בפארק ליד dog‮ reversed",
    " ".join(f"word{i}" for i in range(2000)),
    "line one\nline two\u2028line three\x00end",
    "half a character \ud83d alone",
)
WORDS = [
    "a",
    "the",
    "dog",
    "cat",
    "runs",
    "sits",
    "sleeps",
    "near",
    "under",
    "red",
    "blue",
    "small",
    "house",
    "tree",
    "park",
]
N = 60


def captioned(folder: Path) -> Shown:
    """60 images of five captions each; the hostile ones come first."""
    random = np.random.default_rng(0)
    names, files = [], []
    for number in range(N):
        name = f"<b>image</b> {number} '\"&.png" if number == 1 else f"{number}.png"
        files.append(folder / f"{number}.png")
        Image.new("RGB", (40, 30), tuple(random.integers(0, 255, 3).tolist())).save(files[-1])
        names.append(name)
    captions = [" ".join(random.choice(WORDS, 7)) for _ in range(5 * N)]
    captions[: len(HOSTILE)] = HOSTILE
    return Shown("sixty images", tuple(names), files, tuple(captions), np.repeat(np.arange(N), 5))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory):
    """A page, and what it was made from."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("explorer")
    shown = captioned(folder)
    images = torch.nn.functional.normalize(torch.randn(N, 24))
    vectors = torch.randn(len(WORDS), 24)
    captions = images[shown.image_of] + 0.25 * torch.randn(5 * N, 24)
    methods = {
        "theirs": Method(images, captions + 2 * torch.randn(5 * N, 24), "euclidean"),
        "ours": Method(images, captions, typed=TypedWords(tuple(WORDS), vectors)),
    }
    maps = {"PCA": explorer.shadow(images, captions)}
    maps["some"] = explorer.of_some(shown, np.arange(3), np.eye(3)[:, :2], np.arange(2), np.ones((2, 2)))
    explorer.write(folder / "page", "07", "Captions", shown, methods, maps)
    labels = np.arange(N) % 3
    classes = Shown(
        "classes",
        shown.names,
        shown.files,
        classes=("x", "y", "z"),
        labels=labels,
        is_query=np.arange(N) > 40,
    )
    explorer.write(
        folder / "page",
        "05",
        "Classes",
        classes,
        {"frozen": Method(images)},
        {"PCA": explorer.shadow(images)},
    )
    return folder / "page", shown, methods


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as started:
        yield started


@pytest.fixture
def quiet(browser):
    """The browser; after the test its console must be empty, and nothing have been asked of the network."""
    browsers.complaints(browser), browsers.requested(browser)
    yield browser
    assert browsers.complaints(browser) == []
    assert [
        url for url in browsers.requested(browser) if not url.startswith(("file:", "data:", "about:"))
    ] == []


def show(browser, page: Path, state: str) -> None:
    browsers.open_page(browser, page, state)


def columns(browser) -> list[dict]:
    """The answers as they stand on the page: of each method its name, note, items, and which are right."""
    return browser.execute_script(
        """return [...document.querySelectorAll('.method')].map((method) => ({
            name: method.querySelector('h3').textContent, note: method.querySelector('p').textContent,
            items: [...method.querySelectorAll('button')].map((row) => Number(row.dataset.item)),
            right: [...method.querySelectorAll('button')].map((row) => row.classList.contains('right'))}))"""
    )


def go(browser, changes: str) -> None:
    """Change the page's state, and wait until it is shown."""
    browser.execute_async_script(f"const done = arguments[0]; go({changes}).then(() => done())")


def test_a_page_is_ready_and_has_ink(quiet, space):
    show(quiet, space[0], "#space=07")
    colours = quiet.execute_script(
        """const {width, height} = canvas, {data} = brush.getImageData(0, 0, width, height);
        return [...new Set(new Uint32Array(data.buffer))].map((pixel) => pixel & 0xffffff)"""
    )
    blue, orange = 0xB27200, 0x009FE6  # as little-endian pixels: images and captions
    assert {blue, orange, 0xFFFFFF} <= set(colours)
    assert quiet.title == "m5utils explorer"


def test_the_first_ten_are_pythons(quiet, space):
    page, shown, methods = space
    show(quiet, page, "#space=07")
    items = np.random.default_rng(1).choice(6 * N, 50, replace=False)
    for item in items.tolist():
        go(quiet, f"{{ item: '{item}', q: '' }}")
        for column, (name, method) in zip(columns(quiet), methods.items(), strict=True):
            of_image = item < N
            query = method.images[item] if of_image else method.captions[item - N]
            gallery = method.captions if of_image else method.images
            ranking = search.nearest(query[None], gallery, 10, distance=method.distance)[1][0].numpy()
            image = item if of_image else shown.image_of[item - N]
            right = (shown.image_of[ranking] if of_image else ranking) == image
            assert column["name"] == name
            assert column["items"] == (ranking + N if of_image else ranking).tolist()
            assert column["right"] == right.tolist()


def test_a_typed_caption_is_answered_by_the_model_itself(quiet, space):
    page, _, methods = space
    show(quiet, page, "#space=07")
    random, model = np.random.default_rng(2), methods["ours"].typed
    for _ in range(50):
        words = random.choice(WORDS, random.integers(1, 9)).tolist()
        go(quiet, f"{{ q: {' '.join(words).title()!r}, item: '' }}")
        mean = model.vectors[[WORDS.index(word) for word in words]].mean(dim=0, keepdim=True)
        scores = search.scores(mean, methods["ours"].images)[0].numpy()
        column, by_words = columns(quiet)
        assert column["name"] == "ours, run in this page"
        assert "theirs cannot run in a page; instead, what holds most of the words." in by_words["note"]
        assert len(set(column["items"])) == 10
        # 16 bits a number: who is nearer than another by less than that may come after it
        assert scores[column["items"]] == pytest.approx(np.sort(scores)[::-1][:10], abs=1e-4)


@pytest.mark.parametrize("typed", ["A dog, a CAT", "don't  stop-it 3 café_x", "naïve 🐕 — “dog”", *HOSTILE])
def test_the_page_takes_words_apart_as_python_does(quiet, space, typed):
    if "\ud83d" in typed:
        typed = typed.replace("\ud83d", "")  # the driver speaks UTF-8
    show(quiet, space[0], "#space=07")
    assert quiet.execute_script("return wordsOf(arguments[0])", typed) == text.words(typed)


def test_typing_by_hand_gives_ten(quiet, space):
    show(quiet, space[0], "#space=07")
    quiet.execute_script("document.activeElement.blur()")
    body = quiet.find_element("tag name", "body")
    body.send_keys("/")
    quiet.switch_to.active_element.send_keys("a red zebra near the house\n")
    quiet.execute_async_script("setTimeout(arguments[0], 300)")
    column, _ = columns(quiet)
    assert len(column["items"]) == 10
    assert "It does not know: zebra." in column["note"]
    assert "q=a%20red%20zebra" in quiet.current_url


def test_without_a_model_the_page_searches_for_words_and_says_so(quiet, space):
    show(quiet, space[0], "#space=05&q=y%20.png")
    (column,) = columns(quiet)
    assert "frozen cannot run in a page" in column["note"]
    assert len(column["items"]) == 10
    assert all(item % 3 == 1 for item in column["items"])  # of class y
    show(quiet, space[0], "#space=07&q=zebra")
    named = {column["name"]: column for column in columns(quiet)}
    assert "nothing holds any of the words." in named["word search"]["note"]


def test_a_click_on_a_point_shows_its_captions(quiet, space):
    page, shown, _ = space
    show(quiet, page, "#space=07")
    x, y = quiet.execute_script(
        "const b = canvas.getBoundingClientRect(), p = toScreen(20); return [b.left + p[0], b.top + p[1]]"
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
        quiet.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    quiet.execute_async_script("setTimeout(arguments[0], 300)")
    said = quiet.find_element("id", "picked").text
    assert "Picked: image 20" in said
    assert all(caption in said for caption in shown.captions[100:105])
    assert "item=20" in quiet.current_url


def test_every_hostile_text_appears_as_text(quiet, space):
    page, shown, _ = space
    show(quiet, page, "#space=07")
    for number, caption in enumerate(HOSTILE):
        go(quiet, f"{{ item: '{N + number}', q: '' }}")
        points = quiet.execute_script(  # half a character does not come through the driver, its number does
            "return [...document.querySelector('#picked p').textContent].map((one) => one.codePointAt(0))"
        )
        assert points == [ord(one) for one in caption]
    go(quiet, "{ item: '1', q: '' }")
    assert quiet.find_element("css selector", "#picked .words div").text == shown.names[1]
    markup = quiet.execute_script(
        "return document.querySelectorAll('#right img, #right b, #right script').length"
    )
    assert markup == 0
    assert quiet.title == "m5utils explorer"


def test_an_address_is_a_state_and_nonsense_in_it_is_left_out(quiet, space):
    page = space[0]
    show(quiet, page, "#space=07&map=some&item=3&list=worst&by=theirs")
    assert quiet.execute_script("return [state.map, state.item, state.list, state.by]") == [
        "some", "3", "worst", "theirs",
    ]  # fmt: skip
    first = quiet.execute_script("return document.querySelector('#listed button').textContent")
    assert "rank" in first
    show(quiet, page, "#space=zzz&map=%E0%A4&item=99999&list=no&by=%3Cb%3E&at=1,NaN,x&q")
    assert quiet.execute_script("return [state.space, state.item, state.by]") == ["05", "", "frozen"]


@pytest.mark.parametrize("kind", ["worst", "hubs", "differ"])
def test_lists_are_sorted_by_what_they_say(quiet, space, kind):
    show(quiet, space[0], f"#space=07&list={kind}&by=ours")
    notes = quiet.execute_script(
        "return [...document.querySelectorAll('#listed .score')].map((note) => note.textContent)"
    )
    values = [float(note.strip("rank× times").replace(",", "")) for note in notes]
    assert len(values) > 5
    assert values == sorted(values, reverse=True)


def test_the_map_moves_by_keys(quiet, space):
    show(quiet, space[0], "#space=07")
    canvas = quiet.find_element("id", "canvas")
    before = quiet.execute_script("return [view.x, view.zoom]")
    canvas.send_keys("++")
    canvas.send_keys("\ue014")  # arrow to the right
    after = quiet.execute_script("return [view.x, view.zoom]")
    assert after[0] > before[0]
    assert after[1] == pytest.approx(1.25**2)
    canvas.send_keys("\n")
    quiet.execute_async_script("setTimeout(arguments[0], 500)")
    assert "Picked" in quiet.find_element("id", "picked").text
    canvas.send_keys("0")
    assert quiet.execute_script("return view.zoom") == 1


def test_every_control_can_be_reached_and_has_a_name(quiet, space):
    show(quiet, space[0], "#space=07&item=3&list=hubs")
    nameless = quiet.execute_script(
        """return [...document.querySelectorAll('button, select, input, canvas, [role=img]')].filter((node) =>
            !(node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.length)).length"""
    )
    assert nameless == 0
    assert (
        quiet.execute_script("return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length")
        == 0
    )


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(space, width):
    with browsers.chromium(width, 900, dark=width == 400) as browser:
        browsers.open_page(browser, space[0], f"#space=07&item={N + 5}&list=worst")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("shown", "methods", "said"),
    [
        (Shown("s", ()), {}, "There are no images"),
        (
            Shown("s", ("a", "b"), labels=np.zeros(2, int), classes=("c",), is_query=np.ones(2, bool)),
            {"m": Method(torch.eye(2))},
            "The gallery is empty",
        ),
        (
            Shown("s", ("a", "b"), captions=("x", "y"), image_of=np.arange(2)),
            {"m": Method(torch.eye(2), torch.eye(2))},
            "one method only, m",
        ),
    ],
    ids=["no images", "no gallery", "one method, no map"],
)
def test_a_page_says_what_is_missing(quiet, tmp_path, shown, methods, said):
    explorer.write(tmp_path, "00", "t", shown, methods, {})
    show(quiet, tmp_path, "#item=0&list=worst&q=a")
    assert said in quiet.find_element("id", "missing").text
    assert "There is no projection" in quiet.find_element("id", "missing").text
    quiet.find_element("id", "canvas").send_keys("\n+")


@pytest.mark.parametrize("left", [None, 20], ids=["away", "cut off"])
@pytest.mark.parametrize("name", ["method-1", "items", "map-0"])
def test_a_file_that_is_not_whole_is_named(browser, space, tmp_path, name, left):
    _, shown, methods = space
    maps = {"PCA": (np.zeros((N, 2)), np.ones((5 * N, 2)))}
    file = explorer.write(tmp_path, "07", "t", shown, methods, maps) / f"{name}.js"
    content = file.read_text()
    file.unlink()
    if left:
        file.write_text(content[:left])
    browsers.open_page(browser, tmp_path, "#item=3")
    assert f"space_07/{name}.js is not there or not whole" in browser.find_element("id", "missing").text
    browsers.complaints(browser)


def test_spaces_are_changed_without_a_reload(quiet, space):
    show(quiet, space[0], "#space=07&item=3")
    quiet.execute_script(
        "document.getElementById('space').value = '05'; $('space').onchange({target: $('space')})"
    )
    quiet.execute_async_script("setTimeout(arguments[0], 500)")
    assert quiet.execute_script("return [state.space, state.item, state.by]") == ["05", "", "frozen"]
    legend = quiet.find_element("id", "legend").text.split()
    assert legend == ["x", "y", "z"]
