"""Run the notebooks: what is stale, in order, several at once, each result whole or not there.

Knows the notebooks' order and Snakemake. Must not know what a notebook computes.

This process plans and starts Snakemake, Snakemake starts one job per notebook (`python -m m5utils.job`), a
job starts one kernel. Each ends when the one above it is gone, however that went.
"""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from m5utils import freshness, paths, report

# The results a notebook reads; beside them every notebook that uses embeddings waits for the encoding.
READS = {
    "12": ("01", "02", "03", "04", "05", "07", "08", "09"),
}
# Which starts first where there are cores for some only: the encoding, for which others wait; then what
# trains whole networks, which 05 shows and would wait for, the longest first; then what trains long. The
# short ones come at the end, where they leave no core without work for long.
FIRST = {"encoding": 6, "04": 5, "02": 4, "03": 4}
FIRST |= dict.fromkeys(("06", "07", "09", "10", "11"), 3)  # the others: 2
VERSIONS_OF = ("torch", "torchvision", "numpy", "scikit-learn", "pytorch-metric-learning", "umap-learn")

SNAKEMAKE = (
    "--nolock --rerun-incomplete --rerun-triggers mtime --keep-going --quiet all "
    "--scheduler greedy --latency-wait 60"
)


def notebooks() -> dict[str, Path]:
    """The notebooks by their two-digit number, in order.

    Raises:
        ValueError: If two have the same number.
        FileNotFoundError: If there are none.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if path.name[:2] in found:
            raise ValueError(f"{found[path.name[:2]].name} and {path.name} have the same number: rename one")
        found[path.name[:2]] = path
    if not found:
        raise FileNotFoundError(f"no notebook NN_topic.ipynb in {paths.NOTEBOOKS}")
    return found


def run(named: Sequence[str], profile_name: str, given: Sequence[str] = (), force: bool = False) -> int:
    """Bring the named notebooks (all if none) up to date and print the minutes of each.

    Args:
        named: Numbers such as "02".
        profile_name: One of `runtime.PROFILES`.
        given: Parameters as `name=value`; each must exist in every named notebook.
        force: Run them even if their results are up to date.

    Returns:
        0 if all named results are up to date now, 1 if a notebook failed.
    """
    folder = paths.BUILD / profile_name
    with paths.lock(folder / "run.lock", f"running the notebooks of {profile_name}"):
        plan = make_plan(named, profile_name, given, force)
        for note in plan["notes"]:
            print(note, flush=True)
        if plan["jobs"]:
            _clear(folder, plan)
            _snakemake(folder, plan)
        report.build_numbers(profile_name)
        return _tell(folder, plan)


# --- the plan ---------------------------------------------------------------------------------------------


def make_plan(named: Sequence[str], profile_name: str, given: Sequence[str], force: bool) -> dict:
    """What there is to do, as JSON: the jobs by name, and what the reader is told.

    A job holds its inputs and key, the parameters that are changed, the stamp it leaves, and the jobs it
    waits for.

    Raises:
        ValueError: If a notebook, profile or parameter is unknown, or a value does not fit its parameter.
        FileNotFoundError: If data that a named notebook uses is not there. If none is named, those whose data
            is there are run, and the others told.
    """
    found = notebooks()
    chosen = _chosen(named, found)
    changes = {number: _given_values(found[number], profile_name, given) for number in chosen}

    from m5utils import runtime  # imports torch, seconds: only this process needs it, and only from here on

    profile = runtime.profile(profile_name)
    jobs, notes, keys, without_data = {}, [], {}, {}
    for number in chosen:
        read = [earlier for earlier in READS.get(number, ()) if earlier in found]
        upstream = {other: keys.get(other) or freshness.standing(other, profile_name) for other in read}
        values = freshness.parameters(found[number]) | changes[number]
        try:
            inputs = freshness.inputs(found[number], profile, values, upstream)
        except FileNotFoundError as error:
            if named:
                raise
            without_data[number] = str(error)
            continue
        why = "--force" if force else freshness.why_stale(number, profile_name, inputs)
        keys[number] = paths.key_of(inputs)
        if why is None:
            continue
        notes.append(f"{found[number].stem}: {why}")
        absent = [other for other, key in upstream.items() if key is None]
        notes += [f"  it reads {', '.join(absent)}: no results yet"] if absent else []
        uses = sorted({key.partition("/")[0] for key in inputs["data"]})
        encodes = [f"encode_{name}" for name in uses] if "m5utils.embeddings" in inputs["modules"] else []
        jobs[number] = {
            "notebook": found[number].name,
            "inputs": inputs,
            "key": keys[number],
            "changes": changes[number],
            "stamp": f"{number}.{keys[number]}.ok",
            "after": encodes + [other for other in read if other in jobs],
            "priority": FIRST.get(number, 2),
        }
    if without_data and len(without_data) == len(chosen):
        raise FileNotFoundError(next(iter(without_data.values())))
    for encodes in sorted(
        {one for job in jobs.values() for one in job["after"] if one.startswith("encode_")}
    ):
        jobs[encodes] = {"stamp": f"{encodes}.ok", "after": [], "priority": FIRST["encoding"]}
    return {
        "profile": profile_name,
        "threads": profile.threads,
        "commit": runtime.commit(),
        "versions": runtime.versions(*VERSIONS_OF),
        "titles": {number: found[number].stem for number in chosen},
        "without_data": without_data,
        "jobs": jobs,
        "notes": notes,
    }


def _chosen(named: Sequence[str], found: dict[str, Path]) -> list[str]:
    chosen = sorted({name.zfill(2) for name in named}) or list(found)
    for number in chosen:
        if number not in found:
            raise ValueError(f"there is no notebook {number}; there are {', '.join(found)}")
    return chosen


def _given_values(notebook: Path, profile_name: str, given: Sequence[str]) -> dict[str, object]:
    """The values that differ from the notebook's own: the profile and the given `name=value`."""
    defaults = freshness.parameters(notebook)
    values: dict[str, object] = {"profile": profile_name} if "profile" in defaults else {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"-p {pair}: expected name=value")
        if name == "profile":
            raise ValueError(f"-p {pair}: the profile is given by --profile")
        if name not in defaults:
            raise ValueError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(defaults)}")
        values[name] = fitting(text, defaults[name], f"{notebook.name}: parameter {name}")
    return values


def fitting(text: str, default: object, where: str) -> object:
    """The value that `text` writes, of the default's type; an int will do for a float, anything for None.

    Example:
        >>> fitting("0.5", 0.2, "03: parameter margin")
        0.5
        >>> fitting("all", "hard", "03: parameter miner")
        'all'

    Raises:
        ValueError: If it is of another type.
    """
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(f"{where}: expected {type(default).__name__} like {default!r}, got {text!r}")
    return value


# --- the driver: Snakemake, and what became of it ----------------------------------------------------------


def _clear(folder: Path, plan: dict) -> None:
    """Remove the stamps of what is about to run, and what a killed run left half-written."""
    for name in plan["jobs"]:
        for stamp in folder.glob(f"{name}.*ok"):
            stamp.unlink()
        for place in (paths.FIGURES, paths.GENERATED):
            for part in (place / plan["profile"]).glob(f".{name}[._]*.part"):
                part.unlink(missing_ok=True)


def _snakemake(folder: Path, plan: dict) -> None:
    """Do the jobs; if this process is stopped or killed, so are they."""
    plan_file = folder / f"plan.{os.getpid()}.json"
    paths.publish_json(plan_file, plan)
    sources = folder / ".snakemake" / "sources"
    shutil.rmtree(sources, ignore_errors=True)  # a copy of the Snakefile that is never looked up again
    start = f"from m5utils import job; job.follow({os.getpid()}); from snakemake.cli import main; main()"
    command = [sys.executable, "-c", start, "--snakefile", str(paths.NOTEBOOKS / "Snakefile")]
    command += ["--directory", str(folder), "--config", f"plan={plan_file.name}", "--cores", str(_cores())]
    command += ["--runtime-source-cache-path", str(sources)]
    command += SNAKEMAKE.split()
    # Threads that wait sleep: two notebooks share the cores, and torch's would spin while the other has one.
    environment = os.environ | _absolute_settings() | {"OMP_WAIT_POLICY": "passive"}
    with _ended_by_signals():
        process = subprocess.Popen(command, env=environment)
        try:
            process.wait()
        finally:
            process.kill()  # after Ctrl-C or SIGTERM; otherwise it has ended by itself
            process.wait()
            plan_file.unlink(missing_ok=True)


def _cores() -> int:
    """The cores this process may use: on a cluster fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absolute_settings() -> dict[str, str]:
    """The `M5_*` folders as absolute paths: the jobs work in other folders than the one you are in."""
    values = {name: paths.setting(name) for name in (*paths.WHAT_IT_NAMES, "M5_CACHE")}
    return {name: str(Path(value).expanduser().resolve()) for name, value in values.items() if value}


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM (SLURM's time limit, `kill`) end this process the way Ctrl-C does: with clean-up."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(folder: Path, plan: dict) -> int:
    """Print what became of each notebook; 1 if one has no result."""
    worst = 0
    for number, title in plan["titles"].items():
        job = plan["jobs"].get(number)
        if number in plan["without_data"]:
            print(f"{title:28} not run: {plan['without_data'][number]}")
        elif job is None:
            print(f"{title:28} up to date")
        elif (folder / job["stamp"]).is_file():
            seconds = json.loads((folder / job["stamp"]).read_text(encoding="utf-8"))["seconds"]
            print(f"{title:28} {seconds / 60:5.1f} min")
        else:
            worst = 1
            stamps = {earlier: folder / plan["jobs"][earlier]["stamp"] for earlier in job["after"]}
            waits = [earlier for earlier, stamp in stamps.items() if not stamp.is_file()]
            print(f"{title:28} {'not run: it needs ' + ', '.join(waits) if waits else 'failed'}")
    return worst
