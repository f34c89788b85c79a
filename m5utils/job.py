"""One job of a run, in a process of its own: a notebook in a fresh kernel, or the encoding before them.

Knows papermill and the plan that `run` wrote. Must not know what is stale, or what a notebook computes.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from m5utils import freshness, paths, report

if TYPE_CHECKING:
    from torch import nn

    from m5utils.runtime import Profile


def follow(parent: int) -> None:
    """End this process as soon as `parent` is no longer the one that started it (it was killed, say)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def do_job(plan_file: Path, name: str) -> int:
    """Do one job of a plan in the current folder, `build/<profile>`; 0 if it went well.

    All output goes to `NN.log`; the terminal gets one line at the end.
    """
    plan = json.loads(plan_file.read_text(encoding="utf-8"))
    title, folder, log = plan["titles"].get(name, name), Path.cwd(), Path(f"{name}.log").resolve()
    terminal, started = _log_to(log), time.perf_counter()
    try:
        if name.startswith("encode_"):
            encode(plan["profile"], (name.removeprefix("encode_"),))
        else:
            _notebook(plan, name, folder)
    except BaseException as error:
        logging.exception("%s failed", title)
        print(f"{title} failed: {_last_line(error)}\n  log: {log}", file=terminal)
        partial = folder / f"{name}.partial.ipynb"
        if partial.is_file():
            print(f"  as far as it came: {partial}", file=terminal)
        return 1
    seconds = time.perf_counter() - started
    print(f"{title} done in {seconds / 60:.1f} min", file=terminal)
    paths.publish_json(folder / plan["jobs"][name]["stamp"], {"seconds": seconds})
    return 0


def _log_to(log: Path) -> TextIO:
    """Send this process's output to a file, and return the terminal (or what stood there before)."""
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return terminal


def _last_line(error: BaseException) -> str:
    """What went wrong, in a line: papermill's message is the whole traceback."""
    lines = [line for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines() if line.strip(" -")]
    return lines[-1] if lines else type(error).__name__


def _notebook(plan: dict, number: str, folder: Path) -> None:
    """Execute a notebook and, last of all, write the provenance of what it published."""
    job, profile_name = plan["jobs"][number], plan["profile"]
    outputs = report.outputs_file(number, profile_name)
    outputs.unlink(missing_ok=True)
    execute(paths.NOTEBOOKS / job["notebook"], job["changes"], folder)
    if not outputs.is_file():
        raise ValueError(f"{job['notebook']} published nothing: its last code cell must call out.publish()")
    provenance = {part: plan[part] for part in ("profile", "commit", "versions")}
    provenance |= {"key": job["key"], "inputs": job["inputs"]}
    provenance["outputs"] = json.loads(outputs.read_text(encoding="utf-8"))
    paths.publish_json(freshness.provenance_file(number, profile_name), provenance)


def execute(notebook: Path, changes: dict[str, object], folder: Path) -> Path:
    """Execute a notebook into `folder/NN.ipynb`, in a kernel of this interpreter.

    Papermill writes in place: until the end the copy is `NN.partial.ipynb`, and stays so if a cell fails.
    """
    # papermill's jsonschema would import this to check web addresses: two seconds, for a grammar of them.
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill

    number = notebook.name[:2]
    partial, whole = folder / f"{number}.partial.ipynb", folder / f"{number}.ipynb"
    partial.unlink(missing_ok=True)
    _use_own_kernel(folder / "jupyter")
    os.environ["M5_EXECUTED_IN"] = str(folder)  # links in a notebook start from where it will lie
    papermill.execute_notebook(
        notebook,
        partial,
        parameters=changes,
        kernel_name="python3",
        language="python",
        cwd=notebook.parent,
        progress_bar=False,
        log_output=True,
    )
    return partial.replace(whole)


def _use_own_kernel(folder: Path) -> None:
    """Let `python3` mean this interpreter, whatever kernels of that name the user or the server has."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    paths.publish_json(folder / "kernels" / "python3" / "kernel.json", spec)
    os.environ["JUPYTER_PATH"] = str(folder)  # comes before every other place


def encode(profile_name: str, names: Sequence[str] = (), part: int = 1, parts: int = 1) -> None:
    """Encode the images and captions of a profile into the cache: all, or part 1..`parts` on each machine.

    Images that cannot be read are counted here; a notebook decides what to do about them.

    Args:
        profile_name: One of `runtime.PROFILES`.
        names: Of datasets, "mit_split", "captions" or "coco_retrieval"; by default all whose data is there.
        part: Which part.
        parts: Of how many.

    Raises:
        FileNotFoundError: If data of a named dataset, or of every dataset, is missing.
    """
    from m5utils import box_descriptors, embeddings, object_descriptors, runtime
    from m5utils.datasets import captions, coco_retrieval, entities, mit_split
    from m5utils.encoders import bert

    profile, missing = runtime.profile(profile_name), []
    runtime.use_machine(profile.threads)
    datasets = {
        "mit_split": mit_split.for_profile,
        "captions": captions.for_profile,
        "coco_retrieval": coco_retrieval.for_profile,
    }
    sources = {
        "mit_split": lambda split: embeddings.sources(profile, training=split == "train"),
        "captions": lambda _: embeddings.plain_sources(profile) + _views(profile),
        "coco_retrieval": lambda _: object_descriptors.sources(profile),
    }
    for name in names or datasets:
        try:
            splits = datasets[name](profile)
        except FileNotFoundError as error:
            missing.append(error)
            if names or len(missing) == len(datasets):
                raise
            print(f"{name}: not encoded: {error}")
            continue
        work = [(split, listed, sources[name](split)) for split, listed in splits.items()]
        if name == "captions":
            language = bert.bert_encoder(profile.language_model)
            for split, listed in splits.items():
                texts = embeddings.encode_texts(language, listed.captions, (part, parts))
                print(f"captions/{split}, {language}, part {part}/{parts}: {len(texts)} captions")
            of_boxes, phrased = [box_descriptors.source(profile)], entities.with_boxes(profile)
            work += [(f"phrases/{split}", listed, of_boxes) for split, listed in phrased.items()]
        for split, listed, encoders in work:
            for source in encoders:
                done = embeddings.encode(source, listed, on_bad_image="skip", part=(part, parts))
                bad = f", {len(done.bad)} cannot be read" if done.bad else ""
                print(f"{name}/{split}, {source}, part {part}/{parts}: {len(done.kept)} images{bad}")


def _views(profile: "Profile") -> list["nn.Module"]:
    """The views that notebook 10 averages, without the plain one, which others need; none without weights."""
    from m5utils import view_descriptors

    try:
        return view_descriptors.sources(profile)[-1:]
    except FileNotFoundError as error:
        print(f"captions: views are not encoded: {error}")
        return []


if __name__ == "__main__":
    parent, plan_name, job_name = sys.argv[1:]
    follow(int(parent))
    sys.exit(do_job(Path(plan_name), job_name))
