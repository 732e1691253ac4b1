"""init runs on a scratch clone: what an initialiser may do there, and that none of it reaches the source."""

import copy
import types

import pytest
import torch
from torch import nn

import ramet


class Own(nn.Module):
    """Has a __deepcopy__ of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def __deepcopy__(self, memo):
        made = Own()
        made.weight = copy.deepcopy(self.weight, memo)
        return made


class Reduced(nn.Module):
    """Is taken apart by a __reduce_ex__ of its own."""

    def __init__(self, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2)) if weight is None else weight

    def __reduce_ex__(self, protocol):
        return Reduced, (self.weight,)


class WritesItsChild(nn.Module):
    def __init__(self, child: nn.Module) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.child = child

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.w.zero_()
            self.child.weight.zero_()


def test_a_kept_child_that_an_initialiser_writes_stays_as_it_is() -> None:
    for child in Own(), Reduced(), nn.Linear(1, 2, bias=False), torch.jit.script(nn.Linear(1, 2, bias=False)):
        source = WritesItsChild(child)
        before = child.weight.detach().clone()
        clone = ramet.clone(source, keep="child", init="w")
        assert clone.child is child
        assert torch.equal(child.weight, before), type(child)
        assert torch.equal(source.w, torch.ones(2)) and torch.equal(clone.w, torch.zeros(2))


class ReplacesWhatHasAView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(4))
        self.view = self.w.detach()[:2]

    def reset_parameters(self) -> None:
        self.w = nn.Parameter(torch.full((4,), 7.0))


def test_a_view_of_what_an_initialiser_replaces_has_its_values() -> None:
    source = ReplacesWhatHasAView()
    clone = ramet.clone(source, init=True)
    assert clone.w.tolist() == [7, 7, 7, 7] and clone.view.tolist() == [7, 7]
    clone.view.zero_()
    assert clone.w.tolist() == [0, 0, 7, 7] and source.w.tolist() == [1, 1, 1, 1]


class FillsAnOddSlot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self._buffers["odd"] = [1]

    def reset_parameters(self) -> None:
        self._buffers["odd"] = torch.zeros(1)
        self.w.data.zero_()


def test_a_slot_that_holds_no_tensor_is_left_to_itself() -> None:
    clone = ramet.clone(FillsAnOddSlot(), init="w")
    assert clone.w.tolist() == [0, 0] and clone._buffers["odd"] == [1]


def test_an_initialiser_that_is_not_the_modules_own_is_none() -> None:
    source, other = nn.Linear(2, 2), nn.Linear(2, 2)
    before = source.weight.detach().clone()
    own = source.reset_parameters
    for strange in lambda: own(), lambda: nn.init.constant_(source.weight, 7.0), other.reset_parameters:
        source.reset_parameters = strange
        with pytest.raises(ramet.PlanError, match="neither reset_parameters nor _reset_parameters"):
            ramet.clone(source, init=True)
    source.reset_parameters = types.MethodType(lambda self: nn.init.constant_(self.weight, 7.0), source)
    assert torch.equal(ramet.clone(source, init=True).weight, torch.full((2, 2), 7.0))
    assert torch.equal(source.weight, before)


class OneOfItsKind(nn.Linear):
    def __deepcopy__(self, memo):
        return self


def test_a_module_that_copies_itself_to_itself_is_not_initialised() -> None:
    source = nn.Sequential(OneOfItsKind(2, 2), nn.Linear(2, 2))
    before = source[0].weight.detach().clone()
    with pytest.raises(ramet.PlanError, match="slot '0': its __deepcopy__ gives the source's own module"):
        ramet.clone(source, init=True)
    assert torch.equal(source[0].weight, before)
    clone = ramet.clone(source, init="1")
    assert clone[0] is source[0] and not torch.equal(clone[1].weight, source[1].weight)


def test_an_expanded_tensor_is_initialised_where_it_has_bytes() -> None:
    source = nn.Module()
    source.register_buffer("wide", torch.ones(1, 2).expand(3, 2))
    source.w = nn.Parameter(torch.ones(3))
    clone = ramet.clone(source, init=True, initializer=lambda module: nn.init.zeros_(module.w))
    assert clone.wide.stride() == (0, 1) and torch.equal(clone.wide, source.wide)
    assert torch.equal(clone.w, torch.zeros(3))
