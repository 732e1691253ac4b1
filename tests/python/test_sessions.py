"""Sessions: containers of modules, optimizers and tensors, cloned at once into a container of the same kind."""

import copy
import dataclasses
import threading
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import ramet


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Open:
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    first: Any
    second: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlotted:
    first: Any
    second: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Derived(FrozenSlotted):
    third: int = 3


@dataclasses.dataclass
class Late:
    first: Any
    second: Any = dataclasses.field(init=False)


def late(first, second):
    made = Late(first)
    made.second = second
    return made


class Named(dict):
    pass


class Listed(list):
    pass


FIELDS = ("first", "second")
SHAPES = {
    "tuple": (lambda a, b: (a, b), ("0", "1")),
    "list": (lambda a, b: [a, b], ("0", "1")),
    "dict": (lambda a, b: {"first": a, "second": b}, FIELDS),
    "dict of ints": (lambda a, b: {7: a, 8: b}, ("7", "8")),
    "OrderedDict": (lambda a, b: OrderedDict(first=a, second=b), FIELDS),
    "defaultdict": (lambda a, b: defaultdict(list, first=a, second=b), FIELDS),
    "subclass of dict": (lambda a, b: Named(first=a, second=b), FIELDS),
    "subclass of list": (lambda a, b: Listed([a, b]), ("0", "1")),
    "named tuple": (Pair, FIELDS),
    "dataclass": (Open, FIELDS),
    "frozen dataclass": (Frozen, FIELDS),
    "dataclass with slots": (Slotted, FIELDS),
    "frozen dataclass with slots": (FrozenSlotted, FIELDS),
    "derived dataclass": (Derived, FIELDS),
    "dataclass with a field that __init__ does not set": (late, FIELDS),
}


def members(session):
    """The two members of any of these."""
    if isinstance(session, dict):
        return list(session.values())
    return list(session) if isinstance(session, tuple | list) else [session.first, session.second]


def tied_pair():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    return a, b


@pytest.mark.parametrize("shape", SHAPES)
def test_a_session_has_its_sources_shape_and_ties(shape):
    make, (first, second) = SHAPES[shape]
    a, b = tied_pair()
    source = make(a, b)
    before = vars(source).copy() if hasattr(source, "__dict__") else None
    clone = ramet.clone(source)
    assert type(clone) is type(source) and clone is not source
    c, d = members(clone)
    assert type(c) is nn.Linear and c is not a and d is not b
    assert c.weight is d.weight and c.weight is not a.weight and torch.equal(c.weight, a.weight)
    with torch.no_grad():
        c.weight.zero_()
    assert a.weight.any() and members(source) == [a, b]
    assert before is None or vars(source) == before
    assert [tie.names for tie in ramet.catalog(source)] == [(f"{first}.weight", f"{second}.weight")]
    assert list(ramet.plan(source)) == [f"{first}.weight", f"{first}.bias", f"{second}.weight", f"{second}.bias"]


@pytest.mark.parametrize("shape", SHAPES)
def test_rules_name_members_by_index_key_or_field(shape):
    make, (first, second) = SHAPES[shape]
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    c, d = members(ramet.clone(make(a, b), share=first, keep=second))
    assert c is not a and c.weight is a.weight and c.bias is a.bias and d is b
    c, d = members(ramet.clone(make(a, b), share=f"{second}.*"))
    assert c.weight is not a.weight and d.weight is b.weight
    c, d = members(ramet.clone(make(a, b), share=True))
    assert c.weight is a.weight and d.bias is b.bias


@pytest.mark.parametrize("outer", SHAPES)
@pytest.mark.parametrize("inner", SHAPES)
def test_sessions_nest(outer, inner):
    (make, (path, _)), (within, (name, _)) = SHAPES[outer], SHAPES[inner]
    a, b = tied_pair()
    source = make(within(a, None), b)
    clone = ramet.clone(source, share=f"{path}.{name}.bias")
    held, d = members(clone)
    c, absent = members(held)
    assert type(held) is type(members(source)[0]) and absent is None
    assert c.weight is d.weight and c.weight is not a.weight and c.bias is a.bias and d.bias is not b.bias
    c, d = members(ramet.clone(source, share=path))
    assert members(c)[0].weight is a.weight is d.weight and d.bias is not b.bias


def test_what_else_a_dataclass_holds_comes_along():
    class Noted(Open):
        pass

    source = Noted(nn.Linear(2, 2), {"rate": [0.1]})
    source.note = ["not a field"]
    clone = ramet.clone(source)
    assert clone.second == {"rate": [0.1]} and clone.second["rate"] is not source.second["rate"]
    assert clone.note == ["not a field"] and clone.note is not source.note
    partial = Late(nn.Linear(2, 2))
    assert not hasattr(ramet.clone(partial), "second")
    derived = ramet.clone(Derived(nn.Linear(2, 2), 2, 5))
    assert (derived.second, derived.third) == (2, 5)


def test_no_constructor_runs_for_a_dataclass():
    @dataclasses.dataclass
    class Counted:
        model: nn.Module
        made = 0

        def __post_init__(self):
            type(self).made += 1

        def __setattr__(self, name, value):
            assert name == "model" and type(self).made == 0
            super().__setattr__(name, value)

    source = Counted(nn.Linear(1, 1))
    assert ramet.clone(source).model is not source.model and Counted.made == 1


class Manual:
    """Slots of its own, and nothing may be set."""

    __slots__ = ("value",)

    def __init__(self, value):
        object.__setattr__(self, "value", value)

    def __setattr__(self, name, value):
        raise AttributeError("frozen")


def test_slots_are_filled_where_setting_is_forbidden():
    a = nn.Linear(1, 1)
    clone = ramet.clone((a, Manual(a)))
    assert clone[1].value is clone[0]


def test_members_of_every_other_kind_come_along_as_plain_state():
    class Agent:
        def __init__(self, net):
            self.net = net

    net = nn.Linear(2, 2)
    source = {"net": net, "agent": Agent(net), "epoch": 3, "name": "run", "best": None, "sizes": {1, 2}, "log": [0.5]}
    clone = ramet.clone(source)
    assert list(clone) == list(source)
    assert clone["agent"].net is clone["net"] and clone["agent"] is not source["agent"]
    assert {k: clone[k] for k in ("epoch", "name", "best", "sizes", "log")} == {
        k: source[k] for k in ("epoch", "name", "best", "sizes", "log")
    }
    assert clone["log"] is not source["log"] and ramet.clone(source, keep="log")["log"] is source["log"]
    with pytest.raises(ramet.PlanError, match=r"'agent' names plain state.*keep='agent'"):
        ramet.clone(source, share="agent")


def test_members_that_are_none_are_matched_and_stay_none():
    net = nn.Linear(1, 1)
    source = {"net": net, "target": None, "nested": [None, net, None]}
    for rules in {}, {"share": "target"}, {"copy": ["nested.0", "nested.2"]}, {"keep": "target"}:
        clone = ramet.clone(source, **rules)
        assert clone["target"] is None and clone["nested"][0] is clone["nested"][2] is None
        assert clone["nested"][1] is clone["net"]
    for source in Pair(None, net), Frozen(None, net), FrozenSlotted(None, net):
        assert ramet.clone(source, share="first").first is None


def test_members_that_are_none_and_members_that_copy_themselves():
    class Box:
        def __init__(self, held):
            self.held = held

        def __deepcopy__(self, memo):
            return Box(copy.deepcopy(self.held, memo))

    net = nn.Linear(1, 1)
    clone = ramet.clone({"none": None, "box": Box([net]), "nets": [net, None], "pair": (net, None)})
    assert clone["box"].held[0] is clone["nets"][0] is clone["pair"][0] and clone["none"] is None


def test_containers_that_two_members_hold_stay_one():
    shared = [nn.Linear(1, 1)]
    clone = ramet.clone({"a": shared, "b": shared})
    assert clone["a"] is clone["b"] and clone["a"] is not shared
    cycle = [nn.Linear(1, 1)]
    cycle.append((cycle,))
    clone = ramet.clone(cycle)
    assert clone[1][0] is clone and clone[0] is not cycle[0]


def test_a_container_that_a_module_also_holds_stays_one():
    model = nn.Linear(1, 1)
    model.peers = [nn.Linear(1, 1)]
    for source in (model, model.peers), (model.peers, model):
        clone = ramet.clone(source, share=True)
        made = clone[0] if source[0] is model else clone[1]
        peers = clone[1] if source[0] is model else clone[0]
        assert made.peers is peers and peers[0].weight is model.peers[0].weight


def test_a_kept_container_keeps_its_members_and_their_ties():
    a, b = tied_pair()
    guard = threading.Lock()
    source = (a, [b, {"guard": guard}])
    clone = ramet.clone(source, keep="1")
    assert clone[1] is source[1] and clone[0] is not a and clone[0].weight is a.weight
    assert ramet.clone(source, keep=[source]) is source
    for shape in "frozen dataclass with slots", "named tuple":
        made = SHAPES[shape][0](b, guard)
        clone = ramet.clone((a, made), keep="1")
        assert clone[1] is made and clone[0].weight is a.weight


TENSORS = {
    "parameter": lambda: nn.Parameter(torch.arange(3.0)),
    "frozen parameter": lambda: nn.Parameter(torch.arange(3.0), requires_grad=False),
    "tensor": lambda: torch.arange(3.0),
    "tensor with a gradient": lambda: torch.arange(3.0, requires_grad=True),
    "buffer": lambda: nn.Buffer(torch.arange(3.0)),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tensor_may_be_a_member(kind, shape):
    make, (name, _) = SHAPES[shape]
    tensor = TENSORS[kind]()
    tensor.note = ["mine"]
    source = make(tensor, nn.Linear(3, 3))
    clone = members(ramet.clone(source))[0]
    assert type(clone) is type(tensor) and clone.requires_grad == tensor.requires_grad and clone.note == ["mine"]
    assert torch.equal(clone, tensor) and clone.data_ptr() != tensor.data_ptr()
    with torch.no_grad():
        clone.zero_()
    assert tensor.any()
    for rule in name, tensor, True, f"{name}*":
        assert members(ramet.clone(source, share=rule))[0] is tensor
    assert members(ramet.clone(source, keep=name))[0] is tensor
    assert name in ramet.plan(source)


@pytest.mark.parametrize("kind", TENSORS)
def test_a_member_is_a_parameter_if_it_is_one_and_else_a_buffer(kind):
    tensor = TENSORS[kind]()
    is_parameter = isinstance(tensor, nn.Parameter)
    assert (ramet.clone((tensor,), share=nn.Parameter)[0] is tensor) == is_parameter
    assert (ramet.clone([tensor], share=nn.Buffer)[0] is tensor) == (not is_parameter)


def test_ties_between_tensors_and_modules_are_kept():
    model = nn.Linear(3, 3)
    flat = torch.arange(6.0)
    source = {"model": model, "weight": model.weight, "head": flat[:4], "tail": flat[2:], "twice": [flat, flat]}
    clone = ramet.clone(source)
    assert clone["weight"] is clone["model"].weight and clone["twice"][0] is clone["twice"][1]
    clone["tail"].zero_()
    assert clone["head"].tolist() == [0, 1, 0, 0] and flat.tolist() == [0, 1, 2, 3, 4, 5]
    names = {tie.names for tie in ramet.catalog(source)}
    assert names == {("weight", "model.weight"), ("head", "tail", "twice.0", "twice.1")}
    assert ramet.clone(source, share="weight")["model"].weight is model.weight


def test_device_and_dtype_reach_member_tensors():
    source = {"weight": nn.Parameter(torch.ones(2)), "mask": torch.ones(2), "ids": torch.arange(2), "held": {"x": 1.0}}
    half = ramet.clone(source, dtype=torch.float16)
    assert [t.dtype for t in list(half.values())[:3]] == [torch.float16, torch.float16, torch.int64]
    meta = ramet.clone(source, device="meta")
    assert all(meta[name].is_meta for name in ("weight", "mask", "ids")) and not source["mask"].is_meta


def test_a_member_is_the_sessions_own_also_within_a_root_that_holds_it():
    root = nn.ModuleDict({"embed": nn.Embedding(3, 2), "body": nn.Linear(2, 3), "head": nn.Linear(2, 3)})
    root["head"].weight = root["embed"].weight
    assert ramet.clone([root["head"]], within=root)[0].weight is root["embed"].weight
    head, weight, [body] = ramet.clone((root["head"], root["embed"].weight, [root["body"]]), within=root)
    assert head.weight is weight is not root["embed"].weight and body is not root["body"]
    optimizer = torch.optim.SGD(root.parameters(), lr=0.1)
    head, follower = ramet.clone((root["head"], optimizer), within=root)
    parameters = follower.param_groups[0]["params"]
    assert parameters[0] is root["embed"].weight is head.weight and any(p is head.bias for p in parameters)
    assert any(p is root["body"].bias for p in parameters) and not any(p is root["head"].bias for p in parameters)


def test_a_memo_knows_every_member():
    model = nn.Linear(1, 1)
    optimizer, tensor = torch.optim.SGD(model.parameters()), torch.ones(1)
    memo = {}
    clone = ramet.clone((model, [optimizer], {"t": tensor}), memo=memo)
    assert [memo[id(it)] for it in (model, optimizer)] == [clone[0], clone[1][0]]
    assert memo[id(tensor)] is clone[2]["t"]
    again = ramet.clone({"model": model, "optimizer": optimizer, "t": tensor}, memo=memo)
    assert again["model"] is clone[0] and again["optimizer"] is clone[1][0] and again["t"] is clone[2]["t"]


def test_a_state_dict_is_a_session_of_tensors():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = model.state_dict()
    clone = ramet.clone(state)
    assert type(clone) is OrderedDict and list(clone) == list(state) and clone._metadata == state._metadata
    assert clone._metadata is not state._metadata
    model.load_state_dict(clone)
    assert all(clone[name].data_ptr() != state[name].data_ptr() for name in state)


def test_a_member_with_a_dot_in_its_key_has_no_path_but_its_rules():
    a = nn.Linear(1, 1)
    assert ramet.clone({"a.b": a}, share=True)["a.b"].weight is a.weight
    assert ramet.clone({"a.b": a}, share=a)["a.b"].weight is a.weight


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (3, r"the source is a torch.nn.Module, or a session: .* not 'int'"),
        (None, "not 'NoneType'"),
        ({1, 2}, "not 'set'"),
        (nn.Linear, "not 'type'"),
        (Open, "not 'type'"),
        (torch.Size([2]), "not 'torch.Size'"),
        (threading.Lock(), "not '_thread.lock'"),
        (torch.ones(2), r"not 'Tensor'; tensor.detach\(\).clone\(\) copies one tensor, and clone\(\(tensor,\)\)"),
        (nn.Parameter(torch.ones(2)), r"not 'Parameter'; .*clone\(\(tensor,\)\)"),
        (torch.optim.SGD([torch.ones(1)]), r"not 'SGD'; alone it would .*clone\(\(module, optimizer\)\) clones both"),
        ((), r"the session is empty: it holds no module, optimizer or tensor; the source is a torch.nn.Module, or"),
        ([], "is empty"),
        ({}, "is empty"),
        ([(), {"a": []}], "is empty"),
        ((None, None), "is empty"),
        ({"rate": 0.1, "sizes": [1, 2]}, "is empty"),
        (Open(1, "two"), "is empty"),
        (FrozenSlotted(None, ()), "is empty"),
    ],
    ids=str,
)
def test_what_is_no_source_is_an_error_that_says_what_is(source, text):
    for call in ramet.clone, ramet.plan, ramet.catalog, lambda source: ramet.clones(source, 2):
        with pytest.raises(ramet.PlanError, match=text):
            call(source)


def test_clones_of_a_session_are_apart():
    a, b = tied_pair()
    made = ramet.clones(Pair(a, [b]), 3, share="first.bias")
    assert len({id(m.first.weight) for m in made}) == 3 and all(m.first.bias is a.bias for m in made)
    assert all(m.first.weight is m.second[0].weight for m in made)
