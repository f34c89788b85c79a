"""`make bench`: every speed and memory comparison, as a table and as report/generated/bench.json.

    python -m tests.benchmarks [metrics search encode ...]

Ratios are measured within one process, on the threads of the profiles. Naming some runs only those and
writes nothing.
"""

import importlib
import sys

from m5utils import paths, runtime

BENCHMARKS = (
    "metrics",
    "search",
    "ranks",
    "heads",
    "text",
    "encode",
    "objects",
    "explorer",
)  # bench_<name>.py, each with run() -> dict[str, float]
# At least, or at most. A missed target is printed as such; a benchmark is a measurement, not a test.
AT_LEAST = {
    "ap_mit/sklearn_over_ours": 10,
    "encode/fraction_of_forward": 0.93,
    "ranks_5k/faiss_over_ours": 1.5,
    "ranks_5k/sklearn_over_ours": 2.8,
    "ranks_5k/loop_over_ours": 6,
    "train_heads/fraction_of_floor": 0.8,
    "train_heads/deck_step_over_ours": 1500,
    "fasttext/captions_per_second": 20_000,
    "bert/fraction_of_forward": 0.9,
    "coco_triplet/fraction_of_floor": 0.5,
}
AT_MOST = {
    "topk_5k/ours_over_best_library": 1.1,
    "ranks_5k/ours_over_matmul": 1.25,
    "ranks_val2014/ours_over_matmul": 1.5,
    "ranks_val2014/extra_mb": 600,
    "train_heads/minutes_4_epochs_coco": 5,
    "coco_relevance/seconds": 5,
    "coco_relevance/extra_mb": 100,
    "explorer_740k/seconds_to_make": 60,
    "explorer_740k/extra_mb": 2000,
    "explorer_740k/page_mb": 150,
    "explorer_740k/seconds_until_ready": 4,
    "explorer_740k/ms_per_redraw": 30,
    "explorer_740k/ms_per_search": 100,
    "explorer_740k/ms_per_word_search": 100,
}


def verdict(key: str, value: float) -> str:
    """The target of a key, if it has one, and whether the value misses it."""
    for sign, targets, missed in (
        (">=", AT_LEAST, value < AT_LEAST.get(key, value)),
        ("<=", AT_MOST, value > AT_MOST.get(key, value)),
    ):
        if key in targets:
            return f"{sign} {targets[key]}" + ("  MISSED" if missed else "")
    return ""


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise SystemExit(f"expected benchmarks out of {', '.join(BENCHMARKS)}; got {', '.join(unknown)}")
    # All are imported before the first runs: a missing one is an error now, not in ten minutes, and the
    # libraries they load are there when the threads are pinned.
    benchmarks = [importlib.import_module(f"tests.benchmarks.bench_{name}") for name in names or BENCHMARKS]
    runtime.use_machine(runtime.profile("demo").threads)
    runtime.seed_everything(0)
    found: dict[str, float] = {}
    for benchmark in benchmarks:
        print(f"{benchmark.__name__.rpartition('.')[2]}: {benchmark.__doc__.splitlines()[0]}", flush=True)
        values = benchmark.run()
        repeated = sorted(values.keys() & found.keys())
        if not values or repeated:
            raise SystemExit(f"{benchmark.__name__} returned no values, or some again: {repeated}")
        for key, value in values.items():
            print(f"  {key:<45} {value:>10.4g}  {verdict(key, value)}".rstrip(), flush=True)
        found |= values
    if not names:
        paths.publish_json(paths.GENERATED / "bench.json", found)
        print(f"{len(found)} values in {paths.GENERATED / 'bench.json'}")


if __name__ == "__main__":
    main(sys.argv[1:])
