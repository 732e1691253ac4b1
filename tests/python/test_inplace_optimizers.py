"""tie and assign on a session with an optimizer: it steps each parameter once, with what it has kept for it."""

import pytest
import torch
from torch import nn

import ramet


def stepped(model):
    """An optimizer that keeps something for every parameter."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("groups", [1, 2])
def test_an_optimizer_of_the_session_steps_what_was_tied_once(groups):
    model = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    optimizer = stepped(model)
    first, later = model[0].weight, model[1].weight
    if groups == 2:
        optimizer.param_groups[0]["params"].remove(later)
        optimizer.add_param_group({"params": [later]})
    kept = optimizer.state[first]
    ramet.tie((model, optimizer), "0.0.weight", "0.1.weight")
    assert [p for group in optimizer.param_groups for p in group["params"]] == [first]
    assert list(optimizer.state) == [first] and optimizer.state[first] is kept
    before = first.item()
    first.grad, kept["momentum_buffer"] = torch.ones(1, 1), None
    optimizer.step()
    assert first.item() == pytest.approx(before - 1)


def test_an_optimizer_of_the_session_goes_on_with_what_was_assigned():
    model = nn.Linear(2, 2)
    optimizer = stepped(model)
    old, kept = model.weight, optimizer.state[model.weight]
    ramet.assign((model, optimizer), {"0.weight": torch.zeros(2, 2)})
    assert optimizer.param_groups[0]["params"][0] is model.weight is not old
    assert optimizer.state[model.weight] is kept and old not in optimizer.state


@pytest.mark.parametrize("begun", [False, True])
def test_an_optimizer_that_keeps_one_vector_of_all_goes_on_as_one_made_anew(begun):
    def losses(model, optimizer):
        def closure():
            optimizer.zero_grad()
            loss = model(torch.ones(4, 2)).sub(3).pow(2).sum()
            loss.backward()
            return loss

        return [optimizer.step(closure).item() for _ in range(3)]

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)
    if begun:
        losses(model, optimizer)
    ramet.tie((model, optimizer), "0.0.weight", "0.1.weight")
    other = ramet.clone(model)
    fresh = torch.optim.LBFGS(other.parameters(), lr=0.1, max_iter=2)
    assert losses(model, optimizer) == losses(other, fresh)


def test_the_names_that_an_optimizer_keeps_go_with_the_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.named_parameters(), lr=1.0)
    ramet.tie((model, optimizer), "0.0.weight", "0.1.weight")
    group = optimizer.param_groups[0]
    assert group["param_names"] == ["0.weight", "0.bias", "1.bias"]
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
