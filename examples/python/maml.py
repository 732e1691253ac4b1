"""MAML on sines: weights from which a few steps on ten points of an unseen sine fit the whole of it.

A differentiable clone takes the steps, by ``ramet.assign``; how well it then does is a function of the weights that it
came from, which an ordinary optimizer trains. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import math
import sys

import torch
from claims import Claims
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import mse_loss

import ramet

RATE = 0.05
Task = tuple[Tensor, Tensor, Tensor, Tensor]


def sine(points: int = 10) -> Task:
    """Gives points of a random sine to learn from, and as many to be judged by: x, y and x, y."""
    height, shift = torch.empty(()).uniform_(0.5, 3), torch.empty(()).uniform_(0, math.pi)
    x = torch.empty(2 * points, 1).uniform_(-4, 4)
    y = height * torch.sin(x + shift)
    return x[:points], y[:points], x[points:], y[points:]


def adapted(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> nn.Module:
    """Gives a clone that has taken ``steps`` steps; gradients flow through them all, to ``net``."""
    clone = ramet.clone(net, differentiable=True)
    for _ in range(steps):
        weights = list(clone.parameters())
        grads = torch.autograd.grad(mse_loss(clone(x), y), weights, create_graph=True)
        ramet.assign(clone, [w - RATE * g for w, g in zip(weights, grads, strict=True)])
    return clone


def adapted_by_hand(net: nn.Module, x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
    """Gives the weights that ``adapted`` would, by ``torch.func.functional_call``."""
    weights = dict(net.named_parameters())
    for _ in range(steps):
        loss = mse_loss(functional_call(net, weights, (x,)), y)
        grads = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: w - RATE * g for (name, w), g in zip(weights.items(), grads, strict=True)}
    return weights


def error(net: nn.Module, steps: int, tasks: int = 40) -> float:
    """Gives the mean error on sines, the same at every call, after ``steps`` steps on ten points of each."""
    state = torch.get_rng_state()
    torch.manual_seed(9)
    found = [mse_loss(adapted(net, x, y, steps)(x2), y2).item() for x, y, x2, y2 in (sine() for _ in range(tasks))]
    torch.set_rng_state(state)
    return sum(found) / tasks


def train(net: nn.Module, iterations: int, tasks: int = 4) -> None:
    """Trains ``net`` for how well its clones do after one step."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
    for _ in range(iterations):
        optimizer.zero_grad()
        for x, y, x2, y2 in (sine() for _ in range(tasks)):
            (mse_loss(adapted(net, x, y, 1)(x2), y2) / tasks).backward()
        optimizer.step()


def check_gradients(claims: Claims, net: nn.Module) -> None:
    """Checks the gradients through two steps against those of functional_call."""
    x, y, x2, y2 = sine()
    ours = torch.autograd.grad(mse_loss(adapted(net, x, y, 2)(x2), y2), list(net.parameters()))
    by_hand = mse_loss(functional_call(net, adapted_by_hand(net, x, y, 2), (x2,)), y2)
    theirs = torch.autograd.grad(by_hand, list(net.parameters()))
    same = all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(ours, theirs, strict=True))
    claims.check("gradients through two steps are those of functional_call, to rounding", same)


def main() -> int:
    """Runs the program; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=600)
    iterations = parser.parse_args().iterations
    torch.manual_seed(1)
    torch.set_num_threads(1)
    claims = Claims()
    net = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))

    print("a clone that autograd links to its source: differentiable=True")
    clone = ramet.clone(net, differentiable=True)
    claims.check("has the same values", ramet.relation(net, clone).equal == set(net.state_dict()))
    claims.check("in tensors that are no leaves", not any(p.is_leaf for p in clone.parameters()))
    check_gradients(claims, net)

    untrained = error(net, 5)
    train(net, iterations)
    before, after = error(net, 0), error(net, 5)
    print(f"  error on unseen sines: {before:.3f} as trained, {after:.3f} after 5 steps; untrained, {untrained:.3f}")
    claims.check("five steps on ten points at least halve the error", after < before / 2)
    claims.check("which they do not for weights that are not trained for it", untrained > 2 * after)
    if iterations >= 600:
        claims.check("it is a tenth", after < before / 10)
    claims.check("adapting has changed the net by nothing", before == error(net, 0))
    return claims.exit_code()


if __name__ == "__main__":
    sys.exit(main())
