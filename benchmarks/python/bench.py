"""Ramet beside its peers, in one table: jobs in Python, and those of the C++ program, whose JSON is read.

``held``: clones stay alive, so each needs fresh memory. ``dropped``: each is freed before the next is made, and the
freeing counts. What a ratio compares is timed in turn. Writes the table's figures as JSON, and a picture.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path

import growth
import jobs
import plot
import report
import timing
from report import Row
from rich.console import Console

import ramet


def of_models(names: list[str], repeats: int) -> list[Row]:
    rows = []
    for name in names:
        if not growth.fits(jobs.LARGE.get(name, 0)):
            continue
        model = jobs.MODELS[name]()
        calls, nbytes = jobs.clones(model), jobs.nbytes_of(model)
        turns = min(repeats, 5) if name in jobs.LONG else repeats
        if nbytes < 1 << 30:
            held = timing.held(calls, turns, nbytes)
            rows += [Row("Python", name, "held", who, it) for who, it in held.items()]
        dropped = timing.dropped(calls, turns)
        rows += [Row("Python", name, "dropped", who, it) for who, it in dropped.items()]
        del model, calls
        gc.collect()
    return rows


def of_others(repeats: int) -> list[Row]:
    rows = []
    for count in 6, 48:
        calls, job = jobs.several(count), f"clones(layer, {count})"
        rows += [Row("Python", job, "dropped", who, it) for who, it in timing.dropped(calls, repeats).items()]
    for name, make in jobs.TIED.items():
        calls = jobs.catalogs(make())
        rows += [Row("Python", name, "", who, it) for who, it in timing.dropped(calls, min(repeats, 7)).items()]
    return rows


def of_cpp(path: Path) -> list[Row]:
    """The repetitions that the C++ program wrote; its names are job/who/clones."""
    times: dict[tuple[str, str, str], list[float]] = {}
    for entry in json.loads(path.read_text())["benchmarks"]:
        if entry["run_type"] == "iteration":
            job, who, clones = entry["name"].removesuffix("/manual_time").rsplit("/", 2)
            times.setdefault((job, clones, who), []).append(entry["real_time"])
    rows = [Row("C++", *key, timing.spread(taken)) for key, taken in times.items()]
    return sorted(rows, key=lambda row: (row.job, row.clones, *order_of(row.who)))


def order_of(who: str) -> tuple[int, str]:
    """The peer that ratios compare with comes first, the limit last."""
    first = ["Module::clone()", "a clone() a tensor", "Ramet"]
    return (first.index(who) if who in first else 4 if who.startswith("limit") else 3), who


def series(rows: list[Row], kind: str) -> plot.Series:
    """The points of a chart: of every contestant, by the number in the job's name."""
    result: plot.Series = {}
    limits: dict[float, float] = {}
    for row in rows:
        if not row.job.startswith(kind + " "):
            continue
        size = float(row.job.split()[1])
        if row.who.startswith("limit"):
            limits[size] = min(limits.get(size, row.spread.median), row.spread.median)
        else:
            result.setdefault(f"{row.who} ({row.front})", []).append((size, row.spread.median))
    if limits:
        result["best copy of the same bytes (C++)"] = list(limits.items())
    return {who: points for who, points in result.items() if points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="fewer jobs and repetitions: a minute or so")
    parser.add_argument("--cpp", type=Path, help="what the C++ program wrote by --benchmark_out")
    parser.add_argument("--limit", type=Path, help="the folder of limit.cpp, built; else its rows are left out")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="the folder for bench.json and bench.svg")
    options = parser.parse_args()
    if options.limit:
        sys.path.append(str(options.limit))
    before = report.machine()
    limit = ramet.memory.set_limit(2 << 30)
    repeats = 5 if options.quick else options.repeats
    names = [name for name in jobs.MODELS if not (options.quick and name in jobs.LONG)]
    grown = growth.rows(options.quick)
    rows = of_models(names, repeats) + of_others(repeats) + grown
    peaks = {} if options.quick else growth.peaks()
    if options.cpp:
        rows = of_cpp(options.cpp) + rows
    ramet.memory.set_limit(limit)
    console = Console(width=130)
    console.print(report.table([row for row in rows if not row.job.startswith(("modules ", "MiB "))]))
    console.print(report.table([row for row in rows if row.job.startswith(("modules ", "MiB "))]))
    for name, ratio in peaks.items():
        console.print(f"peak memory of a clone of {name}: {ratio:.3f} times its bytes")
    options.out.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": before,
        "load after": report.machine()["load"],
        "rows": [{**row._asdict(), "spread": row.spread._asdict()} for row in rows],
        "peaks": peaks,
    }
    (options.out / "bench.json").write_text(json.dumps(found, indent=1) + "\n")
    charts = [
        ("Dropped clones, by bytes", "MiB", series(rows, "MiB")),
        ("Dropped clones, by modules", "modules", series(rows, "modules")),
    ]
    (options.out / "bench.svg").write_text(plot.picture(charts))
    console.print(f"{before}; load after: {found['load after']}; written: {options.out}/bench.json, bench.svg")


if __name__ == "__main__":
    main()
