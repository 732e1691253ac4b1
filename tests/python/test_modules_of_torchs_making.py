"""Parametrized and scripted modules: what of them is not in their __dict__ is the clone's own too."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import ramet

X = torch.rand(2, 3)


def test_removing_a_parametrization_leaves_the_other_side_parametrized():
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    expected = model(X)
    clone = ramet.clone(model)
    assert type(clone) is not type(model) and type(clone).__name__ == type(model).__name__
    assert isinstance(clone, nn.Linear)
    parametrize.remove_parametrizations(clone, "weight")
    assert type(clone) is nn.Linear and parametrize.is_parametrized(model, "weight")
    torch.testing.assert_close(clone(X), expected)
    assert torch.equal(model(X), expected)


def test_a_parametrization_added_to_a_clone_is_its_own():
    class Double(nn.Module):
        def forward(self, weight):
            return 2 * weight

    model = parametrizations.orthogonal(nn.Linear(3, 3))
    clone = ramet.clone(model)
    parametrize.register_parametrization(clone, "bias", Double())
    assert torch.equal(clone.bias, 2 * model.bias) and not parametrize.is_parametrized(model, "bias")


def test_a_cached_parametrization_is_each_sides_own():
    model = parametrizations.weight_norm(nn.Linear(3, 3))
    clone = ramet.clone(model)
    with torch.no_grad():
        clone.parametrizations.weight.original0.zero_()
    with parametrize.cached():
        assert model.weight.any() and not clone.weight.any()


def test_ties_between_parametrized_originals_are_kept():
    model = nn.ModuleList([parametrizations.weight_norm(nn.Linear(3, 3)) for _ in range(2)])
    model[1].parametrizations.weight.original1 = model[0].parametrizations.weight.original1
    clone = ramet.clone(model)
    tied = [layer.parametrizations.weight.original1 for layer in clone]
    assert tied[0] is tied[1] and tied[0] is not model[0].parametrizations.weight.original1
    shared = ramet.clone(model, share=True)
    assert shared[0].parametrizations.weight.original0 is model[0].parametrizations.weight.original0
    clone[0](X).sum().backward()
    assert model[0].parametrizations.weight.original1.grad is None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.rest = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3))

    def forward(self, x):
        return self.rest(self.first(x))


def last(model):
    return getattr(model.rest, "1")


def test_a_scripted_module_gets_tensors_by_the_rules():
    model = torch.jit.script(Net())
    clone = ramet.clone(model, share="first")
    assert clone.first.weight is model.first.weight and last(clone).weight is not last(model).weight
    with torch.no_grad():
        last(clone).weight.zero_()
    assert last(model).weight.any() and not clone.eval()(X).equal(model.eval()(X))
    tower = ramet.clone(model, share=True)
    assert all(a is b for a, b in zip(model.parameters(), tower.parameters(), strict=True))
    tower(X).sum().backward()
    assert model.first.weight.grad is tower.first.weight.grad is not None


def test_a_scripted_module_stays_tied_to_what_is_beside_it():
    model = nn.Module()
    model.scripted = torch.jit.script(Net())
    model.head = nn.Linear(3, 3)
    model.head.weight = model.scripted.first.weight
    clone = ramet.clone(model)
    assert clone.head.weight is clone.scripted.first.weight and clone.head.weight is not model.head.weight
    with torch.no_grad():
        clone.head.weight.zero_()
    assert not clone.scripted.first(X).equal(model.scripted.first(X))


def test_ties_within_a_scripted_module_are_kept():
    net = Net()
    last(net).weight = net.first.weight
    model = torch.jit.script(net)
    assert [tie.names for tie in ramet.catalog(model)] == [("first.weight", "rest.1.weight")]
    clone = ramet.clone(model)
    assert clone.first.weight.data_ptr() == last(clone).weight.data_ptr() != model.first.weight.data_ptr()


@pytest.mark.parametrize("kind", [torch.jit.script, lambda net: torch.jit.trace(net, X)])
def test_a_scripted_module_lists_its_tensors(kind):
    model = kind(Net().eval())
    assert "first.weight" in ramet.plan(model) and "rest.0.running_mean" in ramet.plan(model)
    assert torch.equal(ramet.clone(model)(X), model(X))


def test_a_module_compiled_in_place_is_cloned_uncompiled():
    model = Net().eval()
    model.compile(backend="eager")
    clone = ramet.clone(model)
    assert torch.equal(clone(X), model(X)) and "_compiled_call_impl" not in clone.__dict__
