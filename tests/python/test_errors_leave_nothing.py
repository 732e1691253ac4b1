"""An error of clone, clones or plan: nothing has been allocated by then, and nothing of the source has changed."""

import gc
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import ramet

PLAN, UNCLONEABLE = ramet.PlanError, ramet.UncloneableError


class Model(nn.Module):
    """Ties, a view, plain state, gradients, and tensors large enough that memory for them would be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(600, 1000)
        self.head = nn.Linear(1000, 600)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(1000)
        self.twice = nn.ModuleList([nn.Linear(2, 2)] * 2)
        base = torch.arange(300000.0)
        self.register_buffer("base", base)
        self.register_buffer("part", base[5:70000])
        self.register_buffer("absent", None)
        self.register_buffer("table", torch.eye(3).to_sparse())
        self.register_buffer("wave", torch.ones(3, dtype=torch.complex64))
        self.log = {"losses": [1.0], "name": "run"}
        self.cache = [torch.ones(3)]
        self.norm.register_forward_hook(print)
        self.norm(torch.ones(1, 1000)).sum().backward()


def bits() -> nn.Module:
    model = Model()
    model.register_buffer("bits", model.base.view(torch.int32))
    return model


def locked(**where: Any) -> nn.Module:
    model = Model()
    model.log["lock"] = threading.Lock()
    return model


def false(path: str, tensor: torch.Tensor) -> bool:
    return False


OTHER = nn.Linear(2, 2)

CASES: list[tuple[str, Callable[[], Any], dict[str, Any], type[Exception]]] = [
    ("an unknown path", Model, {"share": "hed"}, PLAN),
    ("an unknown path to keep", Model, {"keep": "log.loses"}, PLAN),
    ("a glob that matches nothing", Model, {"share": "*.gamma"}, PLAN),
    ("a glob that matches modules only", Model, {"share": "hea?"}, PLAN),
    ("a type that is not there", Model, {"share": nn.Conv2d}, PLAN),
    ("a type that is none of a module", Model, {"share": int}, PLAN),
    ("an object that is not there", Model, {"share": OTHER}, PLAN),
    ("an object that is not there, kept", Model, {"keep": OTHER}, PLAN),
    ("what is no selector", Model, {"share": 3}, PLAN),
    ("a predicate that is true of nothing", Model, {"share": false}, PLAN),
    ("plain state", Model, {"share": "log.losses"}, PLAN),
    ("a value that cannot change, kept", Model, {"keep": "log.name"}, PLAN),
    ("everything, kept", Model, {"keep": True}, PLAN),
    ("a type, kept", Model, {"keep": nn.Linear}, PLAN),
    ("two rules on one slot", Model, {"share": "norm", "copy": "norm.*"}, PLAN),
    ("two modes of one tensor", Model, {"share": "embed", "alias": "head"}, PLAN),
    ("a rule beneath a kept module", Model, {"keep": "norm", "share": "norm.weight"}, PLAN),
    ("freezing what is shared", Model, {"share": "norm", "freeze": "norm"}, PLAN),
    ("freezing what is kept", Model, {"keep": "norm", "freeze": "norm"}, PLAN),
    ("freezing nothing", Model, {"share": True, "alias": False, "keep": "cache.0", "freeze": True}, PLAN),
    ("untying what is not tied", Model, {"untie": "norm.weight"}, PLAN),
    ("untying through a module with two names", Model, {"untie": "twice.1.weight"}, PLAN),
    ("untying by a type", Model, {"untie": nn.Linear}, PLAN),
    ("untying beneath what is kept", Model, {"keep": "head", "untie": "head.weight"}, PLAN),
    ("gradients of meta tensors", Model, {"meta": "norm", "grads": "copy"}, PLAN),
    ("a word that grads has not", Model, {"grads": "all"}, PLAN),
    ("meta of what is sparse", Model, {"meta": "table"}, PLAN),
    ("a dtype that is not floating", Model, {"dtype": torch.int32}, PLAN),
    ("a dtype for what is shared", Model, {"dtype": torch.float16, "share": "norm", "copy": "wave"}, PLAN),
    ("complex to real", Model, {"dtype": torch.float16}, PLAN),
    ("two dtypes over the same bytes", bits, {"dtype": torch.complex128}, PLAN),
    ("a device for what is shared", Model, {"device": "meta", "share": "norm"}, PLAN),
    ("a device that is not there", Model, {"device": "bogus"}, RuntimeError),
    ("within a module that does not hold it", Model, {"within": OTHER}, PLAN),
    ("within what is no module", Model, {"within": 3}, PLAN),
    ("a lock", locked, {}, UNCLONEABLE),
    ("an empty session", tuple, {}, PLAN),
    ("a source that is none", lambda: torch.ones(3), {}, PLAN),
]


class NothingMade(TorchDispatchMode):
    """Fails on any operator that makes a tensor with elements."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        assert not isinstance(made, torch.Tensor) or made.numel() == 0, f"{func} made a tensor"
        return made


def snapshot(root: object) -> str:
    """A hash of all that the source is: objects, their identities, and the tensors' bytes, versions and gradients."""
    digest, met, work = hashlib.sha256(), set(), [root]
    while work:
        held = work.pop()
        if id(held) in met:
            continue
        met.add(id(held))
        digest.update(f"{id(held)} {type(held)} ".encode())
        if isinstance(held, torch.Tensor):
            dense = held.detach().to_dense() if held.is_sparse else held.detach()
            digest.update(dense.contiguous().view(torch.uint8).numpy().tobytes() if dense.dim() else b"")
            digest.update(f"{held._version} {held.requires_grad} {held.shape} {held.dtype}".encode())
            digest.update(f"{id(held.grad) if held.is_leaf else None} {sorted(vars(held))}".encode())
        elif isinstance(held, dict):
            digest.update(str([repr(key) for key in held]).encode())
            work.extend(held.values())
        elif isinstance(held, (list, tuple)):
            work.extend(held)
        elif isinstance(held, nn.Module):
            work.append(vars(held))
        elif isinstance(held, (int, float, str)):
            digest.update(repr(held).encode())
    return digest.hexdigest()


@pytest.mark.parametrize("call", ["clone", "clones", "plan"])
@pytest.mark.parametrize(("make", "rules", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_nothing_is_allocated_and_nothing_changed(
    call: str, make: Callable[[], Any], rules: dict[str, Any], error: type[Exception]
) -> None:
    source = make()
    run = {"clone": ramet.clone, "clones": lambda source, **rules: ramet.clones(source, 3, **rules), "plan": ramet.plan}
    before, seed, memory = snapshot(source), torch.get_rng_state(), ramet.memory.stats()
    with pytest.raises(error), NothingMade():
        run[call](source, **rules)
    assert snapshot(source) == before
    assert torch.equal(torch.get_rng_state(), seed)
    assert ramet.memory.stats() == memory
    assert gc.isenabled()


def test_the_measure_sees_an_allocation() -> None:
    memory = ramet.memory.stats()
    clone = ramet.clone(Model())
    assert ramet.memory.stats() != memory
    assert clone is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.norm.weight.data.add_(1),
        lambda model: model.norm.weight.requires_grad_(False),
        lambda model: setattr(model.norm.weight, "grad", None),
        lambda model: model.log["losses"].append(2.0),
        lambda model: model.norm.eval(),
        lambda model: setattr(model.norm.weight, "note", 1),
        lambda model: model.norm._forward_hooks.clear(),
    ],
)
def test_the_measure_sees_a_change(change: Callable[[nn.Module], object]) -> None:
    model = Model()
    before = snapshot(model)
    change(model)
    assert snapshot(model) != before
