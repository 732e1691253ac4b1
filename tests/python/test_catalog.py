"""What is tied to what, and nothing that is not; random models against a naive reading (hypothesis)."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import ramet


def names(source):
    return [(tie.kind, *tie.names) for tie in ramet.catalog(source)]


def holding(**tensors):
    model = nn.Module()
    for name, tensor in tensors.items():
        model.register_buffer(name, tensor)
    return model


def test_a_tied_tensor_is_listed_once_with_its_bytes():
    model = nn.ModuleDict({"embed": nn.Embedding(10, 4), "head": nn.Linear(4, 10)})
    model["head"].weight = model["embed"].weight
    (tie,) = ramet.catalog(model)
    assert tie == ramet.Tie("tensor", ("embed.weight", "head.weight"), 160)


def test_missing_biases_are_not_tied():
    assert names(nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(3)])) == []


def test_a_module_with_two_names_is_one_tie():
    layer = nn.Linear(2, 2)
    model = nn.ModuleDict({"a": nn.Sequential(layer), "b": layer})
    assert names(model) == [("module", "a.0", "b")]
    assert ramet.catalog(model)[0].nbytes == 24


BASE = torch.arange(24.0).view(4, 6)


@pytest.mark.parametrize(
    ("a", "b", "tied"),
    [
        (BASE[:, ::2], BASE[:, 1::2], False),
        (BASE[:, :3], BASE[:, 3:], False),
        (BASE[:2], BASE[2:], False),
        (BASE[:3], BASE[2:], True),
        (BASE, BASE.t(), True),
        (BASE, BASE[1, 1], True),
        (BASE, BASE[:0], False),
        (torch.empty(2, device="meta"), torch.empty(2, device="meta"), False),
        (torch.ones(2), torch.ones(2), False),
        (torch.ones(4), torch.ones(4).to_sparse(), False),
    ],
)
def test_views_are_tied_only_where_they_meet(a, b, tied):
    assert names(holding(a=a, b=b)) == ([("storage", "a", "b")] if tied else [])


def test_plain_references_to_what_is_registered_are_not_listed():
    model = nn.LSTM(2, 2)
    model.peers = [model.weight_ih_l0, model]
    assert names(model) == []
    model.x, model.y = [torch.ones(2)], {}
    model.y["z"] = model.x[0]
    assert names(model) == [("tensor", "x.0", "y.z")]


def test_a_catalog_is_asked_by_any_path():
    inner = nn.Module()
    inner.a = nn.Linear(2, 2)
    inner.b = nn.Linear(2, 2)
    inner.b.weight = inner.a.weight
    model = nn.ModuleDict({"x": inner, "y": inner})
    ties = ramet.catalog(model)
    assert names(model) == [("module", "x", "y"), ("tensor", "x.a.weight", "x.b.weight")]
    assert ties["y.b.weight"] == ties["x.a.weight"] == ties[1] and ties["y"] == ties[0]
    for missing in "x.a.bias", "nowhere", "":
        with pytest.raises(KeyError):
            ties[missing]
    assert len(ties) == 2 and ties[-1] == ties[1] and list(ties) == list(ties[:])


def test_a_catalog_prints_as_a_table():
    model = nn.ModuleDict({"a": nn.Linear(2, 2)})
    model["b"] = model["a"]
    ties = ramet.catalog(model)
    assert str(ties).splitlines() == ["kind    bytes  names", "module  24 B   a, b"]
    assert repr(ties) == "Catalog([Tie(kind='module', names=('a', 'b'), nbytes=24)])"
    assert str(ramet.catalog(nn.Linear(1, 1))) == "no ties"


def test_a_catalog_holds_nothing_of_the_model():
    import weakref

    model = nn.Linear(2, 2)
    gone = weakref.ref(model)
    ties = ramet.catalog(nn.Sequential(model, model))
    del model
    assert gone() is None and ties["1"].kind == "module"


def test_ties_across_a_session_are_listed():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight = a.weight
    assert names((a, b)) == [("tensor", "0.weight", "1.weight")]
    assert names({"x": a, "y": [a]}) == [("module", "x", "y.0")]


@st.composite
def models(draw):
    """A tree of modules whose parameters and children are drawn from small pools, so that ties abound."""
    pool = [nn.Parameter(torch.rand(draw(st.integers(1, 3)))) for _ in range(4)]
    modules = [nn.Module() for _ in range(draw(st.integers(2, 6)))]
    for index, module in enumerate(modules):
        for name in draw(st.lists(st.sampled_from("pqr"), unique=True)):
            module.register_parameter(name, draw(st.sampled_from([*pool, None])))
        for name in draw(st.lists(st.sampled_from("xyz"), unique=True)) if index + 1 < len(modules) else []:
            module.add_module(name, modules[draw(st.integers(index + 1, len(modules) - 1))])
    return modules[0]


def naive_ties(model):
    """Every registered slot of every module, once, grouped by what it holds."""
    groups = {}
    for prefix, module in model.named_modules():
        for registered in module._parameters, module._modules:
            for name, held in registered.items():
                if held is not None:
                    groups.setdefault(id(held), []).append(f"{prefix}.{name}".lstrip("."))
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


@settings(deadline=None, max_examples=200)
@given(models())
def test_random_models_tie_what_a_naive_reading_ties(model):
    assert sorted(sorted(tie.names) for tie in ramet.catalog(model)) == naive_ties(model)


@settings(deadline=None, max_examples=200)
@given(models())
def test_clones_of_random_models_have_the_ties_of_their_source(model):
    clone = ramet.clone(model)
    assert names(clone) == names(model) == names(copy.deepcopy(model))
    for (name, a), (other, b) in zip(model.named_parameters(), clone.named_parameters(), strict=True):
        assert name == other and a is not b and torch.equal(a, b)
    assert all(a is b for a, b in zip(model.parameters(), ramet.clone(model, share=True).parameters(), strict=True))
