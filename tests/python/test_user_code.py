"""Classes with a __deepcopy__ of their own: they see every tensor and module of the clone, made before they run."""

import copy
import copyreg
import threading

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)

    def forward(self, x):
        return self.second(self.first(x))


class Box:
    def __init__(self, value):
        self.value = value

    def __deepcopy__(self, memo):
        return Box(copy.deepcopy(self.value, memo))


class CopiedByItself(Net):
    def __deepcopy__(self, memo):
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__dict__ = copy.deepcopy(self.__dict__, memo)
        made.flag = True
        return made


def same_storage(a, b):
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def test_a_module_beside_one_that_copies_itself_stays_the_one_within_it():
    model = nn.Module()
    model.inner = CopiedByItself()
    model.tied = model.inner.first
    model.view = nn.Parameter(model.inner.second.weight.detach()[1:])
    clone = ramet.clone(model)
    assert clone.inner.flag and clone.inner.first is clone.tied and clone.tied is not model.tied
    assert same_storage(clone.view, clone.inner.second.weight) and not same_storage(clone.view, model.view)
    with torch.no_grad():
        clone.inner.second.weight[1].fill_(7)
    assert (clone.view[0] == 7).all() and not (model.view[0] == 7).all()


def test_rules_reach_the_tensors_of_a_module_that_copies_itself():
    model = nn.Sequential(nn.Linear(3, 3), CopiedByItself())
    clone = ramet.clone(model, share="1.first")
    assert clone[1].first.weight is model[1].first.weight and clone[1].first is not model[1].first
    assert clone[1].second.weight is not model[1].second.weight
    with torch.no_grad():
        clone[1].second.weight.zero_()
    assert model[1].second.weight.any()


def test_a_traced_module_stays_tied_to_what_is_beside_it():
    model = nn.Module()
    net = Net()
    model.traced = torch.fx.symbolic_trace(net)
    model.first = net.first
    clone = ramet.clone(model)
    assert clone.traced.first is clone.first and clone.first is not model.first
    x = torch.rand(2, 3)
    assert torch.equal(clone.traced(x), model.traced(x))


def test_what_user_code_has_copied_is_not_copied_again():
    model = Net()
    listed = [1, [2]]
    model.box, model.listed, model.module = Box(listed), listed, Box(model.first)
    clone = ramet.clone(model)
    assert clone.box.value is clone.listed and clone.listed == [1, [2]] and clone.listed is not listed
    assert clone.module.value is clone.first


def test_user_code_gets_views_of_the_clones_storage():
    model = Net()
    model.box = Box(model.first.weight.detach()[1:])
    model.storage = model.second.weight.untyped_storage()
    clone = ramet.clone(model)
    assert same_storage(clone.box.value, clone.first.weight) and not same_storage(clone.box.value, model.first.weight)
    assert clone.storage.data_ptr() == clone.second.weight.data_ptr() != model.second.weight.data_ptr()
    with torch.no_grad():
        clone.first.weight.fill_(5)
    assert (clone.box.value == 5).all() and not (model.box.value == 5).all()


def test_user_code_gets_the_shared_storage_of_a_shared_tensor():
    model = Net()
    model.box = Box(model.first.weight.detach()[1:])
    clone = ramet.clone(model, share="first")
    assert same_storage(clone.box.value, model.first.weight)


def test_a_storage_cut_down_to_what_is_used_does_not_mislead_user_code():
    model = nn.Module()
    whole = torch.arange(1000.0)
    model.part = nn.Parameter(whole[500:504])
    model.box = Box(whole[:4])
    clone = ramet.clone(model)
    assert torch.equal(clone.box.value, whole[:4]) and torch.equal(clone.part, whole[500:504])
    assert clone.part.untyped_storage().nbytes() == 16


def test_user_code_sees_what_is_kept():
    model = Net()
    model.cache = [threading.Lock()]
    model.box = Box(model.cache)
    clone = ramet.clone(model, keep="cache")
    assert clone.box is not model.box and clone.box.value is clone.cache is model.cache


def test_user_code_may_clone_within_a_clone():
    class Nested:
        def __init__(self, net):
            self.net = net

        def __deepcopy__(self, memo):
            return Nested(ramet.clone(self.net))

    model = Net()
    model.nested = Nested(nn.Linear(2, 2))
    clone = ramet.clone(model)
    assert torch.equal(clone.nested.net.weight, model.nested.net.weight)
    assert clone.nested.net.weight is not model.nested.net.weight


class Restored(Net):
    def __setstate__(self, state):
        super().__setstate__(state)
        self.total = sum(p.numel() for p in self.parameters())


def test_modules_are_done_before_user_code_meets_them():
    class Counting(nn.Module):
        def __deepcopy__(self, memo):
            made = type(self).__new__(type(self))
            made.__dict__ = copy.deepcopy(self.__dict__, memo)
            made.counted = [sum(p.numel() for p in child.parameters()) for child in made.children()]
            made.flat = made.recurrent._flat_weights
            return made

    model = Counting()
    model.recurrent, model.restored = nn.LSTM(2, 2), Restored()
    model.outer = nn.Sequential(Restored())
    clone = ramet.clone(nn.Sequential(model, model.recurrent))
    assert clone[0].counted == [48, 24, 24] and clone[0].restored.total == 24
    assert clone[1] is clone[0].recurrent and clone[0].flat[0] is clone[1].weight_ih_l0


def test_an_outer_setstate_meets_inner_modules_that_are_done():
    model = Restored()
    model.inner = Restored()
    model.inner.state = {"box": Box([1])}
    clone = ramet.clone(model)
    assert clone.total == 48 and clone.inner.total == 24 and clone.inner.state["box"].value == [1]


def test_modules_are_cloned_as_before_once_something_was_compiled():
    torch.compile(nn.Linear(2, 2), backend="eager")(torch.rand(1, 2))
    model = nn.Sequential(CopiedByItself(), nn.LSTM(2, 2), Restored())
    clone = ramet.clone(model, share="0.first")
    assert clone[0].first.weight is model[0].first.weight and clone[2].total == 24
    assert clone[1]._flat_weights[0] is clone[1].weight_ih_l0 is not model[1].weight_ih_l0


def test_a_class_that_changes_between_clones_is_looked_at_anew():
    class Base:
        pass

    class State(Base):
        def __init__(self):
            self.value = 1

    class Net(nn.Linear):
        pass

    def double(self, memo):
        copied = State()
        copied.value = 2 * self.value
        return copied

    net = Net(2, 2)
    net.state = State()
    assert ramet.clone(net).state.value == 1
    Base.__deepcopy__ = double
    assert ramet.clone(net).state.value == 2
    del Base.__deepcopy__
    assert ramet.clone(net).state.value == 1
    copyreg.pickle(State, lambda state: (State, (), {"value": 3}))
    try:
        assert ramet.clone(net).state.value == 3
    finally:
        del copyreg.dispatch_table[State]
    assert ramet.clone(net).state.value == 1
    Net.__deepcopy__ = lambda self, memo: nn.Identity()
    assert type(ramet.clone(net)) is nn.Identity
    del Net.__deepcopy__
    assert type(ramet.clone(net)) is Net


class HandsOutItsModules(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def __getstate__(self):
        return {**self.__dict__, "_modules": self._modules.copy()}


class HandsOutItsCache(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache = {"k": [torch.zeros(1)]}

    def __getstate__(self):
        return {**self.__dict__, "first": self.cache.copy(), "second": self.cache.copy(), "third": self.cache.copy()}


def test_a_dict_that_a_getstate_has_made_is_not_taken_for_another_at_its_address() -> None:
    source = nn.Sequential(HandsOutItsModules(), HandsOutItsCache(), HandsOutItsCache())
    clone = ramet.clone(source)
    for module in clone[1], clone[2]:
        for name in "cache", "first", "second", "third":
            assert list(module.__dict__[name]) == ["k"]
    assert list(clone[0]._modules) == ["inner"]


def test_a_parameter_slot_may_hold_what_is_no_tensor() -> None:
    source = nn.Linear(2, 2)
    source._parameters["odd"] = [1, 2]
    clone = ramet.clone(source)
    assert clone._parameters["odd"] == [1, 2] and clone._parameters["odd"] is not source._parameters["odd"]


def test_a_class_need_not_say_which_module_it_is_of() -> None:
    class_of_none = type("Odd", (nn.Module,), {"__module__": None})
    assert type(ramet.clone(class_of_none())) is class_of_none
    names = {"nn": nn}
    exec("class Made(nn.Module):\n  def __setstate__(self, state): self.__dict__.update(state)\n", names)
    assert type(ramet.clone(names["Made"]())) is names["Made"]


class IsItsOwnCopy(dict):
    def copy(self):
        return self


def test_a_dict_that_does_not_copy_itself_is_an_error_and_the_source_stays() -> None:
    source = nn.Linear(2, 2)
    source.__dict__["_parameters"] = IsItsOwnCopy(source._parameters)
    weight = source.weight
    with pytest.raises(TypeError, match="must be a dict of its own"):
        ramet.clone(source)
    assert source.weight is weight


class StatefulByDict:
    """Its state, which is its live ``__dict__``, goes through a __setstate__."""

    def __setstate__(self, state):
        self.__dict__.update(state)


class Meddler:
    """Changes the object that holds it while that is being cloned."""

    def __init__(self, holder):
        self.holder = holder

    def __deepcopy__(self, memo):
        for name in list(self.holder.__dict__):
            if name.startswith("item"):
                del self.holder.__dict__[name]
        self.holder.__dict__.update({f"new{i}": [i] for i in range(1000)})
        return self


def test_a_state_that_user_code_changes_meanwhile_is_cloned_as_it_was():
    model = nn.Linear(1, 1)
    model.holder = StatefulByDict()
    model.holder.meddler = Meddler(model.holder)
    for i in range(50):
        setattr(model.holder, f"item{i}", [torch.ones(1) * i])
    clone = ramet.clone(model)
    assert [clone.holder.__dict__[f"item{i}"][0].item() for i in range(50)] == list(range(50))
    assert not hasattr(clone.holder, "new0")
