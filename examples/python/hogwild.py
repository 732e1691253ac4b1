"""Hogwild: processes that train one set of weights at once, without a lock, each with gradients of its own.

``alias`` gives every worker tensors of its own over the source's memory, which ``share_memory()`` has put where all
processes see it. Exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from multiprocessing.queues import Queue
from typing import Any

import torch
from claims import Claims
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import ramet

TOKENS = 48


class Net(nn.Module):
    """Says which token follows; its output weights are its embedding's. Counts the steps of all workers."""

    def __init__(self, counter: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, 32)
        self.hidden = nn.Linear(32, 32)
        self.head = nn.Linear(32, TOKENS)
        self.head.weight = self.embed.weight
        self.register_buffer("follows", torch.randperm(TOKENS))
        self.counter = counter

    def forward(self, tokens: Tensor) -> Tensor:
        """Gives the logits of what follows each token."""
        return self.head(self.hidden(self.embed(tokens)).tanh())

    def loss(self, n: int) -> Tensor:
        """On n random tokens; what follows one is fixed, but every tenth time it is anything."""
        tokens = torch.randint(TOKENS, (n,))
        noise = torch.randint(TOKENS, (n,))
        return cross_entropy(self(tokens), torch.where(torch.rand(n) < 0.1, noise, self.follows[tokens]))


@torch.no_grad()
def accuracy(net: Net) -> float:
    return (net(torch.arange(TOKENS)).argmax(1) == net.follows).float().mean().item()


def train(net: Net, steps: int) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss(64).backward()
        optimizer.step()
        with net.counter.get_lock():
            net.counter.value += 1


def work(net: Net, seed: int, steps: int, reports: Queue[dict[str, Any]]) -> None:
    """In a process of its own: trains its worker, and reports what it found."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    tied = net.head.weight is net.embed.weight
    began_without = all(p.grad is None for p in net.parameters())
    train(net, steps)
    reports.put({"tied": tied, "began_without": began_without, "loss": net.loss(1000).item()})


def run(claims: Claims, workers: list[Net], steps: int) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    reports: Queue[dict[str, Any]] = context.Queue()
    processes = [context.Process(target=work, args=(net, i, steps, reports)) for i, net in enumerate(workers)]
    for process in processes:
        process.start()
    found = [reports.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    claims.check("every process came to its end", all(process.exitcode == 0 for process in processes))
    return found


def check_workers(claims: Claims, net: Net, workers: list[Net]) -> None:
    relations = [ramet.relation(net, worker) for worker in workers]
    claims.check(
        "every tensor of every worker is aliased", all(it.aliased == set(net.state_dict()) for it in relations)
    )
    claims.check("which costs no bytes", ramet.plan(net, alias=True, keep="counter").nbytes == 0)
    claims.check("each has the tie", all(worker.head.weight is worker.embed.weight for worker in workers))
    claims.check("each counts in one counter", all(worker.counter is net.counter for worker in workers))
    claims.check(
        "each lies in memory that processes share", all(p.is_shared() for w in workers for p in w.parameters())
    )
    claims.check("none has the net's gradient", all(p.grad is None for w in workers for p in w.parameters()))


def check_copy(claims: Claims, net: Net, steps: int) -> None:
    """The same training without alias: nobody else learns."""
    before = accuracy(net)
    copy = ramet.clone(net, keep="counter")
    train(copy, steps)
    claims.check("a copy that trains leaves the net as it was", accuracy(net) == before and accuracy(copy) > before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of each worker")
    given = parser.parse_args()
    count, steps = given.workers, given.steps
    torch.manual_seed(1)
    torch.set_num_threads(1)
    claims = Claims()

    net = Net(multiprocessing.get_context("spawn").Value("q", 0))
    net.loss(8).backward()
    net.share_memory()  # its gradients too, which forked processes would then write together
    grads = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    check_copy(claims, net, steps // 10)
    net.counter.value = 0

    print(f"{count} workers of one net: alias=True, keep='counter'")
    workers = ramet.clones(net, count, alias=True, keep="counter")
    check_workers(claims, net, workers)
    before = accuracy(net)
    found = run(claims, workers, steps)
    after = accuracy(net)
    print(f"  accuracy of the net: {before:.2f}, after {net.counter.value} steps of its workers {after:.2f}")
    claims.check("the net has learned, though nothing ever stepped it", before < 0.2 and after > 0.9)
    claims.check("from all of them", net.counter.value == count * steps)
    claims.check("its gradient is the one that it had", all(p.grad.equal(grads[n]) for n, p in net.named_parameters()))
    claims.check("the tie went with the workers", all(report["tied"] for report in found))
    claims.check("as did no gradient", all(report["began_without"] for report in found))
    claims.check("at the end all still train the same weights", all(accuracy(w) == after for w in workers))
    aliased = [ramet.relation(net, worker).aliased for worker in workers]
    claims.check("and relation says so", aliased == [set(net.state_dict())] * count)
    return claims.exit_code()


if __name__ == "__main__":
    sys.exit(main())
