"""The README's tables are what the lab runs have written; its commands and links exist."""

import json
import re
from collections.abc import Callable

import pytest

from m5utils import paths
from m5utils.metrics import in_percent

README = (paths.ROOT / "README.md").read_text(encoding="utf-8")
LAB = paths.GENERATED / "lab"
SCENES = {"MAP": "map", "P@1": "precision@1", "P@5": "precision@5"}
WAYS = {"I2T": "image_to_text", "T2I": "text_to_image"}
CAPTIONS = {f"{short} R@{k}": f"{way}/recall@{k}" for short, way in WAYS.items() for k in (1, 10)}


def numbers_of(*notebooks: str) -> dict[str, float]:
    files = [json.loads((LAB / f"{nn}.json").read_text()) for nn in notebooks]
    return {key: value for numbers in files for key, value in numbers.items()}


def of_scenes() -> str:
    """All rows of MIT_split."""
    numbers = numbers_of("02", "03", "04")
    sizes = f"{numbers['n_query']} queries (test), gallery of {numbers['n_gallery']:,} (train)"
    title = (
        f"MIT_split, {sizes}, 8 classes, three seeds if something is trained. Percent ± standard deviation "
        "over seeds [95 % interval over queries]. Bold: the row chosen by its validation score, which stands "
        "in the last column."
    )
    return table(title, numbers, SCENES, "map", "MAP, validation")


def of_captions() -> str:
    """The rows of notebook 09, which reads whole captions, but for settings of the same row."""
    numbers = numbers_of("09")
    provenance = json.loads((LAB / "09.provenance.json").read_text())
    assert provenance["inputs"]["parameters"]["eval_split"] == "dev"
    title = (
        f"Flickr8k, dev list, all {numbers['n_query']:,} images against all {numbers['n_gallery']:,} "
        f"captions, {numbers['n_train']:,} images to train on, three seeds (one for deck…, an earlier "
        "group's models). R@K in percent ± standard deviation over seeds [95 % interval over images]. Bold: "
        "the row chosen by its validation score, the sum of six recalls, which stands in the last column."
    )
    return table(title, numbers, CAPTIONS, "recall_sum", "sum, validation")


def table(title: str, numbers: dict[str, float], metrics: dict[str, str], by: str, last: str) -> str:
    """Rows in the order of their validation scores, the chosen one bold, chance at the end."""
    end = f"/validation/{by}"
    scores = {key.removesuffix(end): value for key, value in numbers.items() if key.endswith(end)}
    names = sorted((name for name in scores if "/" not in name), key=lambda name: (-scores[name], name))
    lines = [title, "", f"| method | {' | '.join(metrics)} | {last} |", "|---" * (len(metrics) + 2) + "|"]
    for name in names:
        cells = [of(numbers, f"{name}/{metric}") for metric in metrics.values()]
        shown = f"**{name}**" if name == names[0] else name
        lines.append(f"| {shown} | {' | '.join(cells)} | {100 * scores[name]:.1f} |")
    chance = [f"{100 * numbers[f'chance/{metric}']:.1f}" for metric in metrics.values()]
    return "\n".join([*lines, f"| chance | {' | '.join(chance)} | |"])


def of(numbers: dict[str, float], key: str) -> str:
    mean, std, low, high = (numbers[key + what] for what in ("", "/std", "/low", "/high"))
    return in_percent(mean, std or None, low, high)  # 0: one seed, or nothing trained


@pytest.mark.parametrize(("task", "expected"), [("scenes", of_scenes), ("captions", of_captions)])
def test_the_tables_are_the_lab_runs(task: str, expected: Callable[[], str]):
    found = re.search(rf"<!-- results: {task} -->\n(.*?)\n<!-- end of results -->", README, re.DOTALL)
    assert found, "the markers are missing"
    assert found[1] == expected(), f"put this into the README:\n{expected()}"


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
