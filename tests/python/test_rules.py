"""Rules: every selector, ranks, ties that move together, keep, plans, and the errors."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import ramet


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(6, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)
        self.table = {"counts": [0], "inner": {"log": []}}
        self.listed = [nn.Parameter(torch.ones(2)), {"x": torch.ones(1)}]
        self.width = 4
        self.optional = None
        self.bag = SimpleNamespace(cache={"k": torch.ones(2)})

    def forward(self, ids):
        return self.head(self.body(self.embed(ids)))


STATS = {"body.2.running_mean", "body.2.running_var", "body.2.num_batches_tracked"}


def tensors(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def shared(source, clone):
    """The names of the tensors that both hold; all others are equal and apart."""
    result = set()
    for name, a in tensors(source).items():
        b = tensors(clone)[name]
        assert torch.equal(a, b)
        if a is b:
            result.add(name)
        else:
            assert a.data_ptr() != b.data_ptr()
    return result


def every(prefix=""):
    return {name for name in tensors(Model()) if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, set()),
        ({"share": None}, set()),
        ({"share": False}, set()),
        ({"share": True}, every()),
        ({"share": nn.Parameter}, every() - STATS),
        ({"share": nn.Buffer}, STATS),
        ({"share": nn.LayerNorm}, {"body.1.weight", "body.1.bias"}),
        ({"share": nn.modules.batchnorm._NormBase}, every("body.2")),
        ({"share": "body"}, every("body")),
        ({"share": "body.0.weight"}, {"body.0.weight"}),
        ({"share": "*.bias"}, {"body.0.bias", "body.1.bias", "body.2.bias", "head.bias"}),
        ({"share": ["embed", nn.LayerNorm]}, {"embed.weight", "body.1.weight", "body.1.bias"}),
        ({"share": True, "copy": nn.Parameter}, STATS),
        ({"share": True, "copy": "body"}, every() - every("body")),
        ({"share": "body", "copy": "body.1"}, every("body") - every("body.1")),
        ({"copy": nn.Sequential, "share": nn.Linear}, {n for n in every() if n.startswith(("body.0", "head"))}),
        ({"share": "body", "copy": "body.0.bias"}, every("body") - {"body.0.bias"}),
        ({"share": ["body", "*.bias"]}, every("body") | {"head.bias"}),
        ({"share": ""}, every()),
    ],
)
def test_the_narrower_rule_wins(rules, expected):
    model = Model()
    assert shared(model, ramet.clone(model, **rules)) == expected


def test_modules_and_tensors_are_selectors_as_objects():
    model = Model()
    assert shared(model, ramet.clone(model, share=[model.embed, model.head.bias])) == {"embed.weight", "head.bias"}


def test_one_backward_fills_the_gradients_of_both():
    model = Model()
    tower = ramet.clone(model, share=True)
    assert tower.head is not model.head
    tower(torch.tensor([1, 2])).pow(2).sum().backward()
    assert model.head.weight.grad is tower.head.weight.grad is not None


def test_a_write_reaches_the_other_side_only_if_shared():
    model = Model()
    clone = ramet.clone(model, share="embed")
    with torch.no_grad():
        clone.embed.weight.fill_(3)
        clone.head.weight.fill_(3)
    assert (model.embed.weight == 3).all() and not (model.head.weight == 3).all()


def test_clones_share_with_each_other_what_they_share_with_the_source():
    model = Model()
    a, b = ramet.clones(model, 2, share="embed")
    assert a.embed.weight is b.embed.weight is model.embed.weight
    assert a.head.weight.data_ptr() != b.head.weight.data_ptr()


def test_tied_tensors_move_together():
    model = Model()
    model.tied = nn.Linear(4, 6, bias=False)
    model.tied.weight = model.embed.weight
    model.view = nn.Parameter(model.embed.weight.detach()[2:])
    clone = ramet.clone(model, share="tied")
    assert clone.embed.weight is clone.tied.weight is model.embed.weight and clone.view is model.view
    assert ramet.clone(model, share="tied", copy="embed.weight").tied.weight is not model.embed.weight
    with pytest.raises(ramet.PlanError, match=r"'embed.weight' \(copy='embed'\)") as error:
        ramet.clone(model, share="tied", copy="embed")
    assert "'tied.weight' (share='tied')" in str(error.value) and "'view'" in str(error.value)


def test_a_tensor_in_plain_state_is_copied_unless_a_rule_names_it():
    model = Model()
    clone = ramet.clone(model, share=True)
    assert clone.listed[0] is not model.listed[0] and type(clone.listed[0]) is nn.Parameter
    clone = ramet.clone(model, share=["listed.0", "listed.1.x", "bag.cache.k"])
    assert clone.listed[0] is model.listed[0] and clone.listed[1]["x"] is model.listed[1]["x"]
    assert clone.bag.cache["k"] is model.bag.cache["k"] and clone.bag is not model.bag
    assert shared(model, clone) == set()


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        (
            {"share": "head", "copy": "*.bias"},
            r"slot 'head.bias': copy and share both name it \(copy='\*.bias', share='head'\)",
        ),
        ({"share": True, "copy": True}, "both name it"),
        ({"share": nn.Linear, "copy": nn.Linear}, "both name it"),
        ({"share": "haed"}, "'haed' matches nothing; the nearest names are 'head'"),
        ({"share": "x*"}, r"'x\*' matches nothing"),
        ({"share": nn.Conv2d}, "nn.Conv2d matches nothing"),
        ({"share": torch.ones(1)}, "does not hold that object"),
        ({"share": nn.Linear(1, 1)}, "does not hold that object"),
        ({"share": "table"}, "keep='table'"),
        ({"share": "bag"}, "keep='bag'"),
        ({"share": int}, "no selector"),
        ({"share": 3}, "no selector"),
        ({"keep": True}, "no selector for keep"),
        ({"keep": nn.Linear}, "no selector for keep"),
        ({"keep": "width"}, "cannot change"),
        ({"keep": "nowhere"}, "matches nothing"),
        ({"keep": "tabel.counts"}, "'table.counts'"),
        ({"keep": object()}, "does not hold that object"),
        ({"keep": "body", "share": "body.0"}, "share='body.0' names what keep='body' already keeps whole"),
        ({"keep": "body", "copy": "body.0.weight"}, "already keeps whole"),
    ],
)
def test_a_wrong_rule_is_an_error_that_says_what_to_write(rules, text):
    model = Model()
    for call in ramet.clone, ramet.plan:
        with pytest.raises(ramet.PlanError, match=text):
            call(model, **rules)


def test_slots_that_hold_none_are_matched_and_nothing_is_done():
    model = Model()
    model.head.register_parameter("bias", None)
    assert shared(model, ramet.clone(model, share="head.bias", keep="optional")) == set()


def test_keep_holds_the_very_object():
    model = Model()
    clone = ramet.clone(model, keep=["table.counts", "listed.1", model.bag])
    assert clone.table is not model.table and clone.table["counts"] is model.table["counts"]
    assert clone.table["inner"]["log"] is not model.table["inner"]["log"]
    assert clone.listed is not model.listed and clone.listed[1] is model.listed[1] and clone.bag is model.bag
    assert ramet.clone(model, keep="table.inner.*").table["inner"]["log"] is model.table["inner"]["log"]
    assert ramet.clone(model, keep="table").table is model.table


def test_a_kept_module_is_kept_whole_under_every_name():
    model = Model()
    model.alias = model.body[0]
    model.tied = nn.Linear(4, 4, bias=False)
    model.tied.weight = model.body[0].weight
    clone = ramet.clone(model, keep="body")
    assert clone.body is model.body and clone.alias is model.body[0]
    assert clone.tied is not model.tied and clone.tied.weight is model.body[0].weight
    assert clone.head.weight is not model.head.weight


def test_a_kept_tensor_is_shared():
    model = Model()
    assert shared(model, ramet.clone(model, keep=["head.weight", model.embed.weight])) == {
        "head.weight",
        "embed.weight",
    }


def test_keeping_the_source_itself_gives_the_source():
    model = Model()
    assert ramet.clone(model, keep=model) is model
    other = nn.Linear(1, 1)
    a, b = ramet.clone((model, other), keep="0")
    assert a is model and b is not other


def test_a_rule_finds_members_of_a_session_by_index_and_key():
    a, b = Model(), Model()
    clones = ramet.clone({"a": a, "b": [b]}, share=["a.head", "b.0.embed.weight"])
    assert shared(a, clones["a"]) == {"head.weight", "head.bias"}
    assert shared(b, clones["b"][0]) == {"embed.weight"}


def test_nothing_is_changed_by_an_error():
    model = Model()
    before = {name: (id(t), t._version, t.clone()) for name, t in tensors(model).items()}
    model.held = threading.Lock()
    with pytest.raises(ramet.UncloneableError):
        ramet.clone(model)
    with pytest.raises(ramet.PlanError):
        ramet.clone(model, share="haed", keep="held")
    for name, tensor in tensors(model).items():
        identity, version, value = before[name]
        assert id(tensor) == identity and tensor._version == version and torch.equal(tensor, value)


def test_a_plan_says_what_a_clone_would_do():
    model = Model()
    plan = ramet.plan(model, share="embed", keep="table")
    assert plan["embed.weight"] == ("share", "share='embed'", 0)
    assert plan["head.bias"] == ramet.Decision("copy", "default", 8)
    assert plan["table"].mode == "keep" and plan["table"].why == "keep='table'"
    assert plan["listed.0"].mode == "copy"
    assert plan.nbytes == sum(d.nbytes for d in plan.values())
    assert "head.bias" in str(plan) and "to allocate" in str(plan) and "head.bias" in repr(plan)
    with pytest.raises(KeyError):
        plan["nowhere"]


def test_a_plan_counts_a_storage_once():
    model = nn.ModuleDict({"a": nn.Linear(4, 4, bias=False), "b": nn.Linear(4, 4, bias=False)})
    model["b"].weight = model["a"].weight
    plan = ramet.plan(model)
    assert plan.nbytes == 64 and [d.nbytes for d in plan.values()] == [64, 0]
