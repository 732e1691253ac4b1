"""Random models under random rules: a clone is what a naive reading of the rules says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from tests.python.naive import (
    FRESH,
    MODES,
    Memory,
    Naive,
    RefusedError,
    Slot,
    UnclearError,
    elements,
    fresh_values,
    slots_of,
)
from torch import nn

import ramet


class A(nn.Module):
    pass


class B(A):
    pass


@st.composite
def models(draw: st.DrawFn) -> nn.Module:
    """A tree of up to five modules, some under two names, tensors out of one pool: tied, or views."""
    bases = [torch.arange(24.0), torch.arange(24.0)]
    views = [(0, 8, 1), (8, 16, 1), (4, 12, 1), (0, 24, 2), (1, 24, 2), (20, 24, 1)]
    pool: list[torch.Tensor] = [torch.rand(3) for _ in range(draw(st.integers(1, 4)))]
    pool += [bases[b][i:j:k] for b in (0, 1) for i, j, k in draw(st.lists(st.sampled_from(views), max_size=3))]
    parameters = [nn.Parameter(tensor, requires_grad=draw(st.booleans())) for tensor in pool]
    modules: list[nn.Module] = [draw(st.sampled_from([A, B]))() for _ in range(draw(st.integers(1, 5)))]
    for i, module in enumerate(modules):
        for name in draw(st.lists(st.sampled_from("pqr"), max_size=2, unique=True)):
            module.register_parameter(name, draw(st.sampled_from([*parameters, None])))
        for name in draw(st.lists(st.sampled_from("uv"), max_size=1)):
            module.register_buffer(name, draw(st.sampled_from(pool)))
        if draw(st.integers(0, 3)) == 0:
            module.plain = [draw(st.sampled_from(pool))]
        if i > 0:
            for parent in draw(st.lists(st.sampled_from(modules[:i]), min_size=1, max_size=2, unique=True)):
                parent.register_module(f"m{i}", module)
    return modules[0]


@st.composite
def rules_for(draw: st.DrawFn, model: nn.Module) -> dict[str, Any]:
    """Up to four rules, by every kind of selector."""
    slots = slots_of(model)
    paths = sorted({path for slot in slots for path in slot.paths})
    inner = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    choices: list[Any] = [True, nn.Parameter, nn.Buffer, A, B, lambda path, tensor: tensor.numel() == 3]
    choices += [*paths, *inner, *(slot.tensor for slot in slots), *model.modules(), "*.p", "m1.*", "*p*", "m?.u"]
    naive = Naive(model, {})
    useful = [
        it for it in choices if naive.named(it) or it in (True, nn.Parameter, nn.Buffer) or isinstance(it, nn.Module)
    ]
    useful = [it for it in useful if not isinstance(it, type) or it in (nn.Parameter, nn.Buffer) or naive.named(it)]
    selector = st.sampled_from(useful)
    rules: dict[str, Any] = {}
    for mode in draw(st.lists(st.sampled_from([*MODES, "freeze"]), max_size=3)):
        rules[mode] = draw(st.lists(selector, min_size=1, max_size=2))
    if "init" in rules:
        rules["initializer"] = fresh_values
    kept = [*paths, *inner, *(slot.tensor for slot in slots), *list(model.modules())[1:]]
    if kept and draw(st.integers(0, 2)) == 0:
        rules["keep"] = [draw(st.sampled_from(kept))]
    tied = [path for tie in ramet.catalog(model) if tie.kind != "module" for path in tie.names[1:]]
    if tied and "keep" not in rules and draw(st.integers(0, 2)) == 0:
        rules["untie"] = draw(st.lists(st.sampled_from(tied), min_size=1, max_size=2, unique=True))
    return rules


def check_slot(mine: Slot, theirs: Slot, mode: str, frozen: bool) -> None:
    a, b = theirs.tensor, mine.tensor
    if mode == "share":
        assert b is a
        return
    assert b is not a
    linked = mode == "differentiable" and a.requires_grad
    assert type(b) is (torch.Tensor if linked else type(a))
    assert (b.shape, b.dtype, b.stride()) == (a.shape, a.dtype, a.stride())
    assert b.requires_grad == (a.requires_grad and not frozen)
    assert b.is_leaf == (not linked)
    assert b.is_meta == (mode == "meta")
    if mode == "alias":
        assert elements(b) == elements(a)
    elif mode != "meta":
        assert torch.equal(b, torch.full_like(a, FRESH) if mode == "init" else a)
        assert not elements(a) & elements(b)


WORDS = {
    "copy": "equal",
    "share": "shared",
    "alias": "aliased",
    "differentiable": "equal",
    "init": "different",
    "meta": "different",
}


def word(mode: str, slot: Slot) -> str:
    """What relation calls it, before any write."""
    if slot.tensor.numel() == 0 and mode != "share":
        return "equal"
    return WORDS.get(mode, mode)


def check_writes(data: st.DataObject, memory: Memory) -> None:
    """Writes to slots of either side, in any order: who is to have them has them, and nobody else."""
    memory.check()
    for value in range(100, 100 + data.draw(st.integers(1, 4))):
        side = data.draw(st.integers(0, 1))
        slots = [slot for slot in memory.sides[side] if not slot.tensor.is_meta]
        if slots:
            memory.write(side, data.draw(st.sampled_from(slots)), float(value))
            memory.check()


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_clone_is_what_a_naive_reading_of_the_rules_says(data: st.DataObject) -> None:
    model = data.draw(models())
    rules = data.draw(rules_for(model))
    naive = Naive(model, rules)
    try:
        expected = naive.expected()
    except RefusedError as refused:
        event("refused")
        with pytest.raises(ramet.PlanError):
            ramet.clone(model, **rules)
        data.draw(st.just(str(refused)))
        return
    except UnclearError:
        reject()
    event("cloned")
    clone = ramet.clone(model, **rules)
    mine = {path: slot for slot in slots_of(clone) for path in slot.paths}
    groups = naive.groups(naive.untied())

    def apart(slot: Slot) -> int:
        return next(i for i, group in enumerate(groups) if any(slot is it for it in group))

    relation = ramet.relation(model, clone)
    for slot in naive.slots:
        assert relation[slot.paths[0]] == word(expected[slot.paths[0]][0], slot)
        check_slot(mine[slot.paths[0]], slot, *expected[slot.paths[0]])
    plan = ramet.plan(model, **rules)
    for a in naive.slots:
        mode = expected[a.paths[0]][0]
        assert plan[a.paths[0]].mode in (mode, "keep")
        for b in naive.slots:
            x, y = mine[a.paths[0]].tensor, mine[b.paths[0]].tensor
            alone = a is not b and apart(a) != apart(b)
            assert (x is y) == (a.tensor is b.tensor and not alone), (a.paths, b.paths)
            if mode not in ("share", "alias", "meta") and not x.is_meta and not y.is_meta:
                tied = bool(elements(a.tensor) & elements(b.tensor)) and not alone
                assert bool(elements(x) & elements(y)) == tied, (a.paths, b.paths)
    check_writes(data, Memory(naive, expected, clone))
