"""Clones beyond the process: pickled, saved, sent to others, and made on both sides of a fork."""

import copy
import io
import multiprocessing
import os
import pickle

import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    """A tied model with plain state."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(300, 300)
        self.head = nn.Linear(300, 300)
        self.head.weight = self.embed.weight
        self.config = {"width": 300}

    def forward(self, x):
        return self.head(self.embed(x))


X = torch.arange(5)


def expect_equal_and_tied(source, other):
    assert torch.equal(source(X), other(X))
    assert other.head.weight is other.embed.weight
    assert other.config == {"width": 300}


@pytest.mark.parametrize("through", ["pickle", "torch.save", "copy.deepcopy"])
def test_a_clone_can_be_stored_and_copied_by_others(through):
    clone = ramet.clone(Net())
    if through == "pickle":
        loaded = pickle.loads(pickle.dumps(clone))
    elif through == "torch.save":
        file = io.BytesIO()
        torch.save(clone, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    else:
        loaded = copy.deepcopy(clone)
    expect_equal_and_tied(clone, loaded)


def test_what_is_saved_of_a_clone_is_no_larger_than_of_its_source():
    net = nn.Sequential(*[nn.Linear(8, 8) for _ in range(50)])
    sizes = []
    for model in (net, ramet.clone(net), ramet.clone(net, alias=True)):
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        sizes.append(len(file.getvalue()))
    assert max(sizes) - min(sizes) < 200


def answer(net, queue):
    """In another process: computes with what was sent, and with a clone of it, and writes to it."""
    clone = ramet.clone(net)
    queue.put((net(X).detach().sum().item(), clone(X).detach().sum().item()))
    with torch.no_grad():
        net.embed.weight.fill_(7)
    queue.put("written")


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_clone_in_shared_memory_is_one_for_several_processes(start):
    context = multiprocessing.get_context(start)
    clone = ramet.clone(Net()).share_memory()
    expected = clone(X).detach().sum().item()
    queue = context.Queue()
    process = context.Process(target=answer, args=(clone, queue))
    process.start()
    assert queue.get(timeout=120) == pytest.approx((expected, expected), rel=1e-4)
    assert queue.get(timeout=120) == "written"
    process.join(120)
    assert process.exitcode == 0
    assert (clone.embed.weight == 7).all()


@pytest.fixture
def _one_thread():
    """A forked process has none of OpenMP's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
def test_both_sides_of_a_fork_go_on_cloning():
    net = Net()
    dropped = [ramet.clone(net) for _ in range(3)]
    held = dropped.pop()
    dropped.clear()
    child = os.fork()
    if child == 0:
        made = [ramet.clone(net) for _ in range(3)]
        with torch.no_grad():
            held.embed.weight.zero_()
        good = all(torch.equal(net.embed.weight, each.embed.weight) for each in made)
        os._exit(0 if good else 1)
    made = [ramet.clone(net) for _ in range(3)]
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(held.embed.weight, net.embed.weight)
    for each in made:
        expect_equal_and_tied(net, each)
