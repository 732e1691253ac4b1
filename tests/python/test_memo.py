"""memo, in and out, as copy.deepcopy keeps it."""

import copy

import pytest
import torch
from tests.python.tied import Tied, error
from torch import nn

import ramet


@pytest.fixture
def model() -> Tied:
    return Tied()


class TestMemo:
    def test_it_gets_every_module_and_tensor(self, model: Tied) -> None:
        memo: dict[int, object] = {}
        clone = ramet.clone(model, memo=memo)
        assert memo[id(model)] is clone
        assert memo[id(model.head)] is clone.head
        assert memo[id(model.norm.weight)] is clone.norm.weight
        assert copy.deepcopy([model.norm], memo)[0] is clone.norm

    def test_what_it_has_is_used(self, model: Tied) -> None:
        norm, weight = nn.LayerNorm(4), nn.Parameter(torch.zeros(6, 4))
        memo = {id(model.norm): norm, id(model.embed.weight): weight}
        clone = ramet.clone(model, memo=memo)
        assert clone.norm is norm
        assert clone.head.weight is weight
        assert clone.embed.weight is weight
        assert ramet.clone(model, memo={id(model): norm}) is norm

    def test_what_is_no_dict_is_an_error(self, model: Tied) -> None:
        message = "clone: memo is a dict, as copy.deepcopy keeps it, not 'list'"
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(model, memo=[])  # type: ignore[arg-type]

    def test_a_view_over_a_copied_storage_stays_one(self) -> None:
        holder = nn.Linear(3, 3)
        view = holder.weight.detach()[1]
        memo: dict[int, object] = {}
        clone = ramet.clone(holder, memo=memo)
        assert copy.deepcopy(view, memo).data_ptr() == clone.weight[1].data_ptr()

    def test_within_a_classs_own_deepcopy(self) -> None:
        class Own:
            def __init__(self, module: nn.Module) -> None:
                self.module = module

            def __deepcopy__(self, memo: dict[int, object]) -> "Own":
                return Own(ramet.clone(self.module, memo=memo))

        layer = nn.Linear(2, 2)
        first, second = copy.deepcopy((Own(layer), layer))
        assert first.module is second
