"""What copy.deepcopy handles, ramet.clone handles: an equal result for each kind of module, attribute and tensor."""

import copy
import copyreg
import dataclasses
import enum
import functools
import subprocess
import sys
import types
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import ramet
from ramet.testing import assert_independent


class Net(nn.Module):
    """Two layers, and whatever a test sets."""

    def __init__(self, **attributes):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.out = nn.Linear(3, 2)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.out(torch.relu(self.fc(x)))


X = torch.ones(2, 3)


def expect_equal(source, *inputs):
    """Clones `source`, and expects what copy.deepcopy gives: class, state, output; returns the clone."""
    clone = ramet.clone(source)
    try:
        copied = copy.deepcopy(source)
    except RuntimeError as error:  # what a forward has left in a pruned module, say
        assert "created explicitly by the user" in str(error)
        copied = source
    assert type(clone).__name__ == type(copied).__name__
    assert clone.__dict__.keys() == copied.__dict__.keys()
    assert list(clone.state_dict()) == list(copied.state_dict()) == list(source.state_dict())
    if inputs:
        torch.manual_seed(0)
        expected = source(*inputs)
        torch.manual_seed(0)
        assert torch.equal(clone(*inputs), expected)
    return clone


def test_the_handle_of_a_hook_removes_the_hook_of_its_own_side():
    calls = []
    net = Net()
    net.handle = net.fc.register_forward_hook(lambda *_: calls.append(1))
    clone = ramet.clone(net)
    clone.handle.remove()
    clone(X)
    assert calls == []
    net(X)
    assert calls == [1]


def test_hooks_of_all_kinds_run_for_the_clone():
    class Hooked(Net):
        def __init__(self):
            super().__init__()
            self.seen = []
            self.register_forward_pre_hook(self.before)
            self.register_forward_hook(functools.partial(self.after, "after"))
            self.register_full_backward_hook(self.backward)
            self.register_state_dict_pre_hook(self.saved)
            self.register_load_state_dict_post_hook(self.loaded)

        def before(self, *_):
            self.seen.append("before")

        def after(self, text, *_):
            self.seen.append(text)

        def backward(self, *_):
            self.seen.append("backward")

        def saved(self, *_):
            self.seen.append("saved")

        def loaded(self, *_):
            self.seen.append("loaded")

    net = Hooked()
    clone = ramet.clone(net)
    clone(X.clone().requires_grad_()).sum().backward()
    clone.load_state_dict(clone.state_dict())
    assert clone.seen == ["before", "after", "backward", "saved", "loaded"]
    assert net.seen == []


def test_a_forward_of_the_instance_follows_the_clone():
    net = Net()
    net.scale = 2.0
    net.forward = types.MethodType(lambda self, x: self.fc(x) * self.scale, net)
    clone = expect_equal(net, X)
    clone.scale = 0.0
    assert clone(X).abs().sum() == 0
    assert net(X).abs().sum() != 0


def test_a_closure_stays_what_it_is():
    net = Net()
    net.forward = lambda x: net.fc(x)
    clone = ramet.clone(net)
    assert clone.forward is net.forward
    assert torch.equal(clone(X), net.fc(X))


def test_a_function_registered_with_copyreg_is_used():
    class Table:
        def __init__(self, rows):
            self.rows = rows

    copyreg.pickle(Table, lambda table: (Table, ([*table.rows, "copied"],)))
    clone = ramet.clone(Net(table=Table(["row"])))
    assert clone.table.rows == ["row", "copied"]


class Color(enum.Enum):
    red = 1


@dataclasses.dataclass
class Config:
    width: int
    layers: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Frozen:
    weight: torch.Tensor


def test_enums_dataclasses_and_properties():
    class Wide(Net):
        @property
        def width(self):
            return self.config.width

        @width.setter
        def width(self, value):
            self.config.width = value

    net = Wide(color=Color.red, config=Config(3, [1]), frozen=Frozen(torch.ones(2)))
    clone = expect_equal(net, X)
    clone.width = 5
    clone.config.layers.append(2)
    assert (net.width, net.config.layers, clone.width) == (3, [1], 5)
    assert clone.color is Color.red
    assert torch.equal(clone.frozen.weight, net.frozen.weight)
    assert clone.frozen.weight is not net.frozen.weight


def test_attributes_set_before_the_constructor_of_module():
    class Early(nn.Module):
        def __init__(self):
            self.early = [1]
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(x)

    clone = expect_equal(Early(), X)
    assert clone.early == [1]


def test_parents_peers_and_cycles():
    net = Net()
    net.fc.parent = weakref.ref(net)
    net.fc.peers = [net.out]
    net.__dict__["itself"] = net
    clone = ramet.clone(net)
    assert clone.fc.parent() is clone
    assert clone.fc.peers[0] is clone.out
    assert clone.itself is clone


class Tagged(nn.Parameter):
    """A Parameter with a class of its own."""


class OwnBuffer(nn.Buffer):
    """A Buffer with a class of its own."""


def test_parameters_and_buffers_keep_their_class():
    net = Net(
        tagged=Tagged(torch.ones(2)), table=nn.Buffer(torch.ones(2)), quiet=nn.Buffer(torch.ones(1), persistent=False)
    )
    net.tagged.note = "kept"
    clone = expect_equal(net, X)
    assert type(clone.tagged) is Tagged
    assert clone.tagged.note == "kept"
    assert isinstance(clone.table, nn.Buffer)
    assert [name for name, _ in clone.named_buffers()] == ["table", "quiet"]


def channels_last():
    return torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)


TENSORS = {
    "0-dim": lambda: torch.tensor(3.0),
    "zero-element": lambda: torch.empty(0, 3),
    "expanded": lambda: torch.ones(3, 1).expand(3, 4),
    "channels-last": channels_last,
    "a transposed view": lambda: torch.arange(6.0).view(2, 3).t(),
    "every other column": lambda: torch.arange(12.0).view(3, 4)[:, ::2],
    "complex": lambda: torch.complex(torch.ones(2), torch.arange(2.0)),
    "conj bit": lambda: torch.complex(torch.ones(2), torch.arange(2.0)).conj(),
    "neg bit": lambda: torch.complex(torch.ones(2), torch.arange(2.0)).conj().imag,
    "bool": lambda: torch.tensor([True, False]),
    "bfloat16": lambda: torch.ones(3, dtype=torch.bfloat16),
    "float8": lambda: torch.ones(4).to(torch.float8_e4m3fn),
    "quantized": lambda: torch.quantize_per_tensor(torch.arange(4.0), 0.5, 1, torch.quint8),
    "quantized by channel": lambda: torch.quantize_per_channel(
        torch.arange(4.0).view(2, 2), torch.ones(2), torch.zeros(2, dtype=torch.long), 0, torch.qint8
    ),
    "quantized by channel, floating zero points": lambda: torch.quantize_per_channel(
        torch.arange(4.0).view(2, 2), torch.ones(2), torch.zeros(2), 0, torch.quint8
    ),
    "coo": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "meta": lambda: torch.empty(2, 3, device="meta"),
    "mkldnn": lambda: torch.ones(2, 2).to_mkldnn(),
    "a base with gradient": lambda: torch.ones(2, requires_grad=True),
}


def dense(tensor):
    """Values that torch.equal can compare."""
    if tensor.is_meta:
        return torch.zeros(tensor.shape)
    if tensor.is_quantized:
        return tensor.dequantize()
    if tensor.is_nested:
        return torch.cat(tensor.unbind())
    tensor = tensor if tensor.layout is torch.strided else tensor.to_dense()
    return tensor.float() if tensor.dtype is torch.float8_e4m3fn else tensor


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("place", ["buffer", "plain state"])
def test_every_kind_of_tensor_is_copied_as_it_is(kind, place):
    tensor = TENSORS[kind]()
    net = Net()
    if place == "buffer":
        net.register_buffer("it", tensor)
    else:
        net.it = [tensor]
    clone = ramet.clone(net)
    made = clone.it if place == "buffer" else clone.it[0]
    assert made is not tensor
    assert (type(made), made.dtype, made.device, made.layout) == (
        type(tensor),
        tensor.dtype,
        tensor.device,
        tensor.layout,
    )
    assert made.is_conj() == tensor.is_conj()
    assert made.is_neg() == tensor.is_neg()
    assert made.requires_grad == tensor.requires_grad
    if tensor.layout is torch.strided and not tensor.is_nested:
        assert made.stride() == tensor.stride()
    before = dense(tensor).clone()
    assert torch.equal(dense(made), before)
    if tensor.is_quantized:
        assert made.data_ptr() != tensor.data_ptr()
    if tensor.is_meta or tensor.is_quantized or tensor.layout is torch._mkldnn or kind == "expanded":
        return
    with torch.no_grad():
        made.zero_()
    assert torch.equal(dense(tensor), before)


def fx_module():
    return torch.fx.symbolic_trace(Net())


def pruned():
    net = Net()
    prune.l1_unstructured(net.fc, "weight", 0.5)
    return net


def old_spectral_norm():
    net = Net()
    nn.utils.spectral_norm(net.fc)
    return net.eval()


def new_spectral_norm():
    net = Net()
    parametrizations.spectral_norm(net.fc)
    return net.eval()


def averaged():
    average = torch.optim.swa_utils.AveragedModel(Net())
    average.update_parameters(Net())
    return average


MODULES = {
    "fx GraphModule": fx_module,
    "pruned": pruned,
    "spectral_norm, old": old_spectral_norm,
    "spectral_norm, new": new_spectral_norm,
    "weight_norm, new": lambda: parametrizations.weight_norm(nn.Linear(3, 2)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(3, 3)),
    "AveragedModel": averaged,
    "DataParallel": lambda: nn.DataParallel(Net()),
    "dropout in training": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.AlphaDropout(0.2)).train(),
    "OptimizedModule": lambda: torch.compile(Net(), backend="eager"),
    "a module in half precision": lambda: Net().bfloat16().float(),
    "lazy, materialised": lambda: nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d()).eval(),
    "quantized, dynamic": lambda: torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", MODULES)
def test_modules_of_all_makings_are_cloned(kind):
    net = MODULES[kind]()
    if kind == "lazy, materialised":
        net(X)
    clone = expect_equal(net, X)
    if kind != "quantized, dynamic":
        assert_independent(net, clone)


@pytest.mark.filterwarnings("ignore")
def test_a_pruned_module_goes_on_being_pruned():
    net = pruned()
    clone = ramet.clone(net)
    prune.remove(clone.fc, "weight")
    assert not hasattr(clone.fc, "weight_orig")
    assert torch.equal(clone(X), net(X))
    assert hasattr(net.fc, "weight_orig")


def test_an_average_goes_on_averaging_apart():
    average = averaged()
    clone = ramet.clone(average)
    before = average.module.fc.weight.clone()
    clone.update_parameters(Net())
    assert clone.n_averaged == average.n_averaged + 1
    assert torch.equal(average.module.fc.weight, before)


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
