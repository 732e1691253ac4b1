"""What copy.deepcopy handles, ramet.clone handles: an equal result for each kind of module, attribute and tensor."""

import copy
import copyreg
import dataclasses
import enum
import functools
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
