"""assign: leaf and non-leaf tensors into slots, every name of a tied one, and errors that change nothing."""

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.rnn = nn.GRU(3, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(5))
        self.register_parameter("unused", None)
        self.listed = [self.embed.weight, torch.zeros(2)]

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0]) * self.scale


IDS = torch.tensor([[1], [2]])


def state(model):
    return {
        (m, k, n): id(t) for m in model.modules() for k in ("_parameters", "_buffers") for n, t in vars(m)[k].items()
    }


def fails(model, *arguments):
    before = state(model)
    with pytest.raises(ramet.PlanError) as caught:
        ramet.assign(model, *arguments)
    assert state(model) == before
    return str(caught.value)


def stepped(model):
    parameters = list(model.parameters())
    grads = torch.autograd.grad(model(IDS).pow(2).sum(), parameters, create_graph=True)
    return parameters, [p - 0.1 * g for p, g in zip(parameters, grads, strict=True)]


def test_a_step_through_non_leaf_tensors_is_differentiable():
    model = Net()
    before, after = stepped(model)
    assert ramet.assign(model, after) is None
    assert all(a is b for a, b in zip(model.parameters(), after, strict=True))
    assert dict(model.named_parameters())["embed.weight"] is after[0]
    assert model.head.weight is model.embed.weight is model.listed[0] is after[0] and type(after[0]) is torch.Tensor
    assert model.rnn._flat_weights[0] is model.rnn.weight_ih_l0 is after[1] is model.rnn._flat_weight_refs[0]()
    model(IDS).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in before)


def test_two_steps_agree_with_functional_call():
    torch.manual_seed(0)
    model = Net().double()
    names = [name for name, _ in model.named_parameters()]
    original = list(model.parameters())
    values = original
    for _ in range(2):
        loss = torch.func.functional_call(model, dict(zip(names, values, strict=True)), IDS).pow(2).sum()
        grads = torch.autograd.grad(loss, values, create_graph=True)
        values = [p - 0.1 * g for p, g in zip(values, grads, strict=True)]
    expected = torch.autograd.grad(
        torch.func.functional_call(model, dict(zip(names, values, strict=True)), IDS).sum(), original
    )
    for _ in range(2):
        ramet.assign(model, stepped(model)[1])
    for a, b in zip(torch.autograd.grad(model(IDS).sum(), original), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_an_assigned_step_can_be_undone_and_trained():
    model = Net()
    before, after = stepped(model)
    ramet.assign(model, after)
    ramet.assign(model, before)
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = model(IDS).pow(2).mean()
    first.backward()
    optimizer.step()
    assert model(IDS).pow(2).mean() < first


def test_any_path_reaches_every_name_and_plain_reference():
    for path in ("embed.weight", "head.weight", "listed.0"):
        model = Net()
        new = nn.Parameter(torch.zeros(5, 3))
        ramet.assign(model, {path: new, "rnn._flat_weights.1": torch.zeros(9, 3, requires_grad=True)})
        assert model.embed.weight is model.head.weight is model.listed[0] is new
        assert model.rnn.weight_hh_l0 is model.rnn._flat_weights[1] and not model.rnn.weight_hh_l0.any()


def test_buffers_and_tensors_in_plain_state_are_assigned_as_they_are():
    model = Net()
    scale, listed = torch.full((5,), 2.0), torch.ones(2)
    ramet.assign(model, {"scale": scale, "listed.1": listed})
    assert model.scale is scale is dict(model.named_buffers())["scale"] and model.listed[1] is listed


def test_data_becomes_a_parameter_over_the_same_memory():
    model = Net()
    model.rnn.bias_hh_l0.requires_grad_(False)
    data = {name: torch.zeros_like(p) for name, p in model.state_dict().items() if name != "head.weight"}
    ramet.assign(model, data)
    for name, p in model.named_parameters():
        assert type(p) is nn.Parameter and p.data_ptr() == data[name].data_ptr()
        assert p.requires_grad == (name != "rnn.bias_hh_l0") and not data[name].requires_grad
    assert model.head.weight is model.embed.weight
    frozen = nn.Parameter(torch.ones(5, 3), requires_grad=False)
    ramet.assign(model, {"head.weight": frozen})
    assert model.embed.weight is frozen and not frozen.requires_grad


def test_a_skeleton_on_meta_is_filled_with_its_ties():
    source, skeleton = Net(), Net().to("meta")
    skeleton.head.weight = skeleton.embed.weight
    ramet.assign(skeleton, {name: t for name, t in source.state_dict().items() if name != "head.weight"})
    skeleton.listed = []
    assert skeleton.head.weight is skeleton.embed.weight and skeleton.embed.weight.requires_grad
    assert torch.equal(skeleton(IDS), source(IDS))


def test_any_iterable_in_the_order_of_parameters_is_a_sequence():
    model = Net()
    ramet.assign(model, (p * 2 for p in model.parameters()))
    assert not model.embed.weight.is_leaf
    model = nn.ModuleDict({"a": model, "b": model})
    ramet.assign((model, nn.Linear(1, 1)), [*(p * 2 for p in model.parameters()), torch.ones(1, 1), torch.ones(1)])


def test_parameters_that_only_plain_state_leads_to_are_not_counted():
    model = nn.Linear(2, 1)
    model.listed = [nn.Linear(2, 1)]
    ramet.assign(model, [torch.zeros(1, 2), torch.zeros(1)])
    assert not model.weight.any() and model.listed[0].weight.any()


def test_a_tensor_given_for_two_names_is_given_once():
    model = Net()
    new = torch.zeros(5, 3)
    ramet.assign(model, {"embed.weight": new, "head.weight": new})
    assert model.head.weight is model.embed.weight and model.head.weight.data_ptr() == new.data_ptr()


def test_scripted_modules_are_assigned_to():
    model = torch.jit.script(nn.Sequential(nn.Linear(2, 2)))
    new = nn.Parameter(torch.zeros(2, 2))
    ramet.assign(model, {"0.weight": new})
    assert not model(torch.ones(1, 2)).equal(torch.ones(1, 2)) and model._modules["0"].weight is new


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        (
            [],
            "assign: got 0 tensors for 5 parameters; give one for each, in the order of parameters() (a tied one once)",
        ),
        ({"haed.weight": torch.ones(5, 3)}, "assign: there is no 'haed.weight'; the nearest names are 'head.weight'"),
        ({"unused": torch.ones(1)}, "assign: 'unused' holds None; register a tensor or a module there first"),
        ({"": torch.ones(1)}, "assign: '' names the model itself"),
        ({"rnn": torch.ones(1)}, "assign: 'rnn' is a module; name the tensors within it, each by its path"),
        ({"listed": torch.ones(1)}, "assign: 'listed' names plain state"),
        (
            {"scale": torch.ones(4)},
            "assign: 'scale' is float32 [5] on cpu, and is given float32 [4] on cpu; shape, dtype and device must "
            "agree",
        ),
        ({"scale": torch.ones(5).double()}, "'scale' is float32 [5] on cpu, and is given float64 [5] on cpu"),
        ({"scale": torch.ones(5, device="meta")}, "and is given float32 [5] on meta"),
        ({"empty": torch.ones(3)}, "(the device not, where the slot's tensor is on meta)"),
        (
            {"embed.weight": torch.ones(5, 3), "head.weight": torch.ones(5, 3)},
            "assign: 'embed.weight' and 'head.weight' are one tensor, and are given two; give it under one of its "
            "names",
        ),
        ({"scale": torch.ones(5), "rnn.bias_hh_l0": torch.ones(2)}, "assign: 'rnn.bias_hh_l0' is float32 [9]"),
        ({"scale": [1.0]}, "assign: 'scale' is given an object of type 'list'; give a tensor"),
        ([None], "assign: '0' is given an object of type 'NoneType'; give a tensor"),
        ({3: torch.ones(5)}, "assign: a path is a string like 'encoder.0.weight', not 3"),
        (torch.ones(5), "assign: give tensors by path, or a sequence of them, not an object of type 'Tensor'"),
        (None, "assign: give tensors by path, or a sequence of them, not an object of type 'NoneType'"),
    ],
)
def test_what_cannot_be_assigned_is_an_error(tensors, text):
    model = Net()
    model.register_buffer("empty", torch.ones(2, device="meta"))
    assert text in fails(model, tensors)


def test_a_state_dict_fills_a_tied_skeleton():
    model = nn.ModuleDict({"embed": nn.Embedding(6, 4), "head": nn.Linear(4, 6)})
    model["head"].weight = model["embed"].weight
    skeleton = ramet.clone(model, meta=True)
    ramet.assign(skeleton, model.state_dict())
    assert skeleton["head"].weight is skeleton["embed"].weight
    assert torch.equal(skeleton["head"].weight, model["head"].weight)
    assert torch.equal(skeleton["head"].bias, model["head"].bias)
