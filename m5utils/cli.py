"""`m5 ...`: reads the command line, calls the package, prints what went wrong. Thin."""

import re
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ProfileName = Annotated[str, typer.Option("--profile", help="demo (the default), lab or course.")]


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """What a user can mend is said in a sentence; anything else keeps its traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"m5: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


@app.callback()
def m5() -> None:
    """Image and image-text retrieval: run the notebooks, encode ahead of them, look what is there."""


@app.command()
def run(
    notebooks: Annotated[list[str] | None, typer.Argument(help="Numbers, 02 07 ...; all if none.")] = None,
    profile: ProfileName = "demo",
    parameters: Annotated[list[str] | None, typer.Option("-p", help="name=value; repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run them even if they are up to date.")] = False,
) -> None:
    """Bring the notebooks up to date: only what is stale, in order, several at once where there are cores.

    Logs and executed copies go to build/PROFILE, figures to figures/PROFILE, numbers and tables to
    report/generated/PROFILE. Stop it or kill it at any time: the same command goes on from there.

    On a cluster, a job script holds `m5 run --profile course` as it stands (one allocation, several cores).
    """
    from m5utils import run as runner

    with _errors_in_one_line():
        raise typer.Exit(runner.run(notebooks or [], profile, parameters or [], force))


@app.command()
def encode(
    profile: ProfileName = "demo",
    shard: Annotated[str, typer.Option(help="i/n: part i of 1..n, for a SLURM array.")] = "1/1",
) -> None:
    """Encode the profile's images and captions into the cache, or one part of them on each of n machines.

    sbatch --array=1-8 ... --wrap 'm5 encode --profile course --shard $SLURM_ARRAY_TASK_ID/8'
    """
    from m5utils import job

    with _errors_in_one_line():
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        part, parts = map(int, match.groups()) if match else (0, 0)
        if not 1 <= part <= parts:
            raise ValueError(f"--shard {shard}: expected i/n with 1 <= i <= n")
        job.encode(profile, part=part, parts=parts)


@app.command()
def explore(
    profile: ProfileName = "demo",
    show: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open it in a browser.")] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Ask BERT, or with a photograph; needs [explore].")
    ] = False,
) -> None:
    """Write the page to look around in, build/site/explorer, and open it: maps, answers, typed captions.

    It shows what notebooks 05, 07, 08 and 09 left, and needs no server and no network.
    """
    from m5utils import explorer, runtime

    if live:
        from m5utils import live as server

        with _errors_in_one_line():
            server.serve(profile, show=show)
        return
    with _errors_in_one_line():
        page = explorer.publish_site(runtime.profile(profile).name) / "index.html"
    print(page)
    if show and not webbrowser.open(page.as_uri()):
        print("no browser here: open that file in one", file=sys.stderr)


@app.command()
def site(profile: ProfileName = "demo") -> None:
    """Write build/site: the executed notebooks as web pages, an index of them, and the explorer."""
    from m5utils import runtime
    from m5utils import site as builder

    with _errors_in_one_line():
        print(builder.build(runtime.profile(profile).name) / "index.html")


AllowStale = Annotated[
    bool, typer.Option("--allow-stale", help="Warn where results are stale, instead of stopping.")
]


@app.command()
def report(
    profile: ProfileName = "demo",
    allow_stale: AllowStale = False,
    diff: Annotated[
        str | None, typer.Option("--diff", help="A git revision to compare the paper with.")
    ] = None,
) -> None:
    """Compile the paper and the slides, build/report/PROFILE/main.pdf and slides.pdf, from what was run."""
    from m5utils import paper

    with _errors_in_one_line():
        for pdf in paper.build(("main", "slides"), profile, allow_stale, diff):
            print(pdf)


@app.command()
def export(
    overleaf: Annotated[Path | None, typer.Option(help="A zip of the paper and the slides to write.")] = None,
    week: Annotated[int | None, typer.Option(help="4 or 5: the presentation of that week, as PDF.")] = None,
    profile: ProfileName = "demo",
    allow_stale: AllowStale = False,
) -> None:
    """Write a zip that Overleaf compiles as it is, or compile the presentation of a week."""
    from m5utils import paper

    with _errors_in_one_line():
        if (overleaf is None) == (week is None):
            raise ValueError("expected either --overleaf out.zip or --week 4|5")
        if overleaf is not None:
            paper.overleaf(overleaf.resolve(), profile, allow_stale)
            print(overleaf)
        elif week in (4, 5):
            print(*paper.build([f"week{week}"], profile, allow_stale))
        else:
            raise ValueError(f"--week {week}: expected 4 or 5")


@app.command()
def doctor(profile: ProfileName = "demo") -> None:
    """Say what is installed, found and missing, which kernel and device; exit 1 if the profile cannot run."""
    from m5utils import doctor as examiner

    with _errors_in_one_line():
        findings = examiner.examine(profile)
    for finding in findings:
        print(finding)
    raise typer.Exit(int(any(finding.state == "MISSING" for finding in findings)))


if __name__ == "__main__":
    app()
