"""Ramet beside ``copy.deepcopy``: medians of one run, the two in turn.

``held``: clones stay alive, so each needs fresh memory. ``dropped``: each is freed before the next is made.

Of many small modules ``deepcopy`` sets off a full garbage collection at every second call or so, and then takes twice
as long. A median shows one of the two cases, whichever was more frequent in the run; the ratio of means counts both.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import ramet

# A torchvision made for another build of torch lacks two compiled operators; its models do not use them.
TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def tiny_layers() -> nn.Module:
    return nn.Sequential(*[nn.Linear(8, 8) for _ in range(2000)])


def tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=37)
    )


def tiny_t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=37, num_layers=3, num_heads=4))


def resnet50() -> nn.Module:
    from torchvision.models import resnet50 as make

    return make()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "2000 Linear(8, 8)": tiny_layers,
    "tiny BERT": tiny_bert,
    "tiny T5": tiny_t5,
    "ResNet-50": resnet50,
    "nn.Transformer": nn.Transformer,
}


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = call()
    return 1e3 * (time.perf_counter() - start), made


class Spread(NamedTuple):
    """Milliseconds of one call over a run."""

    low: float
    median: float
    high: float
    mean: float


def spreads(calls: list[Callable[[], Any]], repeats: int, hold: bool) -> list[Spread]:
    """Times each call `repeats` times, the calls made in turn."""
    times: list[list[float]] = [[] for _ in calls]
    held = []
    for _ in range(repeats):
        for call, taken in zip(calls, times, strict=True):
            ms, made = timed(call)
            taken.append(ms)
            if hold:
                held.append(made)
            del made
    return [Spread(*statistics.quantiles(taken, n=4), statistics.fmean(taken)) for taken in times]


def in_cells(mine: Spread, theirs: Spread) -> list[str]:
    """The cells of a table for two spreads: each median with its quartiles."""
    return [text for it in (mine, theirs) for text in (f"{it.median:.2f}", f"{it.low:.2f}-{it.high:.2f}")]


def in_pairs(first: list[nn.Module], second: list[nn.Module]) -> nn.Module:
    """A model whose layers are tied two by two."""
    for a, b in zip(first, second, strict=True):
        b.weight = a.weight
    return nn.ModuleList([nn.ModuleList(first), nn.ModuleList(second)])


def parameters_in_pairs() -> nn.Module:
    parameters = [nn.Parameter(torch.ones(8)) for _ in range(4000)]
    return nn.ModuleList([nn.ParameterList(parameters), nn.ParameterList(parameters)])


TIED: dict[str, Callable[[], nn.Module]] = {
    "8000 names in 4000 ties, of 8000 modules": lambda: in_pairs(
        [nn.Embedding(8, 8) for _ in range(4000)], [nn.Linear(8, 8, bias=False) for _ in range(4000)]
    ),
    "8000 names in 4000 ties, of 2 modules": parameters_in_pairs,
}


def catalogs(repeats: int) -> Table:
    """The catalog beside accelerate's list of tied parameters; both give every tie as Python objects."""
    from accelerate.utils import find_tied_parameters

    table = Table("catalog", "Ramet ms", "quartiles", "accelerate ms", "quartiles", "ratio", "Ramet us a module")
    for name, make in TIED.items():
        model = make()
        assert len(ramet.catalog(model)) == len(find_tied_parameters(model)) == 4000
        calls = [lambda m=model: find_tied_parameters(m), lambda m=model: list(ramet.catalog(m))]
        theirs, mine = spreads(calls, repeats, hold=False)
        modules = sum(1 for _ in model.modules())
        ratio, each = f"{theirs.median / mine.median:.1f}x", f"{1e3 * mine.median / modules:.2f}"
        table.add_row(name, *in_cells(mine, theirs), ratio, each)
    return table


def growth(repeats: int) -> Table:
    """Microseconds a module, from few to many, each with two small parameters."""
    table = Table("modules", "share us", "copy us", "catalog us")
    for count in (100, 1000, 10_000, 50_000):
        model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(count)])
        jobs = [
            lambda m=model: ramet.clone(m, share=True),
            lambda m=model: ramet.clone(m),
            lambda m=model: ramet.catalog(m),
        ]
        medians = [f"{1e3 * it.median / count:.2f}" for it in spreads(jobs, repeats, hold=False)]
        table.add_row(str(count), *medians)
    return table


def clones_table(repeats_dropped: int, only: str | None) -> Table:
    """Clones beside copy.deepcopy's."""
    table = Table("model", "clones", "job", "Ramet ms", "quartiles", "deepcopy ms", "quartiles", "ratio", "of means")
    for name, make in MODELS.items():
        if only not in (None, name):
            continue
        model = make()
        for hold in True, False:
            repeats = min(repeats_dropped, 7) if hold else repeats_dropped
            calls = [
                lambda m=model: copy.deepcopy(m),
                lambda m=model: ramet.clone(m),
                lambda m=model: ramet.clone(m, share=True),
            ]
            gc.collect()
            theirs, *ours = spreads(calls, repeats, hold)
            for job, mine in zip(("copy", "share=True"), ours, strict=True):
                ratios = f"{theirs.median / mine.median:.1f}x", f"{theirs.mean / mine.mean:.1f}x"
                table.add_row(name, "held" if hold else "dropped", job, *in_cells(mine, theirs), *ratios)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", choices=[*MODELS, "catalog", "growth"], help="one model, or one of the other tables")
    options = parser.parse_args()
    console = Console(width=130)
    if options.only not in ("catalog", "growth"):
        console.print(clones_table(options.repeats, options.only))
    if options.only in (None, "catalog"):
        console.print(catalogs(options.repeats))
    if options.only in (None, "growth"):
        console.print(growth(options.repeats))


if __name__ == "__main__":
    main()
