"""Classes that hash, reduce and copy themselves in ways of their own, names that are no text, and nesting too deep."""

import copy
import subprocess
import sys

import pytest
import torch
from tests.python.test_like_deepcopy import Net
from torch import nn

import ramet


class Hashed(nn.Module):
    """Is what its key says, so it can be asked for its hash only once it is complete."""

    def __init__(self, key):
        super().__init__()
        self.key = key
        self.fc = nn.Linear(2, 2)

    def __hash__(self):
        return hash(self.key)

    def __eq__(self, other):
        return isinstance(other, Hashed) and self.key == other.key


def test_modules_with_a_hash_of_their_own_are_keys():
    net = nn.Sequential(Hashed(1), Hashed(2))
    net.order = {net[0]: "first", net[1]: "second"}
    net.members = {net[0], net[1]}
    net[0].nested = [{net[1]: 0}]
    for clone in [ramet.clone(net), *ramet.clones(net, 2)]:
        assert list(clone.order) == [clone[0], clone[1]]
        assert all(key is module for key, module in zip(clone.order, clone, strict=True))
        assert clone.order[clone[1]] == "second"
        assert {id(module) for module in clone.members} == {id(module) for module in clone}
        assert next(iter(clone[0].nested[0])) is clone[1]


class WithItems(dict, nn.Module):
    __hash__ = object.__hash__

    def __init__(self, **items):
        nn.Module.__init__(self)
        dict.__init__(self, **items)
        self.fc = nn.Linear(2, 2)


class WithElements(nn.Module, list):
    __hash__ = object.__hash__

    def __init__(self):
        nn.Module.__init__(self)


class WithArguments(nn.Module):
    def __new__(cls, size):
        return object.__new__(cls)

    def __init__(self, size):
        super().__init__()
        self.size = size

    def __getnewargs__(self):
        return (self.size,)


def test_a_module_that_is_more_than_its_dict():
    elements = WithElements()
    elements += [1, [2]]
    net = Net(items=WithItems(a=1, b=[2]), elements=elements, sized=WithArguments(3))
    clone = ramet.clone(net)
    assert dict(clone.items) == {"a": 1, "b": [2]} and clone.items["b"] is not net.items["b"]
    assert torch.equal(clone.items.fc.weight, net.items.fc.weight)
    assert clone.items.fc.weight is not net.items.fc.weight
    assert list(clone.elements) == [1, [2]] and clone.elements[1] is not net.elements[1]
    assert clone.sized.size == 3


class Box:
    pass


def test_a_deepcopy_of_the_instance_is_called():
    net = Net(box=Box(), plain=Box())
    net.fc.__deepcopy__ = lambda memo: net.fc
    net.box.__deepcopy__ = lambda memo: net.box
    clone = ramet.clone(net)
    assert clone.fc is net.fc and clone.box is net.box
    assert clone.out is not net.out and clone.plain is not net.plain


class Backward:
    """Copies itself, and refers to what refers to it."""

    def __deepcopy__(self, memo):
        clone = memo[id(self)] = Backward()
        clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return clone


def test_a_tuple_that_an_item_which_copies_itself_refers_back_to():
    item = Backward()
    net = Net(pair=(item, 1))
    item.back = net.pair
    clone = ramet.clone(net)
    assert clone.pair[0].back is clone.pair and clone.pair is not net.pair


def test_names_that_are_no_text():
    net = Net(files={"caf\udce9.txt": [torch.ones(2)]})
    setattr(net, "caf\udce9", [1])
    clone = ramet.clone(net)
    assert torch.equal(clone.files["caf\udce9.txt"][0], torch.ones(2))
    assert clone.files["caf\udce9.txt"][0] is not net.files["caf\udce9.txt"][0]
    assert getattr(clone, "caf\udce9") == [1]
    assert not ramet.catalog(net)


@pytest.mark.parametrize("make", [lambda x: (x,), lambda x: frozenset([x]), lambda x: [x, Box], lambda x: {"a": x}])
@pytest.mark.parametrize("limit", [1000, 10**6])
def test_what_is_nested_too_deep_is_an_error(make, limit):
    net = Net(deep=1)
    for _ in range(50_000):
        net.deep = make(net.deep)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    try:
        with pytest.raises(RecursionError, match=r"while cloning plain state|for which there is no stack"):
            ramet.clone(net)
    finally:
        sys.setrecursionlimit(before)
        while not isinstance(net.deep, int):  # to free it at once would nest as deep
            net.deep = next(iter(net.deep.values() if isinstance(net.deep, dict) else net.deep))


class Reducing(nn.Module):
    """Parameters of its own and a child; its classes below are pickled each in a way of its own."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.fc = nn.Linear(2, 2)


def rebuilt(cls, state):
    made = cls.__new__(cls)
    made.__dict__.update(state)
    return made


class ByReduce(Reducing):
    def __reduce__(self):
        return rebuilt, (type(self), self.__dict__)


class ByArguments(Reducing):
    def __new__(cls, size=1):
        return object.__new__(cls)

    def __getnewargs__(self):
        return (1,)


class ByTuple(Reducing):
    def __getstate__(self):
        return (self.__dict__.copy(), "version 1")

    def __setstate__(self, state):
        self.__dict__.update(state[0])


class ItemsToo(dict, Reducing):
    __hash__ = object.__hash__

    def __init__(self):
        Reducing.__init__(self)
        self["a"] = [1]


@pytest.mark.parametrize("cls", [ByReduce, ByArguments, ByTuple, ItemsToo])
def test_rules_reach_all_of_a_module_that_is_pickled_in_a_way_of_its_own(cls):
    model = nn.Sequential(cls(), nn.ParameterList([torch.ones(1)]))
    model[1][0] = model[0].w
    assert list(ramet.plan(model)) == ["0.w", "0.fc.weight", "0.fc.bias", "1.0"]
    assert [tie.names for tie in ramet.catalog(model)] == [("0.w", "1.0")]
    clone = ramet.clone(model)
    assert type(clone[0]) is cls and clone[0].w is clone[1][0] is not model[0].w
    assert torch.equal(clone[0].fc.weight, model[0].fc.weight)
    shared = ramet.clone(model, share=cls)
    assert shared[0].w is model[0].w and shared[0].fc.weight is model[0].fc.weight and shared[0] is not model[0]
    assert ramet.clone(model, share="0.fc")[0].fc.bias is model[0].fc.bias
    assert not any(p.requires_grad for p in ramet.clone(model, freeze=True).parameters())
    assert all(p.dtype == torch.float64 for p in ramet.clone(model, dtype=torch.float64).parameters())
    assert all(p.is_meta for p in ramet.clone(model, meta=True).parameters())


SMALL_STACK = """
import sys, threading, torch, ramet
model = torch.nn.Linear(1, 1)
model.deep = []
for _ in range(3500):
    model.deep = [model.deep]
sys.setrecursionlimit(20_000)
def clone():
    try:
        ramet.clone(model)
    except RecursionError as error:
        print(error)
threading.stack_size(512 << 10)
thread = threading.Thread(target=clone)
thread.start()
thread.join()
"""


def test_a_thread_with_a_small_stack_gets_an_error_too():
    done = subprocess.run([sys.executable, "-c", SMALL_STACK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("for which there is no stack\n")
