"""Every mode with every option: what each tensor of the clone is then, or the error, as ``tests/matrix.txt`` has it.

Each cell that works is checked whole: values, storage, flags, gradients, ties, the words of plan and relation; and what
the other side has after a write to one, whichever is written first.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ramet

FRESH = 5.0  # what the initializer writes


class Part(nn.Module):
    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 6)
        self.head.weight = weight


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.part = Part(self.embed.weight)
        self.register_buffer("steps", torch.arange(3))
        self.log = {"losses": [0.5]}

    def forward(self) -> Tensor:
        return self.part.head(self.part.norm(self.embed(torch.tensor([1, 2])))).pow(2).sum()


@torch.no_grad()
def fill(module: nn.Module) -> None:
    for parameter in module.parameters(recurse=False):
        parameter.fill_(FRESH)


# What each mode makes of every parameter and buffer. init leaves out the buffer, for its owner cannot initialise it.
MODES: dict[str, dict[str, Any]] = {
    "copy": {"copy": True},
    "share": {"share": True},
    "alias": {"alias": True},
    "lazy": {"lazy": True},
    "differentiable": {"differentiable": True},
    "init": {"init": nn.Parameter, "initializer": fill},
    "meta": {"meta": True},
}

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "freeze": {"freeze": True},
    "freeze a part": {"freeze": "part.norm"},
    "untie": {"untie": "part.head.weight"},
    "grads": {"grads": "copy"},
    "device cpu": {"device": "cpu"},
    "device meta": {"device": "meta"},
    "dtype": {"dtype": torch.float64},
    "the same dtype": {"dtype": torch.float32},
    "keep a module": {"keep": "part.norm"},
    "keep plain state": {"keep": "log.losses"},
    "within": {},
    "memo": {},
    "clones": {},
    "session": {},
}

TABLE = Path(__file__).resolve().parents[1] / "matrix.txt"


def cells() -> list[tuple[str, str, str]]:
    found, mode = [], ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("#"):
            continue
        first, option, cell = (field.strip() for field in line.split("|"))
        mode = first or mode
        found.append((mode, option, cell))
    return [cell for cell in found if cell[0] in MODES]


@dataclass(frozen=True)
class Expected:
    """What one tensor of the clone is."""

    what: str
    flags: frozenset[str]

    @staticmethod
    def of(cell: str, path: str) -> Expected:
        default, *others = cell.split("; ")
        words = default.split()
        for other in others:
            where, *named = other.split()
            if fnmatchcase(path, where):
                words = named
        return Expected(words[0], frozenset(words[1:]))

    def reaches_the_source(self) -> bool:
        return self.what in ("shared", "aliased")


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


@dataclass
class Made:
    """A source and its clones; what plan and relation say of them, by paths that begin with ``prefix``."""

    source: nn.Module
    clones: list[nn.Module]
    plan: ramet.Plan
    relations: list[ramet.Relation]
    prefix: str = ""


def unpickled(model: Any) -> Any:
    """The same, with names that are equal and not the same objects, as ``torch.load`` and other processes give them."""
    return pickle.loads(pickle.dumps(model))


def make(mode: str, option: str, origin: Callable[[Any], Any]) -> Made:
    model = origin(Whole())
    model().backward()
    rules = MODES[mode] | OPTIONS[option]
    source: Any = model
    if option == "within":
        source, rules = model.part, rules | {"within": model}
    if option == "session":
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.step()
        source = (model, optimizer)
    plan = ramet.plan(source, **rules)
    memo: dict[int, object] = {}
    if option == "clones":
        clones = ramet.clones(source, 3, **rules)
    else:
        clones = [ramet.clone(source, **rules, memo=memo) if option == "memo" else ramet.clone(source, **rules)]
    relations = [ramet.relation(source, clone) for clone in clones]
    if option == "memo":
        assert memo[id(model.part)] is clones[0].part
        assert memo[id(model.embed.weight)] is clones[0].embed.weight
    if option == "session":
        check_optimizer(*source, *clones[0])
        return Made(model, [clone for clone, _ in clones], plan, relations, "0.")
    return Made(source, clones, plan, relations)


def check_optimizer(model: nn.Module, theirs: Any, clone: nn.Module, mine: Any) -> None:
    """It trains the clone's parameters; its state is its own, and stands where the parameter does."""
    parameters = mine.param_groups[0]["params"]
    assert [id(p) for p in parameters] == [id(p) for p in clone.parameters()]
    for before, parameter in zip(model.parameters(), parameters, strict=True):
        average, source = mine.state[parameter]["exp_avg"], theirs.state[before]["exp_avg"]
        assert average is not source
        assert average.device == parameter.device
        assert average.is_meta or torch.equal(average, source)


PLANNED = {
    "own": "copy",
    "shared": "share",
    "aliased": "alias",
    "linked": "differentiable",
    "fresh": "init",
    "empty": "meta",
}


FLOWS = ("shared", "linked")


def check_words(made: Made, i: int, path: str, expected: Expected, a: Tensor, b: Tensor) -> None:
    converted = "double" in expected.flags or (b.is_meta and not a.is_meta)
    assert converted or made.plan[made.prefix + path].mode in (PLANNED.get(expected.what, expected.what), "keep")
    own = "different" if b.dtype != a.dtype or expected.what in ("fresh", "empty") else "equal"
    word = {"shared": "shared", "aliased": "aliased", "lazy": "lazy"}.get(expected.what, own)
    assert made.relations[i][made.prefix + path] == word


def check_tensor(expected: Expected, a: Tensor, b: Tensor) -> None:
    if expected.what == "shared":
        assert b is a
        return
    assert b is not a
    assert (b.shape, b.stride()) == (a.shape, a.stride())
    double = "double" in expected.flags and a.is_floating_point()
    assert b.dtype == (torch.float64 if double else a.dtype)
    assert b.requires_grad == (a.requires_grad and "frozen" not in expected.flags)
    assert b.is_meta == (expected.what == "empty")
    linked = expected.what == "linked" and a.is_floating_point()
    assert b.is_leaf == (not linked)
    assert linked or isinstance(b, nn.Parameter) == isinstance(a, nn.Parameter)
    if b.is_meta:
        return
    assert torch.equal(b, torch.full_like(b, FRESH) if expected.what == "fresh" else a.to(b.dtype))
    if expected.what != "lazy":  # to ask for the address of one ends it
        assert (b.data_ptr() == a.data_ptr()) == (expected.what == "aliased")
    if "grad" not in expected.flags or a.grad is None:
        assert linked or b.grad is None
        return
    assert torch.equal(b.grad, a.grad)
    assert b.grad.data_ptr() != a.grad.data_ptr()


def check_ties(made: Made, clone: nn.Module, option: str) -> None:
    theirs, mine = tensors(made.source), tensors(clone)
    for a in theirs:
        for b in theirs:
            alone = option == "untie" and "part.head.weight" in (a, b) and a != b
            assert (mine[a] is mine[b]) == (theirs[a] is theirs[b] and not alone)


def check_gradients(made: Made, clone: nn.Module, expected: dict[str, Expected]) -> None:
    """The clone's backward fills its own gradients, and of the source's those of what is shared or linked."""
    if not hasattr(clone, "embed") or not all(b.requires_grad and not b.is_meta for b in clone.parameters()):
        return
    made.source.zero_grad()
    clone.zero_grad()
    reference = Whole()
    reference.load_state_dict(made.source.state_dict())
    reference().backward()
    clone().backward()
    theirs, mine, alone = tensors(made.source), tensors(clone), tensors(reference)
    for path, it in expected.items():
        if not theirs[path].is_floating_point():
            continue
        flows = [other for other in theirs if theirs[other] is theirs[path] and expected[other].what in FLOWS]
        assert (theirs[path].grad is not None) == bool(flows)
        if it.what == "linked":
            assert torch.allclose(theirs[path].grad, alone[path].grad, atol=1e-4)
        elif it.what == "shared":
            assert mine[path].grad is theirs[path].grad
        else:
            assert mine[path].grad is not None


@torch.no_grad()
def write(model: nn.Module, base: int) -> None:
    """Gives every tensor a number of its own; of a tied one the last name's stays."""
    for i, tensor in enumerate(tensors(model).values()):
        tensor.fill_(base + i)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {path: tensor.detach().clone() for path, tensor in tensors(model).items()}


def check_write(writer: nn.Module, reader: nn.Module, expected: dict[str, Expected], base: int) -> None:
    """A write reaches the other side by those paths that are the source's, and by what is tied to them there."""
    before = values(reader)
    write(writer, base)
    written, read = tensors(writer), tensors(reader)
    for path, tensor in read.items():
        through = [it for it in read if read[it] is tensor and expected[it].reaches_the_source()]
        assert tensor.is_meta or torch.equal(tensor, written[through[0]] if through else before[path])


@pytest.mark.parametrize("origin", [lambda model: model, unpickled], ids=["made", "unpickled"])
@pytest.mark.parametrize("first", ["clone", "source"])
@pytest.mark.parametrize(("mode", "option", "cell"), cells(), ids=lambda field: field.split("|")[0].replace(" ", "_"))
def test_each_mode_with_each_option(mode: str, option: str, cell: str, first: str, origin: Any) -> None:
    if cell.startswith("!"):
        with pytest.raises(ramet.PlanError, match="^clone: .*" + re.escape(cell.removeprefix("! "))):
            make(mode, option, origin)
        return
    made = make(mode, option, origin)
    theirs = tensors(made.source)
    inside = "part." if option == "within" else ""
    expected = {path: Expected.of(cell, inside + path) for path in theirs}
    for i, clone in enumerate(made.clones):
        mine = tensors(clone)
        assert mine.keys() == theirs.keys()
        for path, it in expected.items():
            check_words(made, i, path, it, theirs[path], mine[path])
            check_tensor(it, theirs[path], mine[path])
        check_ties(made, clone, option)
        check_gradients(made, clone, expected)
        if hasattr(clone, "log"):
            assert (clone.log["losses"] is made.source.log["losses"]) == (option == "keep plain state")
    for i, clone in enumerate(made.clones):
        for writer, reader in [(clone, made.source), (made.source, clone)][:: 1 if first == "clone" else -1]:
            check_write(writer, reader, expected, base=20 + 40 * i)
        for other in made.clones[i + 1 :]:
            check_write(clone, other, expected, base=40 + 40 * i)


def test_the_table_has_every_cell() -> None:
    assert {(mode, option) for mode, option, _ in cells()} == {(mode, option) for mode in MODES for option in OPTIONS}
