"""Clones real models in every way that Ramet has, checks each claim, and times it beside ``copy.deepcopy``.

Random weights of the real architectures; nothing is downloaded. Exits with 1 if any check fails.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import ramet

# A torchvision made for another build of torch lacks two compiled operators; its models do not use them, but importing
# it (which transformers does too) needs them defined.
TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

console = Console(width=118, highlight=False)
failures: list[str] = []


def check(model: str, claim: str, holds: bool) -> None:
    console.print(f"  {'[green]ok[/]  ' if holds else '[red]FAIL[/]'} {claim}")
    if not holds:
        failures.append(f"{model}: {claim}")


def resnet50() -> tuple[nn.Module, str]:
    """Returns torchvision's ResNet-50 where it imports, else that of transformers."""
    try:
        from torchvision.models import resnet50 as make
    except (ImportError, RuntimeError):
        from transformers import ResNetConfig, ResNetModel

        return ResNetModel(ResNetConfig()), "encoder.stages.0"
    return make(), "layer1"


def gpt2() -> tuple[nn.Module, str]:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config()), "transformer.h.0"


def models() -> dict[str, tuple[Callable[[], tuple[nn.Module, str]], tuple[Tensor, ...]]]:
    """Returns, by name: what makes the model and names a part of it to share, and its input."""
    return {
        "ResNet-50": (resnet50, (torch.rand(1, 3, 64, 64),)),
        "nn.Transformer": (
            lambda: (nn.Transformer(batch_first=True), "encoder"),
            (torch.rand(1, 9, 512), torch.rand(1, 7, 512)),
        ),
        "GPT-2": (gpt2, (torch.arange(12)[None],)),
    }


def output(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    result = model(*inputs)
    for name in "logits", "last_hidden_state":
        result = getattr(result, name, result)
    return result


def usual_catalog(model: nn.Module) -> list[list[str]]:
    """Groups the parameter slots of all modules by identity, as the usual catalogs do: a missing bias is a slot too."""
    groups: dict[int, list[str]] = defaultdict(list)
    for prefix, module in model.named_modules():
        for name, parameter in module._parameters.items():
            groups[id(parameter)].append(f"{prefix}.{name}")
    return [names for names in groups.values() if len(names) > 1]


def median_ms(*calls: Callable[[], Any], repeats: int = 5) -> list[float]:
    """Times the calls in turn, so that a drift of the machine meets all of them; returns the medians."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            made = call()
            taken.append(1e3 * (time.perf_counter() - start))
            del made
    return [statistics.median(taken) for taken in times]


def show_ties(name: str, model: nn.Module) -> None:
    ties = ramet.catalog(model)
    usual = max(usual_catalog(model), key=len, default=[])
    if len(ties) == 0:
        console.print(
            f"  ties: none. The usual catalog, which groups by identity alone, reports {len(usual)} slots as one"
        )
        console.print(
            f"        shared parameter: what is missing is the same None in each ({usual[0]}, {usual[1]}, ...)."
        )
    else:
        console.print("  ties: " + "; ".join(f"{tie.kind}: {' = '.join(tie.names)}" for tie in ties))
    check(name, "the clone has the ties of its source", list(ramet.catalog(ramet.clone(model))) == list(ties))


def check_copy(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    clone = ramet.clone(model)
    with torch.no_grad():
        expected = output(model, inputs)
        check(name, "nothing shared: the clone's forward is equal", torch.equal(expected, output(clone, inputs)))
        pairs = list(zip(model.parameters(), clone.parameters(), strict=True))
        check(name, "no parameter is the source's", all(a.data_ptr() != b.data_ptr() for a, b in pairs))
        for _, parameter in pairs:
            parameter.add_(1)
        check(name, "a write to the clone stays on its side", torch.equal(expected, output(model, inputs)))


def check_share(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    tower = ramet.clone(model, share=True)
    output(tower, inputs).pow(2).sum().backward()
    pairs = list(zip(model.parameters(), tower.parameters(), strict=True))
    filled = all(a.grad is not None and a.grad is b.grad for a, b in pairs)
    check(name, "everything shared: one backward through the clone fills both's gradients", filled)
    check(
        name,
        "modules are the clone's own",
        all(a is not b for a, b in zip(model.modules(), tower.modules(), strict=True)),
    )
    model.zero_grad()


def check_part(name: str, model: nn.Module, part: str) -> None:
    clone = ramet.clone(model, share=part)
    mine = dict(model.named_parameters()) | dict(model.named_buffers())
    theirs = dict(clone.named_parameters()) | dict(clone.named_buffers())
    found = {n for n in mine if mine[n] is theirs[n]}
    wanted = {n for n in mine if n.startswith(part + ".")}
    check(name, f"share={part!r}: exactly its {len(wanted)} tensors are shared", found == wanted and len(found) > 0)


def check_layers() -> None:
    layer = nn.TransformerEncoderLayer(512, 8, batch_first=True).eval()
    layers = ramet.clones(layer, 6)
    x = torch.rand(1, 5, 512)
    with torch.no_grad():
        check(
            "layers",
            "six clones of an encoder layer: each gives the same result",
            all(torch.equal(layer(x), it(x)) for it in layers),
        )
    pointers = {p.data_ptr() for it in [layer, *layers] for p in it.parameters()}
    check("layers", "and all seven are distinct", len(pointers) == 7 * len(list(layer.parameters())))
    ours, theirs = median_ms(lambda: ramet.clones(layer, 6), lambda: [copy.deepcopy(layer) for _ in range(6)])
    console.print(f"  time: {ours:.2f} ms; copy.deepcopy six times: {theirs:.2f} ms ({theirs / ours:.1f}x)")


def time_all(name: str, model: nn.Module, part: str, table: Table) -> None:
    calls = {
        "copy": lambda: ramet.clone(model),
        "share=True": lambda: ramet.clone(model, share=True),
        f"share={part!r}": lambda: ramet.clone(model, share=part),
        "catalog": lambda: ramet.catalog(model),
    }
    deepcopy, *times = median_ms(lambda: copy.deepcopy(model), *calls.values())
    for call, taken in zip(calls, times, strict=True):
        theirs = f"{deepcopy:.1f} ms" if call == "copy" else f"{deepcopy:.1f} ms, cannot share"
        peer = ("has none", "-") if call == "catalog" else (theirs, f"{deepcopy / taken:.1f}x")
        table.add_row(name, call, f"{taken:.2f} ms", *peer)


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(0)
    table = Table("model", "Ramet", "median", "copy.deepcopy", "ratio", title="Python, medians of one interleaved run")
    for name, (make, inputs) in models().items():
        model, part = make()
        model.eval()
        modules, tensors = len(list(model.modules())), len(list(model.parameters())) + len(list(model.buffers()))
        mib = ramet.plan(model).nbytes / 2**20
        console.print(f"\n[bold]{name}[/]: {modules} modules, {tensors} tensors, {mib:.1f} MiB")
        show_ties(name, model)
        check_copy(name, model, inputs)
        check_share(name, model, inputs)
        check_part(name, model, part)
        time_all(name, model, part, table)
    console.print("\n[bold]The Transformer's layers[/]")
    check_layers()
    console.print()
    console.print(table)
    for failure in failures:
        console.print(f"[red]FAILED[/] {failure}")
    console.print(f"Python: {len(failures)} checks failed" if failures else "Python: every check holds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
