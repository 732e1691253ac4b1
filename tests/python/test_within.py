"""within: a part of a bigger model is cloned, and what lies elsewhere in it stays its own."""

import pytest
from tests.python.tied import error
from torch import nn

import ramet


class TestWithin:
    class Part(nn.Module):
        def __init__(self, root: nn.Module, weight: nn.Parameter) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 6)
            self.layer.weight = weight
            self.norm = nn.LayerNorm(4)
            self.parents = [root]

    @pytest.fixture
    def root(self) -> nn.Module:
        root = nn.Module()
        root.embed = nn.Embedding(6, 4)
        root.part = self.Part(root, root.embed.weight)
        root.part.layer.view = root.embed.weight.detach()[1:3]
        root.part.peer = [root.embed]
        return root

    def test_ties_and_references_to_the_rest_stay(self, root: nn.Module) -> None:
        clone = ramet.clone(root.part, within=root)
        assert clone is not root.part
        assert clone.layer.weight is root.embed.weight
        assert clone.parents[0] is root
        assert clone.peer[0] is root.embed
        assert clone.layer.view.data_ptr() == root.embed.weight[1:3].data_ptr()
        assert clone.norm.weight is not root.part.norm.weight
        assert clone.layer is not root.part.layer

    def test_without_it_all_comes_along(self, root: nn.Module) -> None:
        clone = ramet.clone(root.part)
        assert clone.layer.weight is not root.embed.weight
        assert clone.parents[0] is not root
        assert clone.parents[0].part is clone

    def test_a_module_registered_in_both_stays_the_roots(self, root: nn.Module) -> None:
        root.part.shared = root.embed
        assert ramet.clone(root.part, within=root).shared is root.embed

    def test_a_session_of_parts(self, root: nn.Module) -> None:
        root.other = nn.Linear(4, 6)
        root.other.weight = root.part.layer.weight
        root.other.bias = root.part.layer.bias
        part, other = ramet.clone((root.part, root.other), within=root)
        assert other.weight is root.embed.weight
        assert part.layer.bias is other.bias
        assert other.bias is not root.other.bias

    def test_a_source_that_is_not_in_it_is_an_error(self, root: nn.Module) -> None:
        message = (
            "clone: within=<Module object>: the source (a module of type 'Linear') is not registered "
            "in it, at any depth; "
            "leave within out, or give the module that holds it"
        )
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(nn.Linear(2, 2), within=root)

    def test_what_is_no_module_is_an_error(self, root: nn.Module) -> None:
        message = "clone: within='root' is no module: give the module that the source is a part of"
        with pytest.raises(ramet.PlanError, match=error(message)):
            ramet.clone(root.part, within="root")  # type: ignore[arg-type]
