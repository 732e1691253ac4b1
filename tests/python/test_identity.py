"""One object of the source is one object of the clone, however it is reached."""

import collections
import dataclasses

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)


def test_a_reference_to_a_modules_dict_splits_nothing():
    model = Net()
    model.config, model.flat = {"sizes": [1, [2]]}, [1, 2]
    model.everything = model.__dict__
    clone = ramet.clone(model)
    assert clone.everything["config"] is clone.config and clone.everything["flat"] is clone.flat
    assert clone.config["sizes"] is not model.config["sizes"]
    assert clone.everything["_modules"]["first"] is clone.first


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("hold", [lambda held: held, lambda held: [held]])
def test_a_reference_to_the_dict_of_parameters_is_one_in_the_clone(first, hold):
    model, linear = nn.Module(), nn.Linear(2, 2)
    for name in ("held", "linear") if first else ("linear", "held"):
        setattr(model, name, hold(linear._parameters) if name == "held" else linear)
    clone = ramet.clone(model)
    held = clone.held if hold(1) == 1 else clone.held[0]
    assert held is clone.linear._parameters and held is not linear._parameters
    assert held["weight"] is clone.linear.weight and clone.linear.weight is not linear.weight
    assert ramet.clone(model, share=True).linear._parameters["weight"] is linear.weight


def test_an_object_whose_reduction_hands_out_private_parts_splits_nothing():
    class Holder:
        def __init__(self, parts):
            self.parts = parts

        def __reduce_ex__(self, protocol):
            return Holder, (self.parts,)

    model = Net()
    model.holder = Holder([model.first, {"x": [1]}])
    model.same = model.holder.parts[1]["x"]
    clone = ramet.clone(model)
    assert clone.holder.parts[0] is clone.first and clone.holder.parts[1]["x"] is clone.same is not model.same


def test_a_tuple_that_holds_itself_does_so_in_the_clone():
    model = Net()
    inner = []
    model.pair = (inner, model)
    inner.append(model.pair)
    clone = ramet.clone(model)
    assert clone.pair[0][0] is clone.pair and clone.pair[1] is clone


def test_a_tensor_refers_back_to_its_module():
    model = Net()
    model.first.weight.owner = [model, model.second.weight]
    clone = ramet.clone(model)
    assert clone.first.weight.owner[0] is clone and clone.first.weight.owner[1] is clone.second.weight


def test_frozen_sets_and_keys_of_objects_are_looked_into():
    class Key:
        pass

    model = Net()
    model.key = Key()
    model.frozen = frozenset([model.key])
    model.table = {(1, model.key): model.first}
    clone = ramet.clone(model)
    assert next(iter(clone.frozen)) is clone.key is not model.key
    assert next(iter(clone.table))[1] is clone.key and next(iter(clone.table.values())) is clone.first


@dataclasses.dataclass
class Slotted:
    __slots__ = ("log", "module")
    log: list
    module: nn.Module


def test_slots_and_queues_have_paths():
    model = Net()
    model.slotted = Slotted([1], model.first)
    model.queue = collections.deque([[1], [2], torch.ones(2)])
    clone = ramet.clone(model, keep=["slotted.log", "queue.0"])
    assert clone.slotted.log is model.slotted.log and clone.slotted is not model.slotted
    assert clone.slotted.module is clone.first
    assert clone.queue[0] is model.queue[0] and clone.queue[1] == [2] and clone.queue[1] is not model.queue[1]
    assert ramet.clone(model, share="queue.2").queue[2] is model.queue[2]
    with pytest.raises(ramet.PlanError, match=r"keep='queue.7' matches nothing; the nearest names are 'queue"):
        ramet.clone(model, keep="queue.7")
