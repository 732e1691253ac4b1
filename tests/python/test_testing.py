"""Assertions about what two models share."""

import copy

import pytest
import torch
from torch import nn

import ramet
from ramet.testing import assert_independent, assert_shared


def model():
    made = nn.ModuleDict({"embed": nn.Embedding(6, 4), "norm": nn.BatchNorm1d(4), "head": nn.Linear(4, 6)})
    made.cache = {"steps": [torch.ones(2)]}
    return made


def why(assertion, *arguments):
    with pytest.raises(AssertionError) as caught:
        assertion(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "selector",
    [
        True,
        nn.Parameter,
        nn.Buffer,
        nn.Linear,
        "head",
        "*.weight",
        "norm.running_mean",
        "cache.steps.0",
        ["embed", nn.Linear],
    ],
    ids=str,
)
def test_what_a_clone_shares_by_a_selector_is_shared_by_it(selector):
    source = model()
    assert_shared(source, ramet.clone(source, share=selector), selector)
    assert "are not shared" in why(assert_shared, source, ramet.clone(source), selector)


def test_modules_and_tensors_of_the_first_are_selectors():
    source = model()
    clone = ramet.clone(source, share="head")
    assert_shared(source, clone, source["head"])
    assert_shared(source, clone, [source["head"].weight, source["head"].bias])
    assert "embed.weight: equal" in why(assert_shared, source, clone, source["embed"])
    with pytest.raises(ramet.PlanError, match=r"assert_shared: .* the source does not hold that object"):
        assert_shared(source, clone, clone["embed"])


def test_every_path_is_listed_with_what_it_is_instead():
    source = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)})
    clone = ramet.clone(source, share="a")
    clone["b"].bias = nn.Parameter(source["b"].bias.detach())
    del clone["c"]
    nn.init.zeros_(clone["b"].weight)
    assert why(assert_shared, source, clone) == (
        "assert_shared: 4 of the 6 tensors named are not shared:\n"
        "  b.weight: different\n"
        "  b.bias: aliased\n"
        "  c.weight: only_a\n"
        "  c.bias: only_a"
    )
    assert_shared(source, clone, "a")


def test_true_names_parameters_and_buffers_and_no_plain_state():
    source = model()
    clone = ramet.clone(source, share=True)
    assert_shared(source, clone)
    assert "cache.steps.0: equal" in why(assert_shared, source, clone, "cache.steps.0")


def test_a_tensor_is_asked_for_under_each_of_its_names():
    block = nn.Linear(2, 2, bias=False)
    source = nn.ModuleDict({"x": block, "y": block})
    other = nn.ModuleDict({"x": block, "y": copy.deepcopy(block)})
    assert why(assert_shared, source, other, "x") == (
        "assert_shared: 1 of the 2 tensors named are not shared:\n  y.weight: equal"
    )


def test_a_selector_that_matches_nothing_is_a_plan_error():
    source = model()
    clone = ramet.clone(source, share=True)
    with pytest.raises(ramet.PlanError, match=r"^assert_shared: 'haed' matches nothing; the nearest names are 'head'"):
        assert_shared(source, clone, "haed")
    with pytest.raises(ramet.PlanError, match=r"^assert_shared: nn.*LSTM matches nothing"):
        assert_shared(source, clone, nn.LSTM)
    for nothing in None, [], False:
        with pytest.raises(ramet.PlanError, match=r"^assert_shared: there is no selector$"):
            assert_shared(source, clone, nothing)
    assert_shared(nn.ReLU(), nn.ReLU(), nn.Parameter)  # a kind may match nothing


def test_a_clone_is_independent():
    source = model()
    assert_independent(source, ramet.clone(source))
    assert_independent(source, copy.deepcopy(source))


def test_a_tensor_in_common_is_named_by_both_paths():
    source, other = model(), nn.Linear(4, 6)
    other.peers = {"mean": source["norm"].running_mean}
    other.register_buffer("window", source["embed"].weight.detach()[2:])
    assert why(assert_independent, source, other) == (
        "assert_independent: a and b have in common:\n"
        "  'norm.running_mean' of a and 'peers.mean' of b are one tensor\n"
        "  'embed.weight' of a and 'window' of b are aliased"
    )
    other = ramet.clone(source, share="head.bias")
    assert "'head.bias' of a and 'head.bias' of b are one tensor" in why(assert_independent, source, other)


def test_a_module_in_common_is_found_also_without_tensors():
    source = nn.Sequential(nn.ReLU())
    other = nn.ModuleDict({"act": source[0]})
    assert why(assert_independent, source, other).endswith("  '0' of a and 'act' of b are one module")
    other = nn.Identity()
    other.teacher = source
    assert "a itself and 'teacher' of b are one module" in why(assert_independent, source, other)
    assert "a itself and b itself are one module" in why(assert_independent, source, source)


def test_what_no_path_names_is_found_too():
    source, other = nn.Linear(2, 2), nn.Identity()
    other.seen = {source.weight}
    message = why(assert_independent, source, other)
    assert message.endswith("'weight' of a and something of b that no path names are one tensor")


def test_disjoint_slices_of_one_storage_and_other_objects_are_independent():
    flat = torch.zeros(4)
    a, b = nn.Module(), nn.Module()
    a.register_buffer("low", flat[:2])
    b.register_buffer("high", flat[2:])
    a.log = b.log = []
    assert_independent(a, b)
    b.register_buffer("middle", flat[1:3])
    assert why(assert_independent, a, b).splitlines()[1:] == ["  'low' of a and 'middle' of b are aliased"]


def test_sessions_are_compared_as_a_whole():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    pair = ramet.clone((a, b))
    assert_independent((a, b), pair)
    assert_shared((a, b), [a, b])
    assert "'1' of a and '0' of b are one module" in why(assert_independent, (a, b), [b])
