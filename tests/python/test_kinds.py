"""Modules and state of unusual kinds: compiled, scripted, traced, wrapped, parametrized, sparse, subclassed."""

import collections
import dataclasses
import functools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x)


X = torch.rand(1, 2)


def spectral():
    model = nn.utils.spectral_norm(nn.Linear(2, 2))
    model(X)
    return model.eval()


def pruned():
    return prune.l1_unstructured(nn.Linear(2, 2), "weight", amount=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.jit.script(Net()),
        lambda: torch.fx.symbolic_trace(Net()),
        lambda: torch.compile(Net(), backend="eager"),
        lambda: nn.DataParallel(Net()),
        lambda: torch.optim.swa_utils.AveragedModel(Net()),
        lambda: nn.utils.weight_norm(nn.Linear(2, 2)),
        spectral,
        pruned,
    ],
)
def test_a_clone_gives_the_same_result_from_tensors_of_its_own(make):
    model = make()
    expected = model(X)
    clone = ramet.clone(model)
    assert torch.equal(clone(X), expected)
    with torch.no_grad():
        for tensor in clone.parameters():
            tensor.zero_()
    assert torch.equal(model(X), expected)


def test_a_traced_module_shares_by_rule():
    model = torch.fx.symbolic_trace(Net())
    assert ramet.clone(model, share=True).linear.weight is model.linear.weight


def test_tensor_subclasses_keep_their_class():
    class Special(nn.Parameter):
        pass

    class Marked(torch.Tensor):
        pass

    model = Net()
    model.special = Special(torch.ones(2))
    model.register_buffer("marked", torch.ones(2).as_subclass(Marked))
    clone = ramet.clone(model)
    assert type(clone.special) is Special and type(clone.marked) is Marked
    assert clone.special is not model.special and clone.special.data_ptr() != model.special.data_ptr()


def test_wrapper_subclasses_are_cloned_by_their_own_means():
    from torch.testing._internal.two_tensor import TwoTensor

    model = Net()
    model.two = nn.Parameter(TwoTensor(torch.ones(2), torch.zeros(2)))
    clone = ramet.clone(model)
    assert type(clone.two.data) is TwoTensor and clone.two is not model.two
    assert ramet.clone(model, share=True).two is model.two


def test_sparse_non_leaf_and_inference_tensors():
    model = Net()
    model.register_buffer("coo", torch.eye(3).to_sparse())
    model.register_buffer("csr", torch.eye(3).to_sparse_csr())
    model.product = model.linear.weight * 2
    with torch.inference_mode():
        model.register_buffer("inference", torch.ones(2))
    clone = ramet.clone(model)
    assert torch.equal(clone.coo.to_dense(), torch.eye(3)) and clone.csr.layout == torch.sparse_csr
    assert torch.equal(clone.product, model.product) and not clone.product.requires_grad
    assert not clone.inference.is_inference()
    clone.inference.add_(1)
    assert model.inference.sum() == 2


@dataclasses.dataclass
class Record:
    name: str
    parts: list


Point = collections.namedtuple("Point", "a b")


def test_standard_containers_and_callables_follow_the_clone():
    model = Net()
    model.record = Record("r", [model.linear])
    model.point = Point(model.linear, [1])
    model.defaults = collections.defaultdict(list, {"a": [model.linear]})
    model.queue = collections.deque([model.linear], maxlen=3)
    model.call = functools.partial(model.linear.forward)
    model.bound = model.linear.forward
    model.keyed = {model.linear: 1}
    clone = ramet.clone(model)
    linear = clone.linear
    assert linear is not model.linear
    assert clone.record.parts[0] is linear and clone.point.a is linear and type(clone.point) is Point
    assert clone.defaults["a"][0] is linear and clone.defaults["new"] == []
    assert clone.queue[0] is linear and clone.queue.maxlen == 3
    assert clone.call.func.__self__ is linear and clone.bound.__self__ is linear and linear in clone.keyed


def test_an_optimizer_held_by_a_module_follows_its_parameters():
    model = Net()
    model.optimizer = torch.optim.Adam(model.parameters())
    model(X).sum().backward()
    model.optimizer.step()
    clone = ramet.clone(model)
    assert clone.optimizer.param_groups[0]["params"][0] is clone.linear.weight
    assert next(iter(clone.optimizer.state)) is clone.linear.weight
    before = model.linear.weight.clone()
    clone(X).sum().backward()
    clone.optimizer.step()
    assert torch.equal(model.linear.weight, before) and not torch.equal(clone.linear.weight, before)


def test_a_generator_is_copied_with_its_state():
    model = Net()
    model.generator = torch.Generator().manual_seed(3)
    clone = ramet.clone(model)
    assert clone.generator is not model.generator
    assert torch.equal(torch.rand(3, generator=clone.generator), torch.rand(3, generator=model.generator))


def test_a_forwarding_getattr_is_not_taken_for_a_deepcopy():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Net()

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

    model = Wrapper()
    clone = ramet.clone(model)
    assert clone.inner is not model.inner and clone.linear is clone.inner.linear


def test_a_module_with_slots_is_a_module_to_rules():
    class Slotted(nn.Module):
        __slots__ = ("extra",)

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)

    model = Slotted()
    assert ramet.clone(model, share=True).linear.weight is model.linear.weight


def test_an_error_of_user_code_comes_through():
    class Refusing:
        def __deepcopy__(self, memo):
            raise ValueError("not me")

    model = Net()
    model.held = Refusing()
    with pytest.raises(ValueError, match="not me"):
        ramet.clone(model)
    assert ramet.clone(model, keep="held").held is model.held
