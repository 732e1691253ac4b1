"""Hooks and weak references: they follow what is cloned, and bring nothing along."""

import functools
import threading
import weakref

import pytest
import torch
from torch import nn

import ramet


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.seen = []

    def note(self, *args):
        self.seen.append(len(args))

    def forward(self, x):
        return self.linear(x)


class Trainer:
    """Not part of any model, and nothing that could be copied."""

    def __init__(self):
        self.lock, self.calls = threading.Lock(), 0

    def hook(self, *args):
        self.calls += 1


REGISTRATIONS = {
    "forward": lambda model, hook: model.linear.register_forward_hook(hook),
    "forward_pre": lambda model, hook: model.linear.register_forward_pre_hook(hook),
    "backward": lambda model, hook: model.linear.register_full_backward_hook(hook),
    "state_dict": lambda model, hook: model.register_state_dict_pre_hook(hook),
    "load_pre": lambda model, hook: model.register_load_state_dict_pre_hook(hook),
    "load_post": lambda model, hook: model.register_load_state_dict_post_hook(hook),
}


def run(model):
    model(torch.rand(1, 2)).sum().backward()
    model.load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind", REGISTRATIONS)
@pytest.mark.parametrize("wrap", [lambda method: method, lambda method: functools.partial(method)])
def test_a_hook_bound_to_what_is_cloned_is_bound_to_the_clone(kind, wrap):
    model = Watched()
    REGISTRATIONS[kind](model, wrap(model.note))
    clone = ramet.clone(model)
    run(clone)
    assert clone.seen and not model.seen
    run(model)
    assert len(model.seen) == len(clone.seen)


@pytest.mark.parametrize("kind", REGISTRATIONS)
@pytest.mark.parametrize("wrap", [lambda method: method, lambda method: functools.partial(method)])
def test_a_hook_bound_to_something_else_brings_nothing_along(kind, wrap):
    model, trainer = Watched(), Trainer()
    REGISTRATIONS[kind](model, wrap(trainer.hook))
    clone = ramet.clone(model)
    run(clone)
    assert trainer.calls > 0


def test_a_hooks_owner_that_the_model_also_holds_is_cloned():
    class Owner:
        def hook(self, *args):
            self.called = True

    model = Watched()
    model.owner = Owner()
    model.linear.register_forward_hook(model.owner.hook)
    clone = ramet.clone(model)
    clone(torch.rand(1, 2))
    assert clone.owner.called and not hasattr(model.owner, "called")
    clone = ramet.clone(model, keep="owner")
    clone(torch.rand(1, 2))
    assert clone.owner is model.owner and model.owner.called


def test_a_bound_method_in_plain_state_brings_its_owner_along():
    class Owner:
        def call(self):
            return self

    model, owner = Watched(), Owner()
    model.call = owner.call
    clone = ramet.clone(model)
    assert type(clone.call()) is Owner and clone.call() is not owner


def test_weak_references_point_to_the_clone_of_what_is_cloned():
    model, outside = Watched(), nn.Linear(1, 1)
    model.child, model.root, model.other = weakref.ref(model.linear), weakref.ref(model), weakref.ref(outside)
    model.linear.up = [weakref.ref(model)]
    clone = ramet.clone(model)
    assert clone.child() is clone.linear and clone.root() is clone and clone.linear.up[0]() is clone
    assert clone.other() is outside
    del outside
    assert clone.other() is None and ramet.clone(model).other() is None


def test_weak_references_follow_what_is_kept():
    model = Watched()
    model.child = weakref.ref(model.linear)
    assert ramet.clone(model, keep="linear").child() is model.linear


def test_a_weak_reference_keeps_nothing_alive():
    model = Watched()
    model.table = {"x": Trainer}
    model.gone = weakref.ref(model.linear)
    clone = ramet.clone(model)
    del clone.linear
    assert clone.gone() is None


def test_weak_proxies_lead_to_the_clone_of_what_is_cloned():
    model = nn.Sequential(nn.Linear(2, 2))
    gone = nn.Linear(1, 1)
    model[0].parents = [weakref.proxy(model), weakref.proxy(model[0]), weakref.proxy(gone), weakref.proxy(gone)]
    outside = weakref.proxy(model)
    del gone
    clone = ramet.clone(model)
    clone.append(nn.Linear(2, 2))
    assert isinstance(clone[0].parents[0], weakref.CallableProxyType)
    assert len(clone[0].parents[0]) == 2 and len(outside) == 1
    assert clone[0].parents[1].weight is clone[0].weight
    assert clone[0].parents[2] is model[0].parents[2]


def test_weak_proxies_follow_a_module_that_is_replaced():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[0].peers = [weakref.proxy(model[1])]
    ramet.tie(model, "0", "1")
    assert model[0].peers[0].weight is model[0].weight
