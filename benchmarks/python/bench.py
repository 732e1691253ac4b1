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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", choices=MODELS, help="one model")
    options = parser.parse_args()
    table = Table("model", "clones", "job", "Ramet ms", "quartiles", "deepcopy ms", "quartiles", "ratio", "of means")
    for name, make in MODELS.items():
        if options.only not in (None, name):
            continue
        model = make()
        for hold in True, False:
            repeats = min(options.repeats, 7) if hold else options.repeats
            calls = [
                lambda m=model: copy.deepcopy(m),
                lambda m=model: ramet.clone(m),
                lambda m=model: ramet.clone(m, share=True),
            ]
            gc.collect()
            theirs, *ours = spreads(calls, repeats, hold)
            for job, mine in zip(("copy", "share=True"), ours, strict=True):
                cells = [f for it in (mine, theirs) for f in (f"{it.median:.2f}", f"{it.low:.2f}-{it.high:.2f}")]
                ratios = f"{theirs.median / mine.median:.1f}x", f"{theirs.mean / mine.mean:.1f}x"
                table.add_row(name, "held" if hold else "dropped", job, *cells, *ratios)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
