"""The README's table is what the lab run has written; its commands and links exist."""

import json
import re

import pytest

from m5utils import paths

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
LAB = paths.GENERATED / "lab"
METRICS = {"MAP": "map", "P@1": "precision@1", "P@5": "precision@5"}


def table() -> str:
    """The markdown between the markers of the README: all rows, best validation score first."""
    of_notebook = {nn: json.loads((LAB / f"{nn}.json").read_text()) for nn in ("02", "03", "04", "12")}
    numbers = {key: value for nn in ("02", "03", "04") for key, value in of_notebook[nn].items()}
    names = [key.removesuffix("/map/std") for key in numbers if key.endswith("/map/std")]
    names.sort(key=lambda name: -numbers[f"{name}/validation/map"])
    best = of_notebook["12"]["best/mit_split/map"]
    sizes = f"{numbers['n_query']} queries (test), gallery of {numbers['n_gallery']:,} (train)"
    lines = [
        f"MIT_split, {sizes}, 8 classes, three seeds if something is trained. Percent ± standard deviation "
        "over seeds [95 % interval over queries]. Bold: the row chosen by its validation score, which stands "
        "in the last column.",
        "",
        f"| method | {' | '.join(METRICS)} | MAP, validation |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = [of(numbers, f"{name}/{metric}") for metric in METRICS.values()]
        title = f"**{name}**" if numbers[f"{name}/map"] == best else name
        lines.append(f"| {title} | {' | '.join(cells)} | {100 * numbers[f'{name}/validation/map']:.1f} |")
    chance = [f"{100 * numbers[f'chance/{metric}']:.1f}" for metric in METRICS.values()]
    return "\n".join([*lines, f"| chance | {' | '.join(chance)} | |"])


def of(numbers: dict[str, float], key: str) -> str:
    mean, std, low, high = (100 * numbers[key + what] for what in ("", "/std", "/low", "/high"))
    return f"{mean:.1f} ± {std:.1f} [{low:.1f}, {high:.1f}]"


def test_the_table_is_the_lab_runs():
    found = re.search(r"<!-- results: lab -->\n(.*?)\n<!-- end of results -->", README, re.DOTALL)
    assert found, "the markers are missing"
    assert found[1] == table(), f"put this into the README:\n{table()}"


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) >= 8
    for link in links:
        assert (paths.ROOT / link).exists(), link


@pytest.mark.parametrize(
    "command", ["make run", "make test", "make setup", "m5 run", "m5 encode", "m5 doctor"]
)
def test_commands_of_the_readme_exist(command):
    assert command in README
    program, word = command.split()
    source = paths.ROOT / ("Makefile" if program == "make" else "m5utils/cli.py")
    pattern = rf"(?m)^{word}:" if program == "make" else rf"(?m)^def {word}\("
    assert re.search(pattern, source.read_text(encoding="utf-8"))


def test_every_command_that_the_readme_names_exists():
    named = set(re.findall(r"\b(make|m5) ([a-z]+)", README))
    assert len(named) >= 6
    sources = {"make": "Makefile", "m5": "m5utils/cli.py"}
    texts = {program: (paths.ROOT / file).read_text(encoding="utf-8") for program, file in sources.items()}
    for program, word in named:
        assert re.search(rf"(?m)^(def )?{word}[:(]", texts[program]), f"{program} {word}"
