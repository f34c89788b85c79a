"""From a notebook to the report: figures, tables and numbers, published together or not at all.

Knows files and LaTeX. Must not know what the numbers mean; how a figure looks belongs to `plots`.
"""

import hashlib
import io
import json
import math
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

from m5utils import paths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from m5utils.runtime import Run

KEY = re.compile(r"[A-Za-z0-9/@._-]+")  # what \csname takes as it is, whatever babel makes active
TOPIC = re.compile(r"[a-z0-9_]+")
# Metrics that are no fractions, printed as they are; beside them "recall_sum", six fractions added.
MEASURES = ("rank", "median_rank", "loss", "hubness", "modality_gap")
NUMERAL = re.compile(r"[-+−±–.,\d\s%\\]*")
ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$"}
)


class Outputs:
    """What one notebook hands to the report; nothing is written before `publish`.

    A class because the pieces of a notebook are collected over many cells and must appear together.

    In a notebook:
        out = report.Outputs(run)
        out.number("frozen/map", 0.954)
        out.figure(plots.curves(lines), "precision_recall")
        out.publish()
    """

    def __init__(self, run: "Run") -> None:
        """Start the outputs of `run`, which names the notebook and the profile."""
        self._run = run
        self._numbers: dict[str, float | int] = {}
        self._seconds: dict[str, float] = {}
        self._files: dict[Path, bytes] = {}
        self._photographs: set[Path] = set()

    def number(self, key: str, value: float) -> None:
        """Keep one result under `<method>/<setting>/<metric>`: a fraction (float) or a count (int).

        The metrics in `MEASURES` may have any finite value.

        Raises:
            ValueError: If the key is malformed or was used before, or the value is not finite, a fraction
                beyond 1 (percent are for print) or a negative count.
            TypeError: If the value is no number.
        """
        if not KEY.fullmatch(key):
            raise ValueError(f"number {key!r}: a key holds letters, digits and / @ . _ - only")
        if key in self._numbers:
            raise ValueError(f"number {key!r} was given before, as {self._numbers[key]}: use a key once")
        self._numbers[key] = _fraction_or_count(key, value)

    def numbers(self, values: dict[str, float]) -> None:
        """Keep several results, see `number`."""
        for key, value in values.items():
            self.number(key, value)

    def time(self, key: str, seconds: float) -> None:
        """Keep a duration in seconds; durations stand in a file of their own, outside every comparison."""
        self._seconds[key] = float(seconds)

    def figure(self, fig: "Figure", topic: str, photographs: bool = False) -> "Figure":
        """Keep a figure as `NN_topic.pdf` (for LaTeX) and `.png` (for reading).

        Args:
            fig: The figure, in its final size: LaTeX includes it unscaled.
            topic: Lower-case letters, digits and _.
            photographs: True if it shows a dataset's photographs or captions, which are not ours to hand on.

        Returns:
            The figure, closed in pyplot: as the last expression of a cell it is shown once.
        """
        import matplotlib.pyplot as plt

        folder = paths.FIGURES / self._run.profile.name
        for suffix in ("pdf", "png"):
            # without a date two runs give the same bytes; Type 42 fonts can be searched
            metadata = {"CreationDate": None} if suffix == "pdf" else None
            with plt.rc_context({"pdf.fonttype": 42}), io.BytesIO() as stream:
                fig.savefig(stream, format=suffix, dpi=200, metadata=metadata)
                path = self._keep(folder, topic, suffix, stream.getvalue())
            if photographs:
                self._photographs.add(path)
        plt.close(fig)
        return fig

    def table(self, dataframe: "pd.DataFrame", topic: str, caption: str) -> "pd.DataFrame":
        r"""Keep a table as `NN_topic.tex`, ready to \input; needs booktabs.

        Text is escaped, names and caption too: `%` and `_` print as themselves. Floats get three decimals,
        a missing value is a dash. An index without a name that only counts the rows is left out.

        Returns:
            The frame as it came, for the cell to show.
        """
        text = _latex_table(dataframe, caption, f"tab:{self._run.notebook}_{topic}")
        self._keep(paths.GENERATED / self._run.profile.name, topic, "tex", text.encode())
        return dataframe

    def publish(self) -> None:
        """Write everything: each file whole, and none if one of them cannot be written.

        The old provenance is withdrawn before, and the runner writes the new one after the notebook has
        ended: a run that is killed here has no provenance, so it is done again. Figures and tables of an
        earlier run that this one did not make are removed.
        """
        number, profile = self._run.notebook, self._run.profile.name
        generated, figures = paths.GENERATED / profile, paths.FIGURES / profile
        total = {"total": time.perf_counter() - self._run.started}
        seconds = {key: round(value, 3) for key, value in (self._seconds | total).items()}
        files = self._files | {
            generated / f"{number}.json": _json(self._numbers),
            generated / f"{number}.timing.json": _json(seconds),
        }
        with ExitStack() as all_or_none:
            for path, content in files.items():
                all_or_none.enter_context(paths.published(path)).write_bytes(content)
            (generated / f"{number}.provenance.json").unlink(missing_ok=True)
        for old in [*figures.glob(f"{number}_*"), *generated.glob(f"{number}_*.tex")]:
            if old not in files:
                old.unlink()
        paths.publish_json(outputs_file(number, profile), _record(files, self._photographs))

    def _keep(self, folder: Path, topic: str, suffix: str, content: bytes) -> Path:
        if not TOPIC.fullmatch(topic):
            raise ValueError(f"topic {topic!r}: expected lower-case letters, digits and _")
        path = folder / f"{self._run.notebook}_{topic}.{suffix}"
        if path in self._files:
            raise ValueError(f"{path.name} was made before: every topic is used once in a notebook")
        self._files[path] = content
        return path


def outputs_file(number: str, profile_name: str) -> Path:
    """Where `publish` lists what it wrote, for the runner to put into the provenance."""
    return paths.BUILD / profile_name / f"{number}.outputs.json"


def read_numbers(number: str, profile_name: str) -> dict[str, float]:
    """The published numbers of notebook `NN`, by key; none if it has not been run on this profile."""
    file = paths.GENERATED / profile_name / f"{number}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def build_numbers(profile_name: str) -> Path:
    r"""Merge every `NN.json` of a profile into `numbers.tex`, where \result{NN/key} finds it.

    Fractions become percent with one decimal, `MEASURES` keep three digits, counts stay as they are: the only
    place that formats.
    The file is left alone if it would not change.
    """
    folder = paths.GENERATED / profile_name
    lines = [
        f"% The numbers of profile {profile_name}, by notebook. Written by `m5 run`: do not edit.",
        rf"\providecommand{{\resultsprofile}}{{{profile_name}}}",
        r"\providecommand{\result}[1]{\ifcsname result@#1\endcsname\csname result@#1\endcsname\else",
        r"  \PackageError{m5results}{Unknown result '#1'}{Run the notebooks, or correct the key.}\fi}",
    ]
    for file in sorted(folder.glob("[0-9][0-9].json")):
        for key, value in sorted(json.loads(file.read_text(encoding="utf-8")).items()):
            lines.append(
                rf"\expandafter\def\csname result@{file.stem}/{key}\endcsname{{{_printed(key, value)}}}"
            )
    path, text = folder / "numbers.tex", "\n".join(lines) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with paths.published(path) as part:
            part.write_text(text, encoding="utf-8")
    return path


def _fraction_or_count(key: str, value: object) -> float | int:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"number {key!r}: expected a fraction (float) or a count (int), got {value!r}")
    if isinstance(value, Integral):
        if value < 0:
            raise ValueError(f"number {key!r}: a count is 0 or more, got {value}")
        return int(value)
    most = {"recall_sum": 6.0}.get(_metric(key), 1.0)
    if not math.isfinite(value) or (abs(value) > most and _metric(key) not in MEASURES):
        raise ValueError(f"number {key!r}: expected a fraction within -1 and 1 (no percent), got {value}")
    return float(value)


def _metric(key: str) -> str:
    """The last word of a key that is no statistic of it."""
    words = [word for word in key.split("/") if word not in ("std", "low", "high")]
    return words[-1] if words else ""


def _printed(key: str, value: float | int) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3g}" if _metric(key) in MEASURES else f"{100 * value:.1f}"


def _json(values: dict[str, float | int]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _record(files: dict[Path, bytes], photographs: set[Path]) -> dict[str, dict[str, object]]:
    return {
        path.relative_to(paths.ROOT).as_posix(): {
            "sha256": hashlib.sha256(content).hexdigest(),
            "photographs": path in photographs,
        }
        for path, content in files.items()
    }


def _latex_table(frame: "pd.DataFrame", caption: str, label: str) -> str:
    """A booktabs table; every text is escaped here, because Styler escapes before it formats, never after."""
    shown = frame.rename_axis(index=_latex, columns=_latex)
    style = shown.style.format(_latex).format_index(_latex, axis=0).format_index(_latex, axis=1)
    only_counts = frame.index.name is None and frame.index.equals(frame.reset_index(drop=True).index)
    if only_counts:
        style = style.hide(axis="index")
    index = "" if only_counts else "l" * frame.index.nlevels
    return style.to_latex(
        hrules=True,
        caption=_latex(caption),
        label=label,
        position="tbp",
        position_float="centering",
        column_format=index + "".join(_alignment(values) for _, values in frame.items()),
    )


def _alignment(values: Iterable[object]) -> str:
    return "r" if all(NUMERAL.fullmatch(_text(value)) for value in values) else "l"


def _text(value: object) -> str:
    """A cell as a reader sees it."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return "–" if math.isnan(value) else f"{value:.3f}"
    return "–" if value is None else str(value)


def _latex(value: object) -> str | None:
    """A cell or a name as LaTeX; an axis without a name stays without."""
    return None if value is None else _text(value).translate(ESCAPES)
