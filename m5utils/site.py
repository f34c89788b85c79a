"""The executed notebooks as web pages, an index of them and the explorer, as one folder that can be sent on.

Knows executed notebooks and HTML. Must not run a notebook. Nothing on its pages comes from elsewhere.
"""

import html
import json
import re
from pathlib import Path

from PIL import Image

from m5utils import explorer, paths, run

MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
THUMBNAIL = 320  # pixels
STYLE = """
:root { color-scheme: light; }
body { max-width: 62rem; margin: 0 auto; padding: 1rem; }
body { color: #1a1a1a; font: 16px/1.5 system-ui, sans-serif; }
pre { overflow-x: auto; font-size: .85rem; line-height: 1.35; }
.highlight pre { background: #f5f5f5; padding: .6rem; border-left: 3px solid #c9c9c9; }
.jp-InputPrompt, .jp-OutputPrompt, .prompt, .anchor-link { display: none; }
.output_area img, .jp-OutputArea img, img { max-width: 100%; height: auto; }
.table, .dataframe, .output_html { overflow-x: auto; display: block; }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0; }
th, td { border-bottom: 1px solid #c9c9c9; padding: .15rem .5rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.text_cell_render td, .text_cell_render th { text-align: left; }
ul.index { display: grid; gap: 1rem; padding: 0; }
ul.index { grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
ul.index li { list-style: none; border: 1px solid #c9c9c9; padding: .6rem; }
ul.index img { display: block; width: 100%; height: 11rem; object-fit: contain; }
"""


def build(profile_name: str) -> Path:
    """Write `build/site`, in place of what is there, from what a run of a profile left.

    Returns:
        Its folder; `index.html` in it is where to begin.

    Raises:
        FileNotFoundError: If no notebook of this profile has been executed here.
    """
    found = {number: paths.BUILD / profile_name / f"{number}.ipynb" for number in run.notebooks()}
    executed = {number: file for number, file in found.items() if file.is_file()}
    if not executed:
        raise FileNotFoundError(
            f"no executed notebook in {paths.BUILD / profile_name}: run `m5 run --profile {profile_name}`, "
            "with --force if it says that all are up to date (committed results come without notebooks)."
        )
    names = {number: run.notebooks()[number].stem for number in executed}
    with paths.published_folder(paths.BUILD / "site") as folder:
        for number, file in executed.items():
            page = _page(names[number], _body(file))
            (folder / f"{names[number]}.html").write_text(page, encoding="utf-8")
        if explorer.is_there(profile_name):
            explorer.copy_page(profile_name, folder / "explorer")
        index = _index(profile_name, names, folder)
        (folder / "index.html").write_text(_page(f"m5utils · {profile_name}", index), encoding="utf-8")
    return paths.BUILD / "site"


def _page(title: str, body: str) -> str:
    """A whole page. Its policy lets nothing in from elsewhere, and runs no script."""
    policy = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<title>{html.escape(title)}</title><link rel="icon" href="data:,">\n'
        f"<style>{STYLE}{_colours()}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _colours() -> str:
    from pygments.formatters import HtmlFormatter

    return HtmlFormatter(style="friendly").get_style_defs(".highlight")


def _body(notebook: Path) -> str:
    """An executed notebook as HTML: formulas as MathML, links to notebooks as links to their pages."""
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _with_formulas(cell.source)
    body, _ = HTMLExporter(template_name="basic", embed_images=False).from_notebook_node(content)
    body = re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)
    return '<p><a href="index.html">All notebooks</a></p>\n' + body


def _with_formulas(markdown: str) -> str:
    """Markdown whose formulas are MathML, which browsers draw by themselves; code stays as it is."""
    from latex2mathml.converter import convert

    parts = CODE.split(markdown)
    for place in range(0, len(parts), 2):
        parts[place] = MATH.sub(
            lambda found: convert(found[1] or found[2], display="block" if found[1] else "inline"),
            parts[place],
        )
    return "".join(parts)


def _index(profile_name: str, names: dict[str, str], folder: Path) -> str:
    """A list of the notebooks, each with its title, its question and its first figure."""
    entries = []
    for number, name in names.items():
        first = json.loads(run.notebooks()[number].read_text(encoding="utf-8"))["cells"][0]
        lines = "".join(first["source"]).splitlines()
        title = html.escape(lines[0].lstrip("# "))
        question = next((line for line in lines if line.startswith("**Question.**")), "")
        picture = _thumbnail(profile_name, number, folder)
        entries.append(
            f'<li><a href="{name}.html">{picture}{title}</a>'
            f"<p>{html.escape(question.removeprefix('**Question.** '))}</p></li>"
        )
    absent = [file.stem for number, file in run.notebooks().items() if number not in names]
    note = f"<p>Not executed here: {', '.join(absent)}.</p>" if absent else ""
    about = "The drawn world: numbers on it are checks, no results." if profile_name == "demo" else ""
    look = '<p><a href="explorer/index.html">The explorer: look around in the spaces</a></p>\n'
    return (
        f"<h1>Image retrieval and image–text retrieval</h1>\n<p>Profile {profile_name}. {about}</p>\n"
        f"{look if (folder / 'explorer').is_dir() else ''}"
        f'{note}<ul class="index">\n' + "\n".join(entries) + "\n</ul>"
    )


def _thumbnail(profile_name: str, number: str, folder: Path) -> str:
    """The notebook's first figure by name, small; nothing if it has none."""
    figures = sorted((paths.FIGURES / profile_name).glob(f"{number}_*.png"))
    if not figures:
        return ""
    with Image.open(figures[0]) as figure:
        figure.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
        (folder / "thumbnails").mkdir(exist_ok=True)
        figure.save(folder / "thumbnails" / f"{number}.png")
    return f'<img src="thumbnails/{number}.png" alt="A figure of notebook {number}">'
