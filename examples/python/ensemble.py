"""An ensemble from one network: clones with fresh values, which disagree where they have seen no data.

``init`` draws values as if each member were built anew; a cheaper ensemble shares a trunk and has heads of its own.
Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import sys

import torch
from claims import Claims
from torch import Tensor, nn
from torch.nn.functional import mse_loss

import ramet


def network() -> nn.Sequential:
    """Gives a network of a trunk and a head."""
    trunk = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    return nn.Sequential(trunk, nn.Linear(32, 1))


def data(points: int = 64) -> tuple[Tensor, Tensor]:
    """Gives points of a noisy curve, with none in the middle and none outside of [-2, 2]."""
    x = torch.cat([torch.empty(points // 2, 1).uniform_(-2, -0.8), torch.empty(points // 2, 1).uniform_(0.8, 2)])
    return x, torch.sin(2 * x) + 0.05 * torch.randn_like(x)


def train(members: list[nn.Sequential], x: Tensor, y: Tensor, steps: int) -> None:
    """Trains all members, each on its own error; what they share, on the sum."""
    parameters = {p for member in members for p in member.parameters()}
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([mse_loss(member(x), y) for member in members]).sum().backward()
        optimizer.step()


@torch.no_grad()
def spread(members: list[nn.Sequential], x: Tensor) -> float:
    """Gives how far the members are apart on ``x``."""
    return torch.stack([member(x) for member in members]).std(0).mean().item()


def check_values(claims: Claims, net: nn.Sequential, members: list[nn.Sequential]) -> None:
    """Checks that the members are what a constructor makes of the same random numbers."""
    torch.manual_seed(2)
    fresh = ramet.clones(net, 2, init=True)
    torch.manual_seed(2)
    built = [network(), network()]
    pairs = [(a.state_dict(), b.state_dict()) for a, b in zip(fresh, built, strict=True)]
    same = all(a[name].equal(b[name]) for a, b in pairs for name in a)
    claims.check("a member has the values that its constructor would have drawn", same)
    apart = all(len({round(m[1].weight[0, i].item(), 6) for m in members}) == len(members) for i in range(3))
    claims.check("no two are alike", apart)


@torch.no_grad()
def check_trained(claims: Claims, members: list[nn.Sequential], x: Tensor, y: Tensor) -> None:
    """Checks what an ensemble is for."""
    errors = [mse_loss(member(x), y).item() for member in members]
    together = mse_loss(torch.stack([member(x) for member in members]).mean(0), y).item()
    print(f"  errors {', '.join(f'{e:.4f}' for e in errors)}; of the mean {together:.4f}")
    claims.check("each has learned the curve", max(errors) < 0.05)
    claims.check("their mean is no worse than they are on the average", together <= sum(errors) / len(errors))
    seen, unseen = spread(members, x), spread(members, torch.linspace(3, 5, 32)[:, None])
    print(f"  apart by {seen:.3f} where there are data, by {unseen:.3f} where there are none")
    claims.check("they disagree where there are no data", unseen > 3 * seen)


def main() -> int:
    """Runs the program; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    steps = parser.parse_args().steps
    torch.manual_seed(1)
    torch.set_num_threads(1)
    claims = Claims()
    net = network()
    x, y = data()
    before = {name: value.clone() for name, value in net.state_dict().items()}

    print("five of one: clones(net, 5, init=True)")
    members = ramet.clones(net, 5, init=True)
    check_values(claims, net, members)
    train(members, x, y, steps)
    check_trained(claims, members, x, y)

    print("five heads on one trunk: share='0', init='1'")
    heads = ramet.clones(net, 5, share="0", init="1")
    claims.check("all have the trunk", all(head[0][0].weight is net[0][0].weight for head in heads))
    claims.check("and a head of their own", len({head[1].weight for head in heads}) == 5)
    claims.check("the net is as it was", all(net.state_dict()[name].equal(value) for name, value in before.items()))
    train(heads, x, y, steps)
    claims.check("they learn together", all(mse_loss(head(x), y) < 0.05 for head in heads))

    print("five copies, for comparison")
    copies = ramet.clones(net, 5)
    train(copies, x, y, steps // 10)
    claims.check("what begins alike and sees the same stays alike", spread(copies, x) == 0)
    return claims.exit_code()


if __name__ == "__main__":
    sys.exit(main())
