"""Calls timed in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ramet

MOST_HELD = 1 << 30


class Spread(NamedTuple):
    """Milliseconds of one call over a run: the quartiles, and how many calls."""

    low: float
    median: float
    high: float
    count: int


def spread(times: list[float]) -> Spread:
    low, median, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return Spread(low, median, high, len(times))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = call()
    return 1e3 * (time.perf_counter() - start), made


def dropped(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Spread]:
    """Each clone is freed before the next is made, and the time that takes counts."""
    times: dict[str, list[float]] = {who: [] for who in calls}
    gc.collect()
    for call in calls.values():
        call()
    for _ in range(repeats):
        for who, call in calls.items():
            times[who].append(timed(lambda call=call: call() and None)[0])
    return {who: spread(taken) for who, taken in times.items()}


def forget() -> None:
    """Gives what was freed back to the system: the next clones of every contestant need fresh memory."""
    ramet.memory.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def held(calls: dict[str, Callable[[], Any]], repeats: int, nbytes: int) -> dict[str, Spread]:
    """Clones stay alive, so that each needs fresh memory; the first round only makes the machine's pages warm."""
    rounds = max(1, min(repeats, MOST_HELD // max(1, nbytes * len(calls))))
    times: dict[str, list[float]] = {who: [] for who in calls}
    for warm in range(-rounds, repeats, rounds):
        gc.collect()
        made = []
        for _ in range(rounds):
            for who, call in calls.items():
                ms, clone = timed(call)
                made.append(clone)
                if warm >= 0:
                    times[who].append(ms)
        del made, clone
        forget()
    return {who: spread(taken) for who, taken in times.items()}
