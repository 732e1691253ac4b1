"""tie and untie: every name and every plain reference follows, and an error leaves the model as it was."""

import collections
import threading
import weakref

import pytest
import torch
from torch import nn

import ramet


class Model(nn.Module):
    """Two of everything, of one shape."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.head = nn.Linear(4, 6)
        self.left = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.right = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
        self.register_buffer("a", torch.zeros(4))
        self.register_buffer("b", torch.ones(4))
        self.register_parameter("unused", None)
        self.table = {"counts": [0]}

    def forward(self, ids):
        return self.head(self.right(self.left(self.embed(ids))) + self.a + self.b)


def train(model, *inputs):
    """One step; returns the loss after it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    inputs = inputs or (torch.tensor([1, 2, 3]),)

    def loss():
        out = model(*inputs)
        return (out[0] if isinstance(out, tuple) else out).pow(2).mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert all(p.grad is not None for p in model.parameters())
    assert loss() < before
    return loss()


def state(model):
    """What every slot holds, by identity, and every value."""
    slots = {
        (path, kind, name): id(held)
        for path, module in model.named_modules(remove_duplicate=False)
        for kind in ("_parameters", "_buffers", "_modules")
        for name, held in module.__dict__[kind].items()
    }
    tensors = [t for t in [*model.parameters(), *model.buffers()] if not t.is_meta]
    return slots, [(t._version, t.tolist(), t.requires_grad) for t in tensors]


def fails(model, function, *arguments, error=ramet.PlanError):
    """Returns the message; nothing of the model has changed."""
    before = state(model)
    with pytest.raises(error) as caught:
        function(model, *arguments)
    assert state(model) == before
    return str(caught.value)


def test_every_later_path_gets_the_first_ones_tensor():
    model = Model()
    first, other = model.embed.weight, model.head.weight.detach().clone()
    model.extra = nn.Parameter(torch.zeros(6, 4))
    assert ramet.tie(model, "embed.weight", "head.weight", "extra") is None
    assert model.head.weight is model.extra is model.embed.weight is first
    assert not torch.equal(first, other)
    assert [tie.names for tie in ramet.catalog(model)] == [("extra", "embed.weight", "head.weight")]
    del model.extra
    train(model)


def test_buffers_are_tied_and_a_write_reaches_both():
    model = Model()
    ramet.tie(model, "b", "a")
    model.a.add_(1)
    assert model.a is model.b and model.b.tolist() == [2.0] * 4


def test_all_names_and_plain_references_of_a_later_tensor_follow():
    model = Model()
    old = model.head.weight
    model.again = nn.Linear(4, 6, bias=False)
    model.again.weight = old
    model.listed = [old, (1, (old, model.head.bias))]
    model.by_key = collections.OrderedDict(w=old, x={"deep": [old]})
    model.keyed = {"first": 0, old: "fisher", "last": 1}
    model.members = {old, model.head.bias}
    model.reference = weakref.ref(old)
    model.holder = type("Holder", (), {})()
    model.holder.weight = old
    model.embed.weight.tag = [old]
    ramet.tie(model, "embed.weight", "again.weight")
    new = model.embed.weight
    assert model.head.weight is model.again.weight is new
    assert model.listed[0] is new and model.listed[1][1][0] is new and model.listed[1][1][1] is model.head.bias
    assert model.by_key["w"] is new and model.by_key["x"]["deep"] == [new] and list(model.by_key) == ["w", "x"]
    assert list(model.keyed.values()) == [0, "fisher", 1] and list(model.keyed)[1] is new
    assert {id(t) for t in model.members} == {id(new), id(model.head.bias)}
    assert model.reference() is new and model.holder.weight is new and new.tag[0] is new
    seen = weakref.ref(old)
    del old
    assert seen() is None


def test_a_recurrent_layers_flat_weights_follow():
    model = nn.ModuleDict({"a": nn.LSTM(3, 3), "b": nn.LSTM(3, 3)})
    ramet.tie(model, "a.weight_hh_l0", "b.weight_hh_l0", "b.weight_ih_l0")
    weight = model["a"].weight_hh_l0
    assert model["b"]._flat_weights[0] is model["b"]._flat_weights[1] is weight
    assert model["b"]._flat_weight_refs[0]() is model["b"]._flat_weight_refs[1]() is weight
    x = torch.randn(2, 1, 3)
    with torch.no_grad():
        before = model["b"](x)[0]
        weight.mul_(2)
        assert not torch.equal(model["b"](x)[0], before)
    train(model["b"], x)


def test_no_setattr_runs():
    class Guarded(nn.Linear):
        guarded = False

        def __setattr__(self, name, value):
            assert not self.guarded
            super().__setattr__(name, value)

    model = nn.ModuleList([Guarded(2, 2), Guarded(2, 2)])
    Guarded.guarded = True
    ramet.tie(model, "0.weight", "1.weight")
    ramet.untie(model, "1.weight")
    ramet.assign(model, [p * 2 for p in model.parameters()])


def test_modules_are_tied_and_references_to_the_old_one_follow():
    model = Model()
    old = model.right
    model.again = old
    model.peers = [old, model.head]
    model.call = old.forward
    model.seen = weakref.ref(old)
    model.head.register_forward_hook(old.train)
    old[0].parent = [old]
    ramet.tie(model, "left", "right")
    assert model.right is model.again is model.left is model.peers[0] is model.call.__self__ is model.seen()
    assert [hook.__self__ for hook in model.head._forward_hooks.values()] == [model.left]
    assert old[0].parent[0] is old  # no longer part of the model, so left alone
    assert ramet.catalog(model)["again"].names == ("left", "right", "again")
    model.head._forward_hooks.clear()
    train(model)


def test_paths_are_any_of_a_slots_and_what_is_tied_stays_so():
    model = Model()
    model.same = model.left
    ramet.tie(model, "same.0.weight", "right.0.weight")
    assert model.right[0].weight is model.left[0].weight
    before = state(model)
    ramet.tie(model, "left.0.weight", "right.0.weight", "same.0.weight", "left.0.weight")
    ramet.tie(model, "left", "same")
    assert state(model) == before


def test_a_session_is_tied_across_its_members():
    encoder, decoder = nn.Embedding(4, 2), nn.Linear(2, 4)
    ramet.tie((encoder, decoder), "0.weight", "1.weight")
    assert decoder.weight is encoder.weight
    modules = [nn.Linear(1, 1), nn.Linear(1, 1)]
    with pytest.raises(ramet.PlanError, match="tie: '1' is a member of the session, which is not changed"):
        ramet.tie(modules, "0", "1")
    assert modules[0] is not modules[1]


def test_a_parameter_slot_gets_any_parameter_and_any_other_slot_anything():
    model = Model()
    model.plain = [nn.Parameter(torch.ones(4))]
    ramet.tie(model, "plain.0", "left.1.weight", "a")
    assert model.left[1].weight is model.a is model.plain[0]
    ramet.assign(model, {"left.0.bias": model.left[0].bias * 2})
    ramet.tie(model, "left.0.bias", "right.0.bias")
    assert type(model.right[0].bias) is torch.Tensor and model.right[0].bias is model.left[0].bias


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        ([], "tie: give two paths at least: the later ones get what the first one holds; got none"),
        (["a"], "tie: give two paths at least: the later ones get what the first one holds; got only 'a'"),
        (["a", 3], "tie: a path is a string like 'encoder.0.weight', not 3"),
        (["embed.weight", "haed.weight"], "tie: there is no 'haed.weight'; the nearest names are 'head.weight', "),
        (["", "left"], "tie: '' names the model itself; name a slot within it"),
        (["a", "unused"], "tie: 'unused' holds None; register a tensor or a module there first"),
        (["a", "table.counts"], "tie: there is no 'table.counts'"),
        (["left", "a"], "tie: 'left' is a module and 'a' a tensor; tie modules with modules, tensors with tensors"),
        (["a", "left"], "tie: 'left' is a module and 'a' a tensor"),
        (
            ["left.0.weight", "head.weight"],
            "tie: 'left.0.weight' is float32 [4, 4] on cpu, 'head.weight' is float32 [6, 4] on cpu; tied slots hold "
            "one tensor: bring them to one shape, dtype and device first",
        ),
        (["a", "wide"], "'a' is float32 [4] on cpu, 'wide' is float64 [4] on cpu"),
        (["a", "meta"], "'a' is float32 [4] on cpu, 'meta' is float32 [4] on meta"),
        (
            ["left", "head"],
            "tie: 'left' is of type 'Sequential', 'head' of type 'Linear'; tied slots hold one module: ",
        ),
        (["outer", "outer.0"], "tie: 'outer.0' is beneath 'outer'; a module cannot be tied to one within it"),
        (["outer.0", "outer"], "tie: 'outer.0' is beneath 'outer'"),
        (
            ["a", "left.1.bias"],
            "tie: 'left.1.bias' is a parameter, which what 'a' holds is not; name the parameter first",
        ),
        (["bag", "a"], "tie: 'bag' names plain state, neither a tensor nor a module; name a slot that holds one"),
    ],
)
def test_what_cannot_be_tied_is_an_error(paths, text):
    model = Model()
    model.outer = nn.Sequential(nn.Sequential())
    model.register_buffer("wide", torch.ones(4, dtype=torch.float64))
    model.register_buffer("meta", torch.ones(4, device="meta"))
    model.bag = [torch.ones(1)]
    assert text in fails(model, ramet.tie, *paths)


def test_what_cannot_be_replaced_is_an_error_that_names_its_holder():
    model = Model()
    model.queue = collections.deque([model.head.weight])
    text = fails(model, ramet.tie, "embed.weight", "head.weight")
    assert text == (
        "tie: 'queue' is of type 'collections.deque', whose contents cannot be replaced, and refers to what is to be; "
        "take it out, and put it back afterwards with the new one in it"
    )
    assert model.queue[0] is model.head.weight


def test_the_slots_of_a_scripted_module_are_tied_but_not_its_modules():
    model = nn.ModuleList([nn.Linear(2, 2), torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))])
    ramet.tie(model, "0.weight", "1.0.weight")
    assert model[1]._modules["0"].weight is model[0].weight
    assert "is a scripted module, whose children cannot be replaced" in fails(model, ramet.tie, "1.0", "1.1")


def test_untie_gives_each_named_slot_a_copy_of_its_own():
    model = Model()
    ramet.tie(model, "embed.weight", "head.weight")
    model.third = nn.Linear(4, 6, bias=False)
    model.third.weight = model.embed.weight
    model.embed.weight.grad = torch.ones(6, 4)
    model.embed.weight.note = "tied"
    ramet.untie(model, "head.weight", "third.weight", "head.weight")
    weights = [model.embed.weight, model.head.weight, model.third.weight]
    assert len({w.data_ptr() for w in weights}) == 3 and len(ramet.catalog(model)) == 0
    for weight in weights[1:]:
        assert type(weight) is nn.Parameter and weight.requires_grad and torch.equal(weight, weights[0])
        assert weight.grad is None and weight.note == "tied" and weight.is_leaf
    with torch.no_grad():
        model.head.weight.zero_()
    assert not torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])
    del model.third
    train(model)


def test_untie_keeps_type_requires_grad_and_strides():
    class Special(nn.Parameter):
        pass

    model = nn.Module()
    model.a = Special(torch.arange(6.0).view(2, 3).t(), requires_grad=False)
    model.b = model.a
    model.register_buffer("c", torch.ones(1).expand(5))
    model.register_buffer("d", model.c)
    ramet.untie(model, "b", "d")
    assert type(model.b) is Special and not model.b.requires_grad and model.b.stride() == (1, 3)
    assert torch.equal(model.a, model.b) and model.a is not model.b
    assert model.d.stride() == (0,) and model.d.data_ptr() != model.c.data_ptr()


def test_untie_of_a_view_gives_it_memory_of_its_own():
    model = nn.Module()
    model.whole = nn.Parameter(torch.arange(1000.0))
    model.part = nn.Parameter(model.whole.detach()[2:4])
    assert ramet.catalog(model)[0].kind == "storage"
    ramet.untie(model, "part")
    assert len(ramet.catalog(model)) == 0 and model.part.tolist() == [2, 3]
    assert model.part.untyped_storage().nbytes() < 4000
    with torch.no_grad():
        model.whole.zero_()
    assert model.part.tolist() == [2, 3]


def test_plain_references_of_the_same_module_follow_the_untied_slot():
    model = nn.ModuleDict({"a": nn.LSTM(3, 3), "b": nn.LSTM(3, 3)})
    for name, _ in list(model["a"].named_parameters()):
        ramet.tie(model, f"a.{name}", f"b.{name}")
    model.seen = [model["a"].weight_hh_l0]
    old = model["a"].weight_hh_l0
    ramet.untie(model, "b.weight_hh_l0")
    a, b = model["a"], model["b"]
    assert a.weight_hh_l0 is a._flat_weights[1] is a._flat_weight_refs[1]() is model.seen[0] is old
    assert b.weight_hh_l0 is b._flat_weights[1] is b._flat_weight_refs[1]() is not old
    assert b._flat_weights[0] is a.weight_ih_l0
    train(b, torch.randn(2, 1, 3))


def test_a_plain_reference_follows_the_first_slot_of_its_module():
    model = nn.Module()
    model.a = nn.Parameter(torch.ones(2))
    model.b = model.a
    model.held = [model.a]
    old = model.a
    ramet.untie(model, "b")
    assert model.held[0] is model.a is old is not model.b
    model.b = model.a
    ramet.untie(model, "a")
    assert model.held[0] is model.a is not old and model.b is old


def test_a_module_under_two_names_is_untied_by_a_clone():
    model = Model()
    model.again = model.left
    model.peers = [model.left]
    ramet.tie(model, "left.0.weight", "right.0.weight")
    model.left[0].twice = model.left[0].weight
    model.left[0].parent = [model]
    old = model.left
    ramet.untie(model, "again")
    assert model.left is old is model.peers[0] and model.again is not old
    assert ramet.catalog(model)["right.0.weight"].names == ("left.0.weight", "left.0.twice", "right.0.weight")
    assert model.again[0].weight is model.again[0].twice is not old[0].weight
    assert torch.equal(model.again[0].weight, old[0].weight)
    assert model.again[0].weight.data_ptr() != old[0].weight.data_ptr()
    assert model.again[0].parent[0] is model
    model.again = model.left
    ramet.untie(model, "left")
    assert model.again is old is not model.left and model.peers[0] is model.left
    del model.again
    train(model)


def test_true_unties_everything_and_the_first_names_stay():
    model = Model()
    model.left.inner = model.left[0]
    model.left.same = model.left[0].weight
    ramet.tie(model, "left", "right")
    ramet.tie(model, "embed.weight", "head.weight")
    first = dict(model.named_parameters())
    assert ramet.untie(model, True) is None
    assert len(ramet.catalog(model)) == 0
    for name, tensor in first.items():
        assert model.get_parameter(name) is tensor
    assert torch.equal(model.right.same, model.left.same) and torch.equal(model.right.inner.bias, model.left[0].bias)
    before = state(model)
    ramet.untie(model, True)
    assert state(model) == before


def test_a_tie_in_plain_state_alone_is_untied_by_its_path():
    model = Model()
    shared = torch.ones(2)
    model.bag = [shared, shared, {"x": shared}]
    ramet.untie(model, "bag.2.x")
    assert model.bag[0] is model.bag[1] is shared is not model.bag[2]["x"]


def test_an_untied_step_of_a_differentiable_chain_stays_one():
    model = Model()
    leaf = model.left[0].bias
    ramet.assign(model, {"left.0.bias": leaf * 2})
    ramet.tie(model, "left.0.bias", "right.0.bias")
    ramet.untie(model, "right.0.bias")
    assert model.right[0].bias is not model.left[0].bias
    model.right[0].bias.sum().backward()
    assert leaf.grad.tolist() == [2.0] * 4


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        ([], "untie: give the paths to untie, or True (true in C++) for all"),
        ([False], "untie: a path is a string like 'encoder.0.weight', not False"),
        ([True, "head.weight"], "untie: a path is a string like 'encoder.0.weight', not True"),
        (["haed.weight"], "untie: there is no 'haed.weight'; the nearest names are 'head.weight'"),
        ([""], "untie: '' names the model itself"),
        (["unused"], "untie: 'unused' holds None"),
        (["bag"], "untie: 'bag' names plain state"),
        (["head.bias"], "untie: 'head.bias' is not tied to anything"),
        (["left"], "untie: 'left' is not tied to anything"),
        (["bag.0"], "untie: 'bag.0' is a plain reference, which stays in step with 'head.bias'; name that"),
        (
            ["again.1.weight"],
            "untie: 'again.1.weight' is reached through the module 'again', which has the names 'right', 'again'; "
            "untie the module: 'again'",
        ),
        (["right.0"], "untie: 'right.0' is reached through the module 'right'"),
        (["bag.1.0.weight"], "is reached through the module 'again', which has the names 'right', 'again'"),
        (["bag.2.weight"], "untie: 'bag.2.weight' is reached through the module 'right'"),
        (["head.weight", "left"], "untie: 'left' is not tied to anything"),
    ],
)
def test_what_cannot_be_untied_is_an_error(paths, text):
    model = Model()
    ramet.tie(model, "embed.weight", "head.weight")
    model.again = model.right
    model.bag = [model.head.bias, model.right, model.right[0]]
    assert text in fails(model, ramet.untie, *paths)


def test_a_module_that_cannot_be_copied_cannot_be_untied():
    model = Model()
    model.again = model.left
    model.left[0].lock = threading.Lock()
    text = fails(model, ramet.untie, "again", error=ramet.UncloneableError)
    assert text.startswith("untie: slot 'again' needs a copy of its module, in which 'left.0.lock' is in the way: ")
    ramet.tie(model, "left.1.weight", "right.1.weight")
    ramet.untie(model, "right.1.weight")
    fails(model, ramet.untie, True, error=ramet.UncloneableError)


class Cached(dict):
    """A dict, and attributes."""


def test_contents_that_cannot_all_be_replaced_are_an_error():
    model = Model()
    model.cache = Cached(weight=model.head.weight)
    model.cache.current = model.head.weight
    before = model.head.weight
    with pytest.raises(ramet.PlanError, match=r"^assign: 'cache' is of type 'Cached', whose contents cannot"):
        ramet.assign(model, {"head.weight": torch.zeros(6, 4)})
    assert model.cache.current is model.cache["weight"] is model.head.weight is before
