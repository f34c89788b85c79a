"""Wall-clock comparisons that survive a noisy machine."""

import time
from collections.abc import Callable


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each call: the least of several, taken in turns so that a busy spell hits all alike."""
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds
