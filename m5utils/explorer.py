"""A page to look around in a space: the map, the picked item's answers by each method, a typed caption.

Knows embeddings, maps, pictures and texts. Must not know how they were made. The page is plain files that
work from the file system without a network; `m5utils/explorer_page` holds its HTML, CSS and JavaScript.
"""

import base64
import html
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from m5utils import answers, heads, paths, plots, plots_of_pairs, runtime, search
from m5utils import explorer_files as files
from m5utils.datasets.listed import ImageFiles, LabelledImages
from m5utils.encoders import text

PAGE = Path(__file__).parent / "explorer_page"
ROUNDED_TO_16_BITS = 32_000_000  # numbers of image vectors, above which 8 bits must do
SAMPLED = 20_000  # rows that decide on the axes of a shadow
PREVIEWED = 3000  # points on the picture that stays in the notebook


@dataclass(frozen=True, eq=False)
class Shown:
    """What the page shows: images with classes or with captions.

    Attributes:
        setting: What it is of, a line.
        names: n_images names of files.
        files: Where they are, or None if the page is to have no pictures.
        captions: n_captions texts; none where images have classes.
        image_of: (n_captions,) int64, the image that each caption describes.
        classes: Names of the classes; none where images have captions.
        labels: (n_images,) int64, the class of each image.
        is_query: (n_images,) bool, which images ask; the others are the gallery, and ask too, without
            themselves. All are the gallery if None.
    """

    setting: str
    names: tuple[str, ...]
    files: Sequence[Path] | None = None
    captions: tuple[str, ...] = ()
    image_of: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    is_query: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        n_images, n_captions = len(self.names), len(self.captions)
        of_images = {"files": self.files, "labels": self.labels, "is_query": self.is_query}
        for name, part in of_images.items():
            if part is not None and len(part) != n_images:
                raise ValueError(f"expected {name} of {n_images} images; got {len(part)}")
        image_of = np.zeros(0) if self.image_of is None else self.image_of
        if len(image_of) != n_captions or (
            n_captions and not 0 <= image_of.min() <= image_of.max() < n_images
        ):
            raise ValueError(f"expected an image, 0 to {n_images - 1}, for each of {n_captions} captions")


@dataclass(frozen=True, eq=False)
class TypedWords:
    """The model of typed captions: the mean of these vectors over a caption's words, compared by cosine.

    Attributes:
        vocabulary: n_words different words, as `text.words` makes them.
        vectors: (n_words, dim) in the space of the images. A linear head of the mean of word vectors is the
            mean of the head's vectors of the words.
    """

    vocabulary: tuple[str, ...]
    vectors: Tensor


@dataclass(frozen=True, eq=False)
class Method:
    """What answers: embeddings of all that is shown.

    Attributes:
        images: (n_images, dim).
        captions: (n_captions, dim); None where images have classes.
        distance: One of `search.DISTANCES`.
        typed: The model of typed captions, if the page can run it.
    """

    images: Tensor
    captions: Tensor | None = None
    distance: str = "cosine"
    typed: TypedWords | None = None


Maps = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""Name to (n_images, 2) and (n_captions, 2) coordinates; NaN for what is not on that map."""


def with_captions(part: ImageFiles) -> Shown:
    """`CaptionedImages` with all their captions: each kind asks for the other."""
    return Shown(part.setting, part.files, part.paths(), part.captions, part.image_of)


def with_classes(gallery: LabelledImages, query: LabelledImages) -> Shown:
    """Gallery and queries, in this order, with their classes."""
    return Shown(
        f"{len(query):,} queries and a gallery of {len(gallery):,} images",
        gallery.files + query.files,
        gallery.paths() + query.paths(),
        classes=gallery.classes,
        labels=np.concatenate([gallery.labels, query.labels]),
        is_query=np.arange(len(gallery) + len(query)) >= len(gallery),
    )


def shadow(images: Tensor, captions: Tensor | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """A map of both kinds of rows: PCA of their unit vectors, the two axes along which they differ most.

    Args:
        images: (n_images, dim).
        captions: (n_captions, dim).

    Returns:
        (n_images, 2), and (n_captions, 2) or None.

    Raises:
        ValueError: If a row holds NaN or Inf.
    """
    parts = [rows for rows in (images, captions) if rows is not None]
    step = max(1, sum(map(len, parts)) // SAMPLED)
    axes = heads.principal_axes(torch.cat([search.unit(rows[::step]) for rows in parts]).cpu(), 2)
    drawn = [
        torch.cat([axes(search.unit(block).cpu()) for block in rows.split(SAMPLED)]).numpy() for rows in parts
    ]
    return drawn[0], drawn[1] if captions is not None else None


def of_some(
    shown: Shown,
    image_rows: np.ndarray,
    image_xy: np.ndarray,
    caption_rows: np.ndarray,
    caption_xy: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A map of some images and captions, in these rows at these (n, 2) places; the others are not on it."""
    images, captions = (np.full((len(items), 2), np.nan) for items in (shown.names, shown.captions))
    images[image_rows], captions[caption_rows] = image_xy, caption_xy
    return images, captions


@torch.no_grad()
def typed_words(head: heads.Head, vocabulary: Sequence[str], vectors: np.ndarray) -> TypedWords:
    """The model of typed captions of a head that was trained on means of word vectors.

    Args:
        head: Of the captions; one linear layer, so that the mean may be taken behind it.
        vocabulary: n_words different words.
        vectors: (n_words, word_dim) of them.

    Raises:
        ValueError: If the head is not linear.
    """
    if not isinstance(head.layers, nn.Linear) or head.layers.bias is not None or head.rectify:
        raise ValueError(f"expected a head of one linear layer without bias; got {head}")
    device = head.mean.device
    return TypedWords(
        tuple(vocabulary), head.layers(head.prepared(torch.from_numpy(vectors).to(device))).cpu()
    )


# ---- the folder ----


def folder_of(profile_name: str) -> Path:
    """Where the notebooks of a profile leave the page."""
    return paths.BUILD / profile_name / "explorer"


def look_around(
    run: "runtime.Run", title: str, shown: Shown, methods: dict[str, Method], maps: Maps
) -> "Preview":
    """Write a notebook's space into the profile's page.

    Args:
        run: Of the notebook; its number is the name of the space.
        title: Of the space, for the page's list.
        shown: Images, and their classes or captions.
        methods: What answers, by name; the page shows their answers side by side.
        maps: Drawings of the items, by name.

    Returns:
        What stays in the notebook: the first map as a picture, and a link to the page.

    Raises:
        ValueError: If embeddings or maps do not fit what is shown, or hold NaN or Inf.
    """
    page = folder_of(run.profile.name)
    write(page, run.notebook, title, shown, methods, maps)
    here = Path(os.environ.get("M5_EXECUTED_IN", paths.NOTEBOOKS))
    return Preview(
        _drawn(shown, maps), f"{os.path.relpath(page, here)}/index.html#space={run.notebook}", title
    )


@dataclass(frozen=True)
class Preview:
    """A picture and a link, as a notebook shows them: also when it has become a web page or a mail."""

    png: bytes | None
    link: str
    title: str

    def _repr_html_(self) -> str:
        link, title = html.escape(self.link), html.escape(self.title)
        picture = ""
        if self.png:
            data = base64.b64encode(self.png).decode()
            picture = f'<img src="data:image/png;base64,{data}" alt="Map of {title}" width="600"><br>'
        return f'{picture}<a href="{link}">Look around in it: {title}</a>'


def write(page: Path, name: str, title: str, shown: Shown, methods: dict[str, Method], maps: Maps) -> Path:
    """Write the page's own files and the folder of one space, whole or not at all; see `look_around`."""
    _check(shown, methods, maps)
    with paths.lock(page / "page.lock", "writing to the explorer"):
        _write_space(page, name, title, shown, methods, maps)
        _put_page(page)
    return page / f"space_{name}"


def _write_space(
    page: Path, name: str, title: str, shown: Shown, methods: dict[str, Method], maps: Maps
) -> None:
    with paths.published_folder(page / f"space_{name}") as folder:
        thumbnails, unreadable = files.thumbnails(page, shown.files)
        about = {
            "name": name,
            "title": title,
            "setting": shown.setting,
            "n_images": len(shown.names),
            "n_captions": len(shown.captions),
            "classes": list(shown.classes),
            "has_queries": shown.is_query is not None,
            "maps": list(maps),
            "thumbnails": thumbnails,
        }
        files.put(folder, "items", _items(shown))
        files.put(folder, "words-0", _words(shown))
        for number, (images, captions) in enumerate(maps.values()):
            files.put(folder, f"map-{number}", {"xy": files.coordinates(images, captions)})
        about["methods"] = [
            {"name": each} | _method(folder, number, shown, method)
            for number, (each, method) in enumerate(methods.items())
        ]
        about["missing"] = _missing(shown, methods, maps, unreadable)
        files.put_json(folder, "space", about)


def publish_site(profile_name: str) -> Path:
    """Copy a profile's page to `build/site/explorer`, in place of what is there; that folder.

    Raises:
        FileNotFoundError: If no notebook of the profile has left a space.
    """
    site = paths.BUILD / "site" / "explorer"
    with paths.published_folder(site) as folder:
        copy_page(profile_name, folder)
    return site


def is_there(profile_name: str) -> bool:
    """Whether a notebook of the profile has left a space."""
    return (folder_of(profile_name) / "spaces.js").is_file()


def copy_page(profile_name: str, folder: Path) -> None:
    """Copy a profile's page into a folder, with those thumbnails that are shown; see `publish_site`."""
    source = folder_of(profile_name)
    if not is_there(profile_name):
        raise FileNotFoundError(
            f"no space of profile {profile_name} to look around in: the ends of notebooks 05, 07, 08 and 09 "
            f"write them. Run `m5 run 05 07 08 09 --profile {profile_name} --force`."
        )
    folder.mkdir(exist_ok=True)
    for space in source.glob("space_*"):
        shutil.copytree(space, folder / space.name)
        sheets = files.get_json(space / "space.js")["thumbnails"]
        if sheets:
            shutil.copytree(source / sheets["folder"], folder / sheets["folder"], dirs_exist_ok=True)
    _put_page(folder)


def _put_page(page: Path) -> None:
    """Write the page's own files as they are now, and `spaces.js`, the list of the folders that are there."""
    for file in PAGE.iterdir():
        with paths.published(page / file.name) as part:
            shutil.copyfile(file, part)
    spaces = []
    for file in sorted(page.glob("space_*/space.js")):
        about = files.get_json(file)
        spaces.append({"folder": file.parent.name, "name": about["name"], "title": about["title"]})
    files.put_json(page, "spaces", spaces)


def _check(shown: Shown, methods: dict[str, Method], maps: Maps) -> None:
    expected = len(shown.names), len(shown.captions)
    parts = {f"method {name!r}": (each.images, each.captions) for name, each in methods.items()}
    parts |= {f"map {name!r}": each for name, each in maps.items()}
    for what, (images, captions) in parts.items():
        rows = len(images), 0 if captions is None else len(captions)
        if rows != expected:
            raise ValueError(f"{what}: expected {expected} rows of images and captions; got {rows}")
    for name, (images, captions) in maps.items():
        for rows in (images, captions):
            if rows is not None and (np.ndim(rows) != 2 or np.shape(rows)[1] != 2 or np.isinf(rows).any()):
                raise ValueError(
                    f"map {name!r}: expected (n, 2) finite coordinates, or NaN for what is not on it"
                )


def _missing(shown: Shown, methods: dict, maps: Maps, unreadable: list[str]) -> list[str]:
    """What the page cannot show, a line each."""
    lines = []
    if not shown.names:
        lines.append("There are no images: nothing can be drawn or found.")
    elif shown.is_query is not None and shown.is_query.all():
        lines.append("The gallery is empty: no method can answer.")
    if not maps:
        lines.append("There is no projection of this space: items can be searched and listed, not drawn.")
    if not methods:
        lines.append("There is no method: items can be looked at, not compared.")
    if len(methods) == 1:
        lines.append(f"There is one method only, {next(iter(methods))}: nothing stands beside it.")
    if shown.files is None:
        lines.append("The page was made without pictures; images are shown by their names.")
    if unreadable:
        some = ", ".join(unreadable[:3]) + (", …" if len(unreadable) > 3 else "")
        lines.append(f"{len(unreadable):,} of {len(shown.names):,} pictures cannot be read: {some}")
    return lines


# ---- what lies in it ----


def _items(shown: Shown) -> dict[str, np.ndarray | bytes]:
    """Names, captions and who belongs to whom."""
    nobody = np.zeros(0)
    return {
        "names": files.texts(shown.names),
        "captions": files.texts(shown.captions),
        "image_of": np.uint32(nobody if shown.image_of is None else shown.image_of),
        "labels": np.uint32(nobody if shown.labels is None else shown.labels),
        "is_query": np.uint8(nobody if shown.is_query is None else shown.is_query),
    }


def _words(shown: Shown) -> dict[str, np.ndarray | bytes]:
    """The words of the captions, to search for."""
    split = text.split(shown.captions)
    return {
        "vocabulary": files.texts(split.vocabulary),
        "words": np.uint32(split.of_caption),
        "starts": np.uint32(split.starts),
    }


def _method(folder: Path, number: int, shown: Shown, method: Method) -> dict[str, object]:
    """Write a method's answers, and its model of typed captions; what the page must know of them."""
    parts = _answers(shown, method)
    files.put(
        folder,
        f"method-{number}",
        {
            "items": np.uint32(np.concatenate([part.rows for part in parts])),
            "found": np.concatenate([_padded(np.uint32(part.found), files.NOTHING) for part in parts]),
            "scores": np.concatenate([_padded(part.scores, 0) for part in parts]),
            "ranks": np.uint32(np.concatenate([part.ranks for part in parts])),
        },
    )
    about = {"listed": sum(len(part.rows) for part in parts), "typed": None}
    if method.typed is not None:
        images = search.unit(method.images.cpu(), "image")
        bits = 16 if images.numel() <= ROUNDED_TO_16_BITS else 8
        rounded, scale = files.rounded(images, bits)
        packed = {"vocabulary": files.texts(method.typed.vocabulary), "images": rounded}
        packed["vectors"] = files.rounded(method.typed.vectors, 16)[0]  # only their direction counts
        files.put(folder, f"typed-{number}", packed)
        about["typed"] = {"dim": images.shape[1], "bits": bits, "scale": scale}
    return about


def _answers(shown: Shown, method: Method) -> list[answers.Answers]:
    """The answers of all that asks, in the page's numbers: captions come behind the images."""
    n_images = len(shown.names)
    nothing = answers.Answers(*(np.zeros(shape, np.float32) for shape in (0, (0, 1), (0, 1), 0)))
    if not n_images or (shown.is_query is not None and shown.is_query.all()):
        return [nothing]
    if method.captions is None:
        gallery = np.arange(n_images) if shown.is_query is None else np.flatnonzero(~shown.is_query)
        own = np.full(n_images, -1)
        own[gallery] = np.arange(len(gallery))
        labels = np.arange(n_images) if shown.labels is None else shown.labels
        of_gallery = method.images[gallery], labels[gallery]
        found = answers.first_answers(method.images, labels, *of_gallery, method.distance, own)
        return [replace(found, found=gallery[found.found])]
    if not shown.captions:
        return [nothing]
    images, captions = (method.images, np.arange(n_images)), (method.captions, shown.image_of)
    there = answers.first_answers(*images, *captions, method.distance)
    back = answers.first_answers(*captions, *images, method.distance)
    return [replace(there, found=there.found + n_images), replace(back, rows=back.rows + n_images)]


def _padded(rows: np.ndarray, value: int) -> np.ndarray:
    return np.pad(rows, ((0, 0), (0, answers.TOP - rows.shape[1])), constant_values=value)


def _drawn(shown: Shown, maps: Maps) -> bytes | None:
    """The first map as a PNG; of many items, some."""
    if not maps or not shown.names:
        return None
    name, (images, captions) = next(iter(maps.items()))
    if captions is None:
        some = np.flatnonzero(~np.isnan(images).any(axis=1))
        some = some[:: max(1, len(some) // PREVIEWED)]
        labels = np.zeros(len(images), dtype=np.int64) if shown.labels is None else shown.labels
        figure = plots.maps({name: images[some]}, labels[some], shown.classes or ("image",))
    else:
        there = ~np.isnan(captions).any(axis=1) & ~np.isnan(images).any(axis=1)[shown.image_of]
        some = np.flatnonzero(there)
        some = some[:: max(1, len(some) // PREVIEWED)]
        rows, image_of = np.unique(shown.image_of[some], return_inverse=True)
        figure = plots_of_pairs.pair_maps({name: (images[rows], captions[some])}, image_of)
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=100)
        return stream.getvalue()
