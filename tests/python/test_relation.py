"""What two models share, alias or only equal, path by path."""

import copy
import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode

import ramet


def holding(**tensors):
    model = nn.Module()
    for name, tensor in tensors.items():
        model.register_buffer(name, tensor)
    return model


def word(a, b):
    return ramet.relation(holding(t=a), holding(t=b))["t"]


def tied_model():
    model = nn.ModuleDict({"embed": nn.Embedding(6, 4), "norm": nn.LayerNorm(4), "head": nn.Linear(4, 6)})
    model["head"].weight = model["embed"].weight
    return model


def test_says_what_a_clone_shares():
    model = tied_model()
    found = ramet.relation(model, ramet.clone(model, share="embed"))
    assert dict(found) == {
        "embed.weight": "shared",
        "norm.weight": "equal",
        "norm.bias": "equal",
        "head.weight": "shared",
        "head.bias": "equal",
    }
    assert found.shared == {"embed.weight", "head.weight"}
    assert found.equal == {"norm.weight", "norm.bias", "head.bias"}
    assert not (found.aliased or found.lazy or found.different or found.only_a or found.only_b)
    assert found.ties_a == found.ties_b == ()
    assert set(ramet.relation(model, model).values()) == {"shared"}


def test_every_word_has_its_set():
    one, base = torch.ones(2), torch.ones(4)
    a = holding(s=one, al=base, e=torch.ones(1), d=torch.ones(1), x=one)
    b = holding(s=one, al=base[3:], e=torch.ones(1), d=torch.zeros(1), y=one)
    found = ramet.relation(a, b)
    assert (found.shared, found.aliased, found.lazy) == ({"s"}, {"al"}, set())
    assert (found.equal, found.different) == ({"e"}, {"d"})
    assert (found.only_a, found.only_b) == ({"x"}, {"y"})


def test_a_parameters_data_is_aliased():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight.data = a.weight.data
    assert ramet.relation(a, b)["weight"] == "aliased"
    b.to(torch.float64)
    assert ramet.relation(a, b)["weight"] == "different"


def test_a_write_makes_what_was_equal_different():
    model = nn.Linear(2, 2)
    clone = ramet.clone(model)
    before = ramet.relation(model, clone)
    nn.init.constant_(clone.weight, 7)
    assert before["weight"] == "equal" and ramet.relation(model, clone)["weight"] == "different"


BASE = torch.arange(24.0).view(4, 6)
NAN = torch.tensor([float("nan"), 0.0])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (BASE, BASE, "shared"),
        (BASE, BASE.t(), "aliased"),
        (BASE[:, ::2], BASE[:, 1::2], "different"),
        (torch.zeros(4)[:2], torch.zeros(4)[2:], "equal"),
        (BASE, BASE.clone(), "equal"),
        (BASE, BASE.clone().t().contiguous().t(), "equal"),
        (BASE, BASE.double(), "different"),
        (BASE, BASE.view(6, 4).clone(), "different"),
        (NAN, NAN.clone(), "equal"),
        (NAN, torch.tensor([float("nan"), -0.0]), "equal"),
        (NAN, -NAN, "different"),  # the sign of a NaN is one of its bits
        (torch.ones(0, 2), torch.zeros(0, 2), "equal"),
        (torch.ones(0, 2), torch.zeros(2, 0), "different"),
        (torch.empty(2, device="meta"), torch.empty(2, device="meta"), "equal"),
        (torch.empty(2, device="meta"), torch.empty(3, device="meta"), "different"),
        (torch.empty(2, device="meta"), torch.empty(2), "different"),
        (torch.eye(3).to_sparse(), torch.eye(3).to_sparse(), "equal"),
        (torch.eye(3).to_sparse(), torch.eye(3), "different"),
        (BASE, None, "different"),
        (None, BASE, "different"),
    ],
)
def test_words_of_two_tensors(a, b, expected):
    assert word(a, b) == expected


@pytest.mark.cuda
def test_tensors_on_different_devices_are_compared_on_the_cpu_CUDA():
    assert word(BASE, BASE.cuda()) == word(BASE.cuda(), BASE.cuda()) == "equal"
    assert word(BASE, BASE.cuda() + 1) == "different"


def test_none_on_both_sides_is_not_listed():
    found = ramet.relation(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    assert list(found) == ["weight"]
    with pytest.raises(KeyError, match="'bias' holds no tensor; name a tensor slot"):
        found["bias"]


class Wrapper(torch.Tensor):
    """A tensor around another; its equality is what `outcome` says."""

    asked = 0

    @staticmethod
    def __new__(cls, inner, outcome):
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        made.inner, made.outcome = inner, outcome
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        assert function is torch.ops.aten.equal.default, "nothing but equality is asked"
        cls.asked += 1
        if isinstance(arguments[0].outcome, type):
            raise arguments[0].outcome
        return arguments[0].outcome


@pytest.mark.parametrize(
    ("outcome", "expected"), [(True, "equal"), (False, "different"), (RuntimeError, "different")], ids=str
)
def test_wrappers_are_equal_as_torch_says_where_that_works(outcome, expected):
    a, b = Wrapper(torch.ones(2), outcome), Wrapper(torch.ones(2), outcome)
    assert word(a, b) == expected
    Wrapper.asked = 0
    assert word(a, a) == "shared" and Wrapper.asked == 0


def test_an_interrupt_of_a_wrappers_code_goes_through():
    with pytest.raises(KeyboardInterrupt):
        word(Wrapper(torch.ones(2), KeyboardInterrupt), Wrapper(torch.ones(2), True))


def test_subclasses_over_bytes_are_aliased_with_what_holds_the_same_bytes():
    class Plain(torch.Tensor):
        pass

    assert word(BASE, BASE.as_subclass(Plain)) == "aliased"
    assert word(BASE, BASE.clone().as_subclass(Plain)) == "equal"


def test_fake_tensors_and_uninitialized_parameters_raise_nothing():
    with FakeTensorMode():
        fake, other = torch.empty(3), torch.empty(3)
    assert word(fake, fake) == "shared"
    assert word(fake, other) == word(fake, torch.ones(3)) == "different"
    found = ramet.relation(nn.LazyLinear(3), nn.LazyLinear(3))
    assert dict(found) == {"weight": "equal", "bias": "equal"}


def test_modes_that_watch_torch_see_nothing():
    model, clone = holding(t=torch.ones(3)), holding(t=torch.ones(3))
    with FakeTensorMode():
        assert ramet.relation(model, clone)["t"] == "equal"


def test_lookups_work_by_any_path_that_both_have():
    block = nn.Linear(2, 2)
    model = nn.ModuleDict({"x": block, "y": block})
    model.table = {"kept": [torch.ones(1)]}
    found = ramet.relation(model, ramet.clone(model))
    assert list(found) == ["x.weight", "x.bias", "table.kept.0"]
    assert found["y.weight"] == "equal" and "y.bias" in found and "y" not in found


def test_a_slot_that_one_side_has_twice_is_compared_with_each():
    shared = nn.Linear(2, 2, bias=False)
    tied = nn.ModuleDict({"x": shared, "y": shared})
    apart = nn.ModuleDict({"x": shared, "y": nn.Linear(2, 2, bias=False)})
    for a, b in (tied, apart), (apart, tied):
        assert dict(ramet.relation(a, b)) == {"x.weight": "shared", "y.weight": "different"}
    assert ramet.relation(tied, apart).ties_a == (ramet.Tie("module", ("x", "y"), 16),)
    assert ramet.relation(apart, tied).ties_b == (ramet.Tie("module", ("x", "y"), 16),)
    # Names that cross: z is x on one side and y on the other.
    other = apart["y"]
    a, b = (nn.ModuleDict({"x": shared, "y": other, "z": z}) for z in (shared, other))
    assert dict(ramet.relation(a, b)) == {"x.weight": "shared", "y.weight": "shared", "z.weight": "different"}


def test_paths_are_in_walk_order_of_the_first():
    a = nn.ModuleDict({"x": nn.Linear(1, 1), "y": nn.LayerNorm(1)})
    b = nn.ModuleDict({"y": nn.LayerNorm(1), "x": nn.Linear(1, 1)})
    assert list(ramet.relation(a, b)) == [name for name, _ in a.named_parameters()]
    assert list(ramet.relation(b, a)) == [name for name, _ in b.named_parameters()]


def test_a_path_that_only_one_side_has_is_a_key_error_that_says_which():
    found = ramet.relation(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    assert found["weight"] == "different" and found["bias"] == "different"  # None on one side
    found = ramet.relation(holding(x=torch.ones(1), t=torch.ones(1)), holding(y=torch.ones(1), t=torch.ones(1)))
    with pytest.raises(KeyError, match=r"only a has 'x', so there is nothing to compare; such paths are in \.only_a"):
        found["x"]
    with pytest.raises(KeyError, match="only b has 'y'"):
        found["y"]
    with pytest.raises(KeyError, match="neither side has 'tt'; the nearest names are 't', "):
        found["tt"]
    assert list(found) == ["t"] and len(found) == 1 and "x" not in found and found.get("y") is None


def test_a_tensor_and_a_module_under_one_path_are_different():
    a, b = nn.Module(), nn.Module()
    a.part, b.part = nn.Linear(1, 1, bias=False), torch.ones(1)
    found = ramet.relation(a, b)
    assert dict(found) == {"part": "different"} and found.only_a == {"part.weight"}


def test_ties_that_only_one_side_has_are_listed():
    model = tied_model()
    clone = ramet.clone(model)
    clone["head"].weight = nn.Parameter(clone["head"].weight.detach().clone())
    clone["norm"].bias = clone["norm"].weight
    found = ramet.relation(model, clone)
    assert found.ties_a == (ramet.Tie("tensor", ("embed.weight", "head.weight"), 96),)
    assert found.ties_b == (ramet.Tie("tensor", ("norm.weight", "norm.bias"), 16),)
    assert ramet.relation(model, ramet.clone(model)).ties_a == ()


def test_takes_sessions():
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    found = ramet.relation((a, b), [a, a])
    assert dict(found) == {"0.weight": "shared", "1.weight": "different"}
    assert ramet.relation({"x": a}, a).only_a == {"x.weight"}
    with pytest.raises(ramet.PlanError, match="not 'int'"):
        ramet.relation(a, 1)


def test_prints_as_a_table():
    one = torch.ones(2)
    found = ramet.relation(holding(weight=one[0], w=one, b=one[1]), holding(w=one, x=torch.ones(1)))
    assert str(found).splitlines() == [
        "path    relation",
        "weight  only_a",
        "w       shared",
        "b       only_a",
        "x       only_b",
        "only a ties weight, w, b",
        "4 paths: 1 shared, 2 only_a, 1 only_b",
    ]
    assert repr(found) == (
        "Relation({'w': 'shared'}, only_a=['b', 'weight'], only_b=['x'], "
        "ties_a=[Tie(kind='storage', names=('weight', 'w', 'b'), nbytes=8)])"
    )
    assert repr(ramet.relation(holding(t=one), holding(t=one))) == "Relation({'t': 'shared'})"


def test_holds_nothing_of_the_models_and_changes_nothing():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    gone = weakref.ref(a.weight)
    state, version = torch.get_rng_state(), a.weight._version
    found = ramet.relation(a, b)
    assert torch.equal(torch.get_rng_state(), state) and a.weight._version == version and a.weight.grad_fn is None
    del a
    gc.collect()
    assert gone() is None and found["weight"] == "different"


def naive(a, b):
    """The words by path, as slowly and plainly as possible."""
    tensors = [
        dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])
        for model in (a, b)
    ]
    words = {}
    for path in tensors[0].keys() & tensors[1].keys():
        x, y = tensors[0][path], tensors[1][path]
        addresses = [set((t.data_ptr() + 4 * torch.arange(t.numel())).tolist()) for t in (x, y)]
        if x is y:
            words[path] = "shared"
        elif addresses[0] & addresses[1]:
            words[path] = "aliased"
        else:
            words[path] = "equal" if x.shape == y.shape and torch.equal(x, y) else "different"
    return words, tensors[0].keys() - tensors[1].keys(), tensors[1].keys() - tensors[0].keys()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_models_against_a_naive_reading(data):
    base = torch.zeros(4)
    leaves = [base[:2], base[1:3], base[2:], torch.zeros(2), torch.zeros(2), torch.ones(2), torch.zeros(1)]

    def model(depth):
        made = nn.Module()
        for name in data.draw(st.sets(st.sampled_from("pqr"))):
            made.register_buffer(name, data.draw(st.sampled_from(leaves)))
        for name in data.draw(st.sets(st.sampled_from("xyz"))) if depth else ():
            made.add_module(name, data.draw(st.sampled_from([*blocks, None])) or model(depth - 1))
        return made

    blocks = [model(0), model(0)]
    a, b = model(2), model(2)
    if data.draw(st.booleans()):
        b = copy.deepcopy(a)
    found = ramet.relation(a, b)
    words, only_a, only_b = naive(a, b)
    assert {path: found[path] for path in words} == words
    assert found.keys() <= words.keys() and found.only_a <= only_a and found.only_b <= only_b
    for path in only_a | only_b:
        with pytest.raises(KeyError):
            found[path]


def test_a_storage_that_was_freed_is_not_read():
    """Sharded training resizes to nothing the storage of a weight that is elsewhere."""
    model = nn.Linear(300, 300)
    twin = ramet.clone(model)
    model.weight.untyped_storage().resize_(0)
    assert ramet.relation(model, twin)["weight"] == "different"
    assert ramet.relation(model, ramet.clone(model))["weight"] == "equal"
    assert ramet.clone(model).weight.untyped_storage().nbytes() == 0
    model.weight.untyped_storage().resize_(4 * 300 * 300)
    with torch.no_grad():
        model.weight.zero_()
    assert twin.weight.any()
