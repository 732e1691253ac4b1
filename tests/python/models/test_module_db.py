"""Every torch.nn module with every input that torch's own tests have for it."""

import pytest
import torch
from tests.python.models.cloning import (
    assert_apart,
    assert_cloned,
    assert_computes_alike,
    assert_shares_all,
)
from torch import Tensor
from torch.testing._internal.common_modules import module_db
from torch.utils._pytree import tree_leaves, tree_map_only

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the modules have to say of their inputs

MODES = [
    pytest.param(info, training, id=f"{info.formatted_name}-{'train' if training else 'eval'}")
    for info in module_db
    for training in ([True, False] if info.train_and_eval_differ else [True])
]


def as_leaf(tensor):
    return tensor.detach().requires_grad_(tensor.requires_grad)


@pytest.fixture
def cases(info, training):
    """The module, what runs it and the inputs that have gradients, for every set of inputs."""
    torch.manual_seed(0)
    result = []
    for case in info.module_inputs_func(info, "cpu", torch.float32, requires_grad=True, training=training):
        model = info.module_cls(*case.constructor_input.args, **case.constructor_input.kwargs).float().train(training)
        given = tree_map_only(Tensor, as_leaf, (case.forward_input.args, case.forward_input.kwargs))
        inputs = [each for each in tree_leaves(given) if isinstance(each, Tensor) and each.requires_grad]
        result.append((model, lambda model, given=given: model(*given[0], **given[1]), inputs))
    assert result
    return result


@pytest.mark.parametrize(("info", "training"), MODES)
def test_a_clone_is_its_source_all_over_again(cases):
    for model, _, _ in cases:
        assert_cloned(model)


@pytest.mark.parametrize(("info", "training"), MODES)
def test_clones_are_apart(cases):
    for model, _, _ in cases:
        assert_apart(model)


@pytest.mark.parametrize(("info", "training"), MODES)
def test_a_clone_computes_what_its_source_does(cases):
    for model, run, inputs in cases:
        assert_computes_alike(model, run, inputs)
        assert_cloned(model)  # a lazy module is another one by now


@pytest.mark.parametrize(("info", "training"), MODES)
def test_a_tower_shares_every_tensor(cases):
    for model, run, _ in cases:
        run(model)
        assert_shares_all(model, run)
