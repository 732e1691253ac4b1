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
    """Returns GPT-2 at half its width and depth, its head tied to its embedding."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=6, n_head=6, n_embd=384)), "transformer.wte"


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


def usual_catalog(model: nn.Module) -> dict[int, list[str]]:
    """Groups the parameter slots of all modules by identity, as the usual catalogs do: a missing bias is a slot too."""
    groups: dict[int, list[str]] = defaultdict(list)
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module._parameters.items():
            groups[id(parameter)].append(f"{prefix}.{name}".lstrip("."))
    return {identity: names for identity, names in groups.items() if len(names) > 1}


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
    console.print("  ties: " + ("; ".join(f"{tie.kind}: {' = '.join(tie.names)}" for tie in ties) or "none"))
    usual = usual_catalog(model)
    if missing := usual.pop(id(None), None):
        console.print(
            f"        (the usual catalog, which groups by identity alone, lists {len(missing)} slots as one shared\n"
            f"        parameter: {missing[0]} and so on. All of them hold the same None.)"
        )
    listed = [list(tie.names) for tie in ties]
    check(name, "the catalog lists the parameters that have two names, and no others", listed == list(usual.values()))
    check(name, "the clone has the ties of its source", list(ramet.catalog(ramet.clone(model))) == list(ties))


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters and buffers of a model, a tied one under each of its names."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


@torch.no_grad()
def erase(model: nn.Module) -> None:
    """Writes to every tensor of a model."""
    for tensor in tensors(model).values():
        tensor.zero_()


@torch.no_grad()
def check_copy(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    clone, untouched = ramet.clone(model), ramet.clone(model)
    expected = output(model, inputs)
    check(name, "nothing shared: the clone's forward is equal", torch.equal(expected, output(clone, inputs)))
    mine, theirs = ({t.data_ptr() for t in tensors(each).values()} for each in (model, clone))
    check(name, "no tensor of the clone lies where one of the source's does", not mine & theirs)
    erase(clone)
    stays = torch.equal(expected, output(model, inputs)) and not torch.equal(expected, output(clone, inputs))
    check(name, "a write to the clone stays on its side", stays)
    erase(model)
    check(name, "a write to the source stays on its side", torch.equal(expected, output(untouched, inputs)))
    model.load_state_dict(untouched.state_dict())


def check_share(name: str, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    tower = ramet.clone(model, share=True)
    pairs = list(zip(model.modules(), tower.modules(), strict=True))
    check(name, "everything shared: the modules are the clone's own all the same", all(a is not b for a, b in pairs))
    for side, through in ("clone", tower), ("source", model):
        model.zero_grad()
        output(through, inputs).pow(2).sum().backward()
        grads = [(a.grad, b.grad) for a, b in zip(model.parameters(), tower.parameters(), strict=True)]
        filled = all(a is not None and a is b for a, b in grads)
        check(name, f"everything shared: one backward through the {side} fills both's gradients", filled)
    model.zero_grad()


def check_part(name: str, model: nn.Module, part: str) -> None:
    mine, theirs = tensors(model), tensors(ramet.clone(model, share=part))
    # Tied tensors move together: the names of the part's tensors outside of it are shared with it.
    inside = {id(tensor) for tensor in tensors(model.get_submodule(part)).values()}
    wanted = {path for path in mine if id(mine[path]) in inside}
    found = {path for path in mine if mine[path] is theirs[path]}
    check(name, f"share={part!r}: exactly its {len(wanted)} tensors are shared", found == wanted and len(found) > 0)


def check_layers() -> None:
    layer = nn.TransformerEncoderLayer(512, 8, batch_first=True).eval()
    layers = ramet.clones(layer, 6)
    x = torch.rand(1, 5, 512)
    with torch.no_grad():
        equal = all(torch.equal(layer(x), each(x)) for each in layers)
    check("layers", "six clones of an encoder layer: each gives the same result", equal)
    pointers = {p.data_ptr() for each in [layer, *layers] for p in each.parameters()}
    check("layers", "and all seven are distinct", len(pointers) == 7 * len(list(layer.parameters())))
    ours, theirs = median_ms(lambda: ramet.clones(layer, 6), lambda: [copy.deepcopy(layer) for _ in range(6)])
    console.print(f"  time: {ours:.2f} ms; copy.deepcopy six times: {theirs:.2f} ms ({theirs / ours:.1f}x)")


def deepcopy_sharing(model: nn.Module, part: nn.Module) -> nn.Module:
    """Shares by ``copy.deepcopy``: it has no such option, but leaves alone what its memo already holds."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors(part).values()})


def time_all(name: str, model: nn.Module, part: str, table: Table) -> None:
    jobs = {
        "copy": (lambda: ramet.clone(model), lambda: copy.deepcopy(model)),
        "share=True": (lambda: ramet.clone(model, share=True), lambda: deepcopy_sharing(model, model)),
        f"share={part!r}": (
            lambda: ramet.clone(model, share=part),
            lambda: deepcopy_sharing(model, model.get_submodule(part)),
        ),
    }
    for job, calls in jobs.items():
        ours, theirs = median_ms(*calls)
        how = "" if job == "copy" else ", memo seeded by hand"
        table.add_row(name, job, f"{ours:.2f} ms", f"{theirs:.1f} ms{how}", f"{theirs / ours:.1f}x")
    table.add_row(name, "catalog", f"{median_ms(lambda: ramet.catalog(model))[0]:.2f} ms", "has none", "-")


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
