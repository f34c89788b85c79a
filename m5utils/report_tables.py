"""The tables that only the report has: the rows that matter, the chosen one bold, chance last; method cards.

Knows results by their keys and LaTeX. Must not know where the results lie or what LaTeX does with a table.
"""

import json
import re
from pathlib import Path

import pandas as pd

from m5utils import report
from m5utils.metrics import in_percent

# The rows: what the reader sees, and where its numbers stand. Settings are no rows.
SCENES = {
    "frozen": "02/frozen",
    "frozen, expanded": "02/expanded",
    "frozen, k-reciprocal": "02/k_reciprocal",
    "classifier, fine-tuned": "02/classifier",
    "siamese, head": "03/siamese",
    "siamese, fine-tuned": "03/siamese_finetuned",
    "triplet, head": "04/triplet",
    "triplet, fine-tuned": "04/triplet_finetuned",
    "quadruplet, head": "04/quadruplet",
    "supervised contrastive, head": "04/supcon",
    "supervised contrastive, fine-tuned": "04/supcon_finetuned",
    "head and fine-tuned": "04/both",
    "head and fine-tuned, expanded": "04/both_expanded",
}
OBJECTS = {
    "frozen": "06/frozen",
    "selection": "06/triplet_selection",
    "aggregation": "06/triplet_aggregation",
    "weighted": "06/triplet_weighted",
}
CAPTIONS = {
    "A, FastText": "07/deck_a",
    "B, FastText": "07/deck_b",
    "A, FastText, asked from the text": "08/deck_a_from_text",
    "B, FastText, asked from the text": "08/deck_b_from_text",
    "A, BERT": "09/deck_a_bert",
    "B, BERT": "09/deck_b_bert",
    "ours, FastText, mean": "07/step_6_info_nce",
    "ours, FastText, attention": "07/words_attention",
    "ours, FastText, attention, two sizes, decay": "07/fasttext_decay",
    "ours, tf-idf": "09/tfidf",
    "ours, BERT, mean": "09/bert_mean",
    "ours, BERT, four poolings": "09/bert_all",
    "ours, BERT, four poolings, decay": "09/bert_all_decay",
    "ours, BERT, four poolings, decay, three pairs": "09/bert_all_three",
    "ours, BERT and tf-idf, decay, three pairs": "09/bert_tfidf_three",
}
# The columns: what the reader sees, and the end of the key.
BY_CLASS = {"MAP": "map", "P@1": "precision@1", "P@5": "precision@5"}
BY_RULE = {rule: f"{rule}_full/map" for rule in ("selection", "aggregation", "weighted")}
BOTH_WAYS = {
    f"{short} R@{k}": f"{way}/recall@{k}"
    for short, way in (("I2T", "image_to_text"), ("T2I", "text_to_image"))
    for k in (1, 10)
}
# The tables: the paper's, and one per notebook for a week's presentation.
OF_OBJECTS = {"report_objects": OBJECTS}
OF_SCENES = {
    "report_scenes": SCENES,
    "slides_02": {
        "frozen": "02/frozen",
        "frozen, whitened": "02/whitened",
        "frozen, expanded": "02/expanded",
        "frozen, k-reciprocal": "02/k_reciprocal",
        "classifier, fine-tuned": "02/classifier",
    },
    "slides_03": {name: SCENES[name] for name in ("frozen", "siamese, head", "siamese, fine-tuned")},
    "slides_04": {name: key for name, key in SCENES.items() if key[:2] == "04" or name == "frozen"},
}
OF_CAPTIONS = {
    "report_captions": CAPTIONS,
    "slides_07": {name: key for name, key in CAPTIONS.items() if key[:2] == "07"},
    "slides_08": {name: key for name, key in CAPTIONS.items() if key[:2] == "08"}
    | {
        "ours, image to text only": "08/info_nce_image_to_text",
        "ours, text to image only": "08/info_nce_text_to_image",
        "ours, both": "08/info_nce_both",
    },
    "slides_09": {name: key for name, key in CAPTIONS.items() if key[:2] == "09"},
}
SHORT = {"map": "MAP, validation", "recall_sum": "sum, validation"}  # what rows are ordered by
NAMES = (*OF_OBJECTS, *OF_SCENES, *OF_CAPTIONS)
CODE = re.compile(r"(`[^`]*`|\$[^$]*\$)")
STYLES = {"**": "textbf", "*": "emph"}


def table(name: str, numbers: dict[str, float], splits: dict[str, str], seeds: int) -> str:
    r"""One of `NAMES` as LaTeX to \input.

    Args:
        name: Which table.
        numbers: The results, by notebook and key (`04/triplet/map`).
        splits: The split whose queries are reported on, of "scenes" and of "captions".
        seeds: Repetitions of what is trained.

    Raises:
        ValueError: If a number of the table is not there.
    """

    def count(key: str) -> str:
        return f"{_number(numbers, key):,}"

    about = f"Percent: mean over {seeds} seeds where something is trained"
    spread = not name.startswith("slides_")  # a slide has no room for it
    interval = f"{'± standard deviation over seeds ' if spread else ''}[95 % interval over queries]"
    order = "Rows stand in the order of their validation score, by which the one in bold is first"
    if name in OF_OBJECTS:
        caption = (
            "Objects: MAP by each rule (columns) of triplet heads trained by each rule (rows). "
            f"{count('06/n_query')} queries of COCO (test), gallery of {count('06/n_gallery')}, which lies "
            "in the training set. Percent: mean over the queries that have an answer and over "
            f"{seeds} seeds [95 % interval over queries]. Best of a column in bold."
        )
        return _table(_by_column(numbers, OF_OBJECTS[name], BY_RULE), caption, name)
    if name in OF_SCENES:
        caption = (
            f"Scenes, MIT_split: {count('02/n_query')} queries ({splits['scenes']}), gallery of "
            f"{count('02/n_gallery')} (train), {count('01/n_class')} classes. {about} {interval}. {order}."
        )
        return _table(_by_validation(numbers, OF_SCENES[name], BY_CLASS, "map", spread), caption, name)
    first = next(iter(OF_CAPTIONS[name].values()))[:2]
    caption = (
        f"Photographs and captions: all {count('07/n_query')} images and {count('07/n_gallery')} captions "
        f"({splits['captions']}) are queries, and each other's gallery; {count(f'{first}/n_train')} images "
        f"to train on. {about} (A and B: one) {interval}. {order}: R@1, 5, 10 both ways, added, at most 600."
    )
    return _table(_by_validation(numbers, OF_CAPTIONS[name], BOTH_WAYS, "recall_sum", spread), caption, name)


def _by_validation(
    numbers: dict[str, float], rows: dict[str, str], metrics: dict[str, str], by: str, spread: bool
) -> pd.DataFrame:
    """Cells as LaTeX, ordered by `<row>/validation/<by>`; the first row, which is chosen by it, is bold."""
    scores = {name: _number(numbers, f"{key}/validation/{by}") for name, key in rows.items()}
    lines = {}
    for name in sorted(rows, key=lambda name: -scores[name]):
        cells = {"method": name}
        cells |= {
            shown: _cell(numbers, f"{rows[name]}/{metric}", spread) for shown, metric in metrics.items()
        }
        cells[SHORT[by]] = f"{100 * scores[name]:.1f}"
        lines[name] = cells if lines else {column: _bold(cell) for column, cell in cells.items()}
    return pd.DataFrame([*lines.values(), _chance(numbers, rows, metrics)]).fillna("")


def _by_column(numbers: dict[str, float], rows: dict[str, str], metrics: dict[str, str]) -> pd.DataFrame:
    """Cells as LaTeX, without standard deviations; the best of every column is bold."""
    lines = {name: {"trained by": name} for name in rows}
    for shown, metric in metrics.items():
        best = max(rows, key=lambda name: _number(numbers, f"{rows[name]}/{metric}"))
        for name, key in rows.items():
            cell = _cell(numbers, f"{key}/{metric}", False)
            lines[name][shown] = _bold(cell) if name == best else cell
    chance = _chance(numbers, rows, metrics)
    return pd.DataFrame([*lines.values(), {"trained by": chance.pop("method")} | chance])


def _chance(numbers: dict[str, float], rows: dict[str, str], metrics: dict[str, str]) -> dict[str, str]:
    notebook = next(iter(rows.values())).partition("/")[0]
    levels = {shown: _number(numbers, f"{notebook}/chance/{metric}") for shown, metric in metrics.items()}
    return {"method": "chance"} | {shown: f"{100 * level:.1f}" for shown, level in levels.items()}


def _cell(numbers: dict[str, float], key: str, spread: bool) -> str:
    """Mean ± standard deviation [interval]; no deviation where there is none, one run or nothing trained."""
    mean, std, low, high = (_number(numbers, key + what) for what in ("", "/std", "/low", "/high"))
    return in_percent(mean, std if spread and std > 0 else None, low, high).replace("±", r"$\pm$")


def _number(numbers: dict[str, float], key: str) -> float:
    if key not in numbers:
        raise ValueError(f"a table of the report shows {key}, and no notebook produced it: run {key[:2]}")
    return numbers[key]


def _bold(cell: str) -> str:
    return rf"\textbf{{{cell}}}" if cell else cell


def _latex(text: str) -> str:
    return text.translate(report.ESCAPES)


def _table(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A booktabs table of cells that are LaTeX already."""
    style = frame.style.format_index(_latex, axis=1).hide(axis="index")
    return style.to_latex(
        hrules=True,
        caption=_latex(caption),
        label=f"tab:{label}",
        position="tbp",
        position_float="centering",
        column_format="l" + "r" * (frame.shape[1] - 1),
    )


# --- method cards -----------------------------------------------------------------------------------------


def card(notebook: Path) -> str:
    """A notebook's method card, the table below "| method card |", as LaTeX.

    Raises:
        ValueError: If the notebook has none.
    """
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        lines = "".join(cell["source"]).splitlines()
        start = next((place for place, line in enumerate(lines) if line.startswith("| method card |")), None)
        if cell["cell_type"] == "markdown" and start is not None:
            return _card(lines[start + 2 :])
    raise ValueError(f"{notebook.name} has no method card: a table that starts with `| method card |`")


def _card(lines: list[str]) -> str:
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        left, right = (part.strip() for part in line.strip().strip("|").split("|", 1))
        rows.append(rf"\textbf{{{_markdown(left)}}} & {_markdown(right)} \\")
    return "\n".join([r"\begin{tabular}{@{}lp{0.76\linewidth}@{}}", *rows, r"\end{tabular}", ""])


def _markdown(text: str) -> str:
    """Markdown's code, formulas, emphasis and links as LaTeX; everything else escaped."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    parts = CODE.split(text)
    for place, part in enumerate(parts):
        if part.startswith("`"):
            parts[place] = rf"\texttt{{{_latex(part.strip('`'))}}}"
        elif not part.startswith("$"):
            parts[place] = _emphasised(_latex(part))
    return "".join(parts)


def _emphasised(text: str) -> str:
    for mark, command in STYLES.items():
        text = re.sub(rf"{re.escape(mark)}(\S[^*]*?){re.escape(mark)}", rf"\\{command}{{\1}}", text)
    return text
