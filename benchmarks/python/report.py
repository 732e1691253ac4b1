"""The table, the JSON and the picture of one run."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table
from timing import Spread


class Row(NamedTuple):
    """One contestant at one job."""

    front: str
    job: str
    clones: str
    who: str
    spread: Spread


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), cpu)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": pages,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load": os.getloadavg(),
    }


def table(rows: list[Row]) -> Table:
    """One line a contestant; the ratio is that of the job's first one (the peer) to it."""
    result = Table("front", "job", "clones", "who", "median ms", "quartiles", "ratio")
    peers: dict[tuple[str, str, str], float] = {}
    for row in rows:
        peers.setdefault(row[:3], row.spread.median)
    before = None
    for row in rows:
        low, median, high, _ = row.spread
        if before not in (None, row[:3]):
            result.add_section()
        names = row[:3] if before != row[:3] else ("", "", "")
        before = row[:3]
        ratio = f"{peers[row[:3]] / median:.1f}x"
        result.add_row(*names, row.who, f"{median:.3g}", f"{low:.3g} - {high:.3g}", ratio)
    return result
