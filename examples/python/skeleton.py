"""A skeleton that a checkpoint fills: GPT-2, its head tied to its embedding, from ``torch.save`` and from safetensors.

``meta`` gives a clone without values. Each way of filling it is checked: what it costs, and what becomes of the tie.
Random weights of the real architecture; nothing is downloaded. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from claims import Claims
from torch import Tensor, nn

import ramet

# A torchvision made for another build of torch lacks two compiled operators; transformers imports it.
TORCHVISION = torch.library.Library("torchvision", "DEF")
TORCHVISION.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
TORCHVISION.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

EMBEDDING, HEAD = "transformer.wte.weight", "lm_head.weight"


def gpt2(layers: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_head=6, n_embd=384)).eval()


def resident() -> float:
    """MiB of memory that are this process's own: files that are mapped, as a checkpoint may be, do not count."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def grown(make: Callable[[], nn.Module]) -> tuple[nn.Module, float]:
    """What is made, and how many MiB it took."""
    ramet.memory.empty_cache()
    before = resident()
    made = make()
    return made, resident() - before


def size(model: nn.Module) -> float:
    return sum(parameter.nbytes for parameter in model.parameters()) / 2**20


def is_tied(model: nn.Module) -> bool:
    return model.get_parameter(HEAD) is model.get_parameter(EMBEDDING)


class Filling:
    """Skeletons of one model, each filled in a way of its own from a checkpoint of another, and what is true of it."""

    def __init__(self, claims: Claims, base: nn.Module, tuned: nn.Module) -> None:
        self.claims, self.base = claims, base
        self.tokens = torch.arange(12)[None]
        self.expected, self.was = self.logits(tuned), self.logits(base)

    @torch.no_grad()
    def logits(self, model: nn.Module) -> Tensor:
        """What a model says to a few tokens."""
        return model(self.tokens).logits

    def skeleton(self) -> nn.Module:
        """A new one."""
        return ramet.clone(self.base, meta=True)

    def check(self, way: str, fill: Callable[[], nn.Module], most: float, tied: bool) -> None:
        """Checks what a filled skeleton is, how many MiB it took, and whether the tie came through or is put back."""
        filled, took = grown(fill)
        print(f"{way}: took {took:.0f} MiB")
        self.claims.check("it computes what the checkpoint's model does", self.logits(filled).equal(self.expected))
        self.claims.check("it has nothing of the model that it was cloned from", not self.shared(filled))
        self.claims.check("and that computes as before", self.logits(self.base).equal(self.was))
        self.claims.check(f"it took at most {most:.0f} MiB", took < most)
        self.claims.check(f"the tie {'is there' if tied else 'is gone'}", is_tied(filled) == tied)
        if not tied:
            ramet.tie(filled, EMBEDDING, HEAD)
            same = self.logits(filled).equal(self.expected)
            self.claims.check("ramet.tie puts it back, and changes no value", is_tied(filled) and same)
        self.check_writes(filled)

    def shared(self, filled: nn.Module) -> set[str]:
        """The paths at which a filled skeleton has anything of the model that it was cloned from."""
        relation = ramet.relation(self.base, filled)
        return relation.shared | relation.aliased

    @torch.no_grad()
    def check_writes(self, filled: nn.Module) -> None:
        """Checks the tie by a write to one of its names, which must reach the other and stay on this side."""
        filled.get_parameter(HEAD).zero_()
        moved = not filled.get_parameter(EMBEDDING).any() and self.logits(self.base).equal(self.was)
        self.claims.check("a write to the head is one to its embedding, and to nothing of the model's", moved)


def check_skeleton(claims: Claims, base: nn.Module) -> None:
    skeleton, took = grown(lambda: ramet.clone(base, meta=True))
    print(f"A skeleton of {size(base):.0f} MiB of weights: took {took:.1f} MiB")
    claims.check("no tensor has values", all(p.is_meta for p in [*skeleton.parameters(), *skeleton.buffers()]))
    claims.check("each has its shape", [p.shape for p in skeleton.parameters()] == [p.shape for p in base.parameters()])
    claims.check("it has the model's ties", list(ramet.catalog(skeleton)) == list(ramet.catalog(base)))
    claims.check("it took less than a twentieth", took < size(base) / 20 and ramet.plan(base, meta=True).nbytes == 0)


def check_torch_save(filling: Filling, file: Path) -> None:
    mib = size(filling.base)
    embedding = filling.base.get_parameter(EMBEDDING).nbytes / 2**20

    def to_empty() -> nn.Module:
        skeleton = filling.skeleton().to_empty(device="cpu")
        skeleton.load_state_dict(torch.load(file, mmap=True))
        return skeleton

    def to_empty_tied_first() -> nn.Module:
        skeleton = filling.skeleton().to_empty(device="cpu")
        ramet.tie(skeleton, EMBEDDING, HEAD)
        skeleton.load_state_dict(torch.load(file, mmap=True))
        return skeleton

    def assign() -> nn.Module:
        skeleton = filling.skeleton()
        skeleton.load_state_dict(torch.load(file, mmap=True), assign=True)
        return skeleton

    def assign_by_ramet() -> nn.Module:
        skeleton, checkpoint = filling.skeleton(), torch.load(file, mmap=True)
        ramet.assign(skeleton, {name: checkpoint[name] for name, _ in skeleton.named_parameters()})
        return skeleton

    # to_empty makes a new parameter for every slot, so that tied ones come apart, each with memory of its own.
    filling.check("to_empty, load_state_dict", to_empty, 1.15 * (mib + embedding), tied=False)
    filling.check("to_empty, ramet.tie, load_state_dict", to_empty_tied_first, 1.15 * mib, tied=True)
    # The file is mapped: its pages become the model's, each when it is first written.
    filling.check("load_state_dict(assign=True), mapped", assign, mib / 10, tied=False)
    filling.check("ramet.assign, mapped", assign_by_ramet, mib / 10, tied=True)


def check_safetensors(filling: Filling, file: Path) -> None:
    """The file is mapped here too. Of a tie it has one name: the one that the alphabet has first."""
    from safetensors.torch import load_file, load_model

    mib = size(filling.base)

    def assign() -> nn.Module:
        skeleton = filling.skeleton()
        missing, unexpected = skeleton.load_state_dict(load_file(file), assign=True, strict=False)
        # The other name still stands on meta: ramet.tie, which wants one device, would refuse it.
        filling.claims.check("safetensors has one name of the tie", (missing, unexpected) == ([EMBEDDING], []))
        ramet.assign(skeleton, {EMBEDDING: skeleton.get_parameter(HEAD)})
        return skeleton

    def assign_by_ramet() -> nn.Module:
        skeleton = filling.skeleton()
        ramet.assign(skeleton, load_file(file))
        return skeleton

    def to_empty() -> nn.Module:
        skeleton = filling.skeleton().to_empty(device="cpu")
        ramet.tie(skeleton, EMBEDDING, HEAD)
        load_model(skeleton, file)
        return skeleton

    filling.check("safetensors, load_state_dict(assign=True), ramet.assign", assign, mib / 10, tied=True)
    filling.check("safetensors, ramet.assign", assign_by_ramet, mib / 10, tied=True)
    filling.check("to_empty, ramet.tie, safetensors' load_model", to_empty, 1.15 * mib, tied=True)


def check_variant(claims: Claims, base: nn.Module, tuned: nn.Module, file: Path) -> None:
    """A checkpoint of one layer: everything else is the model's own."""
    layer = "transformer.h.1."
    state = {name: tensor for name, tensor in tuned.state_dict().items() if name.startswith(layer)}
    torch.save(state, file)

    def fill() -> nn.Module:
        variant = ramet.clone(base, share=True, meta=layer.rstrip("."))
        variant.load_state_dict(torch.load(file, mmap=True), assign=True, strict=False)
        return variant

    variant, took = grown(fill)
    print(f"A variant of one layer, share=True, meta={layer.rstrip('.')!r}: took {took:.1f} MiB")
    relation = ramet.relation(base, variant)
    inside = {path for path in relation.shared | relation.different | relation.equal if path.startswith(layer)}
    claims.check(
        "that layer is the checkpoint's", all(variant.get_parameter(path).equal(state[path]) for path in inside)
    )
    claims.check("all else is the model's own", inside == set(state) and not relation.shared & inside)
    claims.check("and is tied as it was", is_tied(variant) and variant.get_parameter(HEAD) is base.get_parameter(HEAD))
    claims.check("nothing is left without values", not any(parameter.is_meta for parameter in variant.parameters()))
    claims.check("it took next to nothing", took < size(base) / 20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    layers = parser.parse_args().layers
    torch.manual_seed(0)
    torch.set_num_threads(1)
    claims = Claims()
    base, tuned = gpt2(layers), gpt2(layers)
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import save_model

        saved, safe = Path(folder, "tuned.pt"), Path(folder, "tuned.safetensors")
        torch.save(tuned.state_dict(), saved)
        save_model(tuned, safe)
        check_skeleton(claims, base)
        filling = Filling(claims, base, tuned)
        check_torch_save(filling, saved)
        check_safetensors(filling, safe)
        check_variant(claims, base, tuned, Path(folder, "layer.pt"))
    return claims.exit_code()


if __name__ == "__main__":
    sys.exit(main())
