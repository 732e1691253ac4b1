"""How time grows with bytes and with modules, and what memory a clone takes at its peak."""

from __future__ import annotations

import copy
from pathlib import Path

import jobs
import timing
from report import Row
from torch import nn

import ramet

GIB = 1 << 30


def available() -> int:
    """Bytes that the machine could give now."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return 4 * GIB
    return next(int(line.split()[1]) << 10 for line in info.open() if line.startswith("MemAvailable"))


def fits(nbytes: int) -> bool:
    """Whether a model of so many bytes and one clone can be had, beside what the last clone left in the cache."""
    return 2.4 * nbytes < available()


def calls(model: nn.Module) -> jobs.Calls:
    return {jobs.DEEPCOPY: lambda: copy.deepcopy(model), "Ramet": lambda: ramet.clone(model)}


def rows(quick: bool) -> list[Row]:
    """The jobs are named as those of the C++ program: "modules N" and "MiB N"."""
    result = []
    for count in [1000] if quick else [100, 1000, 10_000, 50_000]:
        model = jobs.tiny_layers(count)
        for who, spread in timing.dropped(calls(model), 3 if count > 10_000 else 7).items():
            result.append(Row("Python", f"modules {count}", "dropped", who, spread))
    for mib in [64] if quick else [1, 4, 16, 64, 256, 1024, 8192]:
        if not fits(mib << 20):
            continue
        model = jobs.of_bytes(mib << 20)
        for who, spread in timing.dropped(calls(model), 2 if mib > 1024 else 7).items():
            result.append(Row("Python", f"MiB {mib}", "dropped", who, spread))
    return result


def resident(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith(field))


def peaks() -> dict[str, float]:
    """Peak memory of a clone over the bytes of its tensors, by the process's resident pages."""
    result = {}
    for name in "ResNet-50", "nn.Transformer", "1 GiB":
        if not fits(jobs.LARGE.get(name, 0)):
            continue
        model = jobs.MODELS[name]()
        ramet.clone(model)
        ramet.memory.empty_cache()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        clone = ramet.clone(model)
        result[name] = (resident("VmHWM") - before) / jobs.nbytes_of(model)
        del clone
        ramet.memory.empty_cache()
    return result
