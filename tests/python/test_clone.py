"""Clones with nothing shared, held against copy.deepcopy and against what deepcopy gets wrong."""

import copy
import threading
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.fc2 = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(self.norm(self.fc1(x)))


def assert_twins(source, clone):
    """Equal structure, flags and values; nothing in common; a write to one side stays there."""
    assert [n for n, _ in source.named_modules()] == [n for n, _ in clone.named_modules()]
    for a, b in zip(source.modules(), clone.modules(), strict=True):
        assert a is not b and a.training == b.training
        assert type_before_parametrizations(a) is type_before_parametrizations(b)
        assert list(a.__dict__) == list(b.__dict__)
    for attribute in "named_parameters", "named_buffers":
        for (name, a), (other, b) in zip(getattr(source, attribute)(), getattr(clone, attribute)(), strict=True):
            assert name == other and a is not b and type(a) is type(b)
            assert (a.dtype, a.shape, a.stride(), a.requires_grad) == (b.dtype, b.shape, b.stride(), b.requires_grad)
            assert torch.equal(a, b)
            if a.numel():
                before = a.detach().clone()
                with torch.no_grad():
                    b.zero_() if b.any() else b.fill_(1)
                assert torch.equal(a, before)
                with torch.no_grad():
                    b.copy_(before)


def test_nothing_is_shared():
    net = Net()
    clone = ramet.clone(net)
    assert_twins(net, clone)
    x = torch.rand(3, 4)
    assert torch.equal(net.eval()(x), clone.eval()(x))


def test_flags_and_gradients_are_as_deepcopy_leaves_them():
    net = Net()
    net.fc1.weight.requires_grad_(False)
    net.norm.eval()
    net(torch.rand(3, 4)).sum().backward()
    clone = ramet.clone(net)
    assert not clone.fc1.weight.requires_grad and clone.fc2.weight.requires_grad
    assert clone.training and not clone.norm.training
    assert clone.fc2.weight.grad is None and net.fc2.weight.grad is not None


def test_tied_weights_stay_tied():
    net = nn.ModuleDict({"embed": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    net["head"].weight = net["embed"].weight
    clone = ramet.clone(net)
    assert clone["head"].weight is clone["embed"].weight
    assert clone["head"].weight is not net["embed"].weight


def test_a_module_with_two_names_stays_one_module():
    layer = nn.Linear(2, 2)
    clone = ramet.clone(nn.Sequential(layer, nn.ReLU(), layer))
    assert clone[0] is clone[2] and clone[0] is not layer


def test_views_of_one_storage_stay_views():
    net = nn.Module()
    flat = torch.arange(10.0)
    net.a, net.b = nn.Parameter(flat[:6]), nn.Parameter(flat[4:])
    clone = ramet.clone(net)
    assert clone.a.untyped_storage()._cdata == clone.b.untyped_storage()._cdata
    with torch.no_grad():
        clone.a[4] = 100
    assert clone.b[0] == 100 and net.b[0] == 4


def test_a_small_view_of_a_large_storage_copies_little():
    net = nn.Module()
    net.weight = nn.Parameter(torch.ones(10**6)[:4])
    assert ramet.clone(net).weight.untyped_storage().nbytes() == 16
    assert ramet.plan(net).nbytes == 16


def test_strides_dtypes_and_attributes_are_kept():
    net = nn.Module()
    net.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    net.small = nn.Parameter(torch.rand(3).half())
    net.small.note = ["mine"]
    net.register_buffer("count", torch.tensor(3), persistent=False)
    net.expanded = nn.Parameter(torch.rand(4, 1).expand(4, 3))
    clone = ramet.clone(net)
    assert_twins(net.conv, clone.conv)
    assert (
        clone.small.dtype == torch.float16 and clone.small.note == ["mine"] and clone.small.note is not net.small.note
    )
    assert clone.count == 3 and "count" not in clone.state_dict()
    assert clone.expanded.stride() == net.expanded.stride()


def test_plain_state_is_copied_with_its_inner_aliasing():
    net = Net()
    net.config = {"sizes": [1, 2], "name": "x"}
    net.same = net.config["sizes"]
    net.peers = [net.fc1, net.fc2]
    net.cache = torch.ones(3)
    net.pair = (net.fc1.weight, [1])
    net.cycle = []
    net.cycle.append(net.cycle)
    net.parent_of = {"self": net}
    clone = ramet.clone(net)
    assert clone.config == net.config and clone.config is not net.config
    assert clone.same is clone.config["sizes"] and clone.same is not net.same
    assert clone.peers[0] is clone.fc1 and clone.peers[1] is clone.fc2
    assert torch.equal(clone.cache, net.cache) and clone.cache is not net.cache
    assert clone.pair[0] is clone.fc1.weight and clone.pair[1] is not net.pair[1]
    assert clone.cycle[0] is clone.cycle
    assert clone.parent_of["self"] is clone


class Plain:
    def __init__(self, value):
        self.value = value


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Picky:
    def __init__(self, value):
        self.value, self.copied = value, 0

    def __deepcopy__(self, memo):
        made = Picky(copy.deepcopy(self.value, memo))
        made.copied = self.copied + 1
        return made


class Stateful:
    def __init__(self, value):
        self.value = value

    def __getstate__(self):
        return {"saved": self.value}

    def __setstate__(self, state):
        self.value = state["saved"]


class Counting(list):
    pass


@pytest.mark.parametrize("kind", [Plain, Slotted, Picky, Stateful])
def test_objects_are_taken_apart_as_by_deepcopy(kind):
    net = Net()
    net.held = kind(net.fc1)
    net.weights = kind([net.fc2.weight, {"x": 1}])
    clone = ramet.clone(net)
    assert type(clone.held) is kind and clone.held is not net.held
    assert clone.held.value is clone.fc1
    assert clone.weights.value[0] is clone.fc2.weight
    assert clone.weights.value[1] == {"x": 1} and clone.weights.value[1] is not net.weights.value[1]


def test_subclasses_of_containers_are_kept():
    net = nn.Module()
    net.items_ = Counting([1, [2]])
    net.items_.mark = {"a": 1}
    net.ordered = OrderedDict(b=1, a=[2])
    net.ordered.move_to_end("b")
    net.members = {1, "two", (3, 4)}
    clone = ramet.clone(net)
    assert type(clone.items_) is Counting and clone.items_ == [1, [2]] and clone.items_[1] is not net.items_[1]
    assert clone.items_.mark == {"a": 1}
    assert list(clone.ordered) == ["a", "b"] and clone.ordered["a"] is not net.ordered["a"]
    assert clone.members == net.members and clone.members is not net.members


def test_hooks_are_bound_to_the_clone():
    class Hooked(Net):
        def __init__(self):
            super().__init__()
            self.seen = []
            self.fc1.register_forward_hook(self.note)

        def note(self, module, args, output):
            self.seen.append(module)

    net = Hooked()
    clone = ramet.clone(net)
    clone(torch.rand(2, 4))
    assert net.seen == [] and clone.seen == [clone.fc1]
    handle = net.fc2.register_forward_hook(lambda *_: None)
    net.handle = handle
    clone = ramet.clone(net)
    clone.handle.remove()
    assert len(clone.fc2._forward_hooks) == 0 and len(net.fc2._forward_hooks) == 1


def test_recurrent_layers_keep_flat_weights():
    net = nn.LSTM(3, 4, num_layers=2)
    clone = ramet.clone(net)
    assert all(a is b for a, b in zip(clone._flat_weights, clone.parameters(), strict=True))
    x = torch.rand(5, 1, 3)
    assert torch.equal(net(x)[0], clone(x)[0])
    with torch.no_grad():
        clone.weight_hh_l0.zero_()
    assert not torch.equal(net(x)[0], clone(x)[0])


def test_lazy_modules_stay_lazy():
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    clone = ramet.clone(net)
    assert clone[0].has_uninitialized_params()
    clone(torch.rand(2, 5))
    assert clone[0].weight.shape == (3, 5) and net[0].has_uninitialized_params()


def test_parametrized_and_weight_normed_modules_run():
    net = nn.Sequential(
        nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    )
    clone = ramet.clone(net)
    x = torch.rand(2, 3)
    assert torch.equal(net(x), clone(x))
    assert_twins(net, clone)


def test_many_clones_at_once_are_distinct():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    layers = ramet.clones(layer, 6)
    assert len(layers) == 6
    pointers = {p.data_ptr() for m in [layer, *layers] for p in m.parameters()}
    assert len(pointers) == 7 * len(list(layer.parameters()))
    for made in layers:
        assert_twins(layer, made)
    assert ramet.clones(layer, 0) == []
    with pytest.raises(ramet.PlanError, match="zero or more"):
        ramet.clones(layer, -1)


def test_a_session_keeps_ties_between_its_members():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    c, d = ramet.clone((a, b))
    assert c.weight is d.weight and c.weight is not a.weight
    made = ramet.clone({"x": a, "y": [b, a]})
    assert list(made) == ["x", "y"] and made["y"][1] is made["x"] and made["y"][0].weight is made["x"].weight
    assert isinstance(ramet.clone([a]), list)
    x, y, z = ramet.clone(((), [], a))
    assert x == () and y == [] and torch.equal(z.weight, a.weight)


@pytest.mark.parametrize("source", [3, "net", None, torch.ones(2), [1], {1, 2}, nn.Linear])
def test_what_is_no_module_is_an_error(source):
    with pytest.raises(ramet.PlanError, match="module"):
        ramet.clone(source)


@pytest.mark.parametrize("make", [threading.Lock, lambda: (x for x in []), Path(__file__).open])
def test_what_cannot_be_copied_is_an_error_with_a_way_out(make):
    net = Net()
    net.fc1.held = make()
    with pytest.raises(ramet.UncloneableError, match=r"'fc1.held'.*keep='fc1.held'"):
        ramet.clone(net)
    clone = ramet.clone(net, keep="fc1.held")
    assert clone.fc1.held is net.fc1.held


def test_the_random_state_does_not_advance_and_no_constructor_runs():
    net = Net()
    state = torch.get_rng_state()
    made = []
    type(net).__init__, original = lambda self: made.append(self), type(net).__init__
    try:
        ramet.clone(net)
    finally:
        type(net).__init__ = original
    assert made == [] and torch.equal(state, torch.get_rng_state())


def test_deep_nesting_needs_no_stack():
    net = nn.Linear(1, 1)
    for _ in range(5000):
        outer = nn.Module()
        outer.inner = net
        net = outer
    depth, clone = 0, ramet.clone(net)
    while "inner" in clone._modules:
        clone, depth = clone.inner, depth + 1
    assert depth == 5000


def test_user_code_that_changes_the_source_is_an_error():
    net = Net()

    class Vandal:
        def __reduce_ex__(self, protocol):
            net.fc2.weight = nn.Parameter(torch.ones(1))
            return Vandal, ()

    net.vandal = Vandal()
    with pytest.raises(RuntimeError, match="changed the source"):
        ramet.clone(net)
