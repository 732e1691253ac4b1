"""A predicate as a selector: what it is asked, what it names, what is refused."""

import pytest
import torch
from tests.python.tied import Tied

import ramet


@pytest.fixture
def model() -> Tied:
    return Tied()


class TestPredicate:
    def test_it_is_asked_with_path_and_tensor(self, model: Tied) -> None:
        asked: dict[str, torch.Tensor] = {}

        def small(path: str, tensor: torch.Tensor) -> bool:
            asked[path] = tensor
            return tensor.numel() == 4

        clone = ramet.clone(model, share=small)
        assert clone.norm.weight is model.norm.weight
        assert clone.head.bias is not model.head.bias
        assert asked["norm.weight"] is model.norm.weight

    def test_it_ranks_as_a_glob(self, model: Tied) -> None:
        clone = ramet.clone(model, share=lambda path, _: path.startswith("norm"), copy="norm.bias")
        assert clone.norm.weight is model.norm.weight
        assert clone.norm.bias is not model.norm.bias

    def test_one_that_matches_nothing_is_an_error(self, model: Tied) -> None:
        with pytest.raises(ramet.PlanError, match=r"matches nothing: it is true of no tensor$"):
            ramet.clone(model, share=lambda path, tensor: False)

    def test_what_it_returns_counts_as_true_or_false(self, model: Tied) -> None:
        clone = ramet.clone(model, share=lambda path, tensor: "norm" if "norm" in path else "")
        assert clone.norm.weight is model.norm.weight
        assert clone.head.bias is not model.head.bias

    def test_its_own_errors_come_through(self, model: Tied) -> None:
        with pytest.raises(ZeroDivisionError):
            ramet.clone(model, share=lambda path, tensor: 1 / 0)
