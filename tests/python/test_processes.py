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


class Recurrent(nn.Module):
    """What torch or a hook refers to a second time, beside what is registered."""

    def __init__(self):
        super().__init__()
        self.net = Net()
        self.lstm = nn.LSTM(2, 2)
        self.peer = [self.net.head]


# An unpickled model has names of its own, equal to those of its source and not the same objects.
@pytest.mark.parametrize("make", [Net, Recurrent, lambda: nn.TransformerEncoderLayer(8, 2)])
def test_what_comes_from_a_pickle_is_as_what_it_was_made_from(make):
    source, file = make(), io.BytesIO()
    torch.save(source, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert list(ramet.plan(loaded)) == list(ramet.plan(source))
    assert list(ramet.catalog(loaded)) == list(ramet.catalog(source))
    assert not ramet.relation(source, loaded).only_a
    for clone in [ramet.clone(loaded), *ramet.clones(loaded, 2), copy.deepcopy(ramet.clone(loaded))]:
        assert list(clone.state_dict()) == list(source.state_dict())
        assert list(ramet.catalog(clone)) == list(ramet.catalog(source))
        assert not {id(tensor) for tensor in clone.parameters()} & {id(tensor) for tensor in loaded.parameters()}
    clone, optimizer = ramet.clone((loaded, torch.optim.Adam(loaded.parameters())))
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in clone.parameters()]


def test_what_comes_from_a_pickle_is_tied_untied_and_assigned_in_place():
    loaded = pickle.loads(pickle.dumps(Net()))
    ramet.untie(loaded, True)
    assert loaded.head.weight is not loaded.embed.weight
    ramet.tie(loaded, "embed.weight", "head.weight")
    assert loaded.head.weight is loaded.embed.weight
    ramet.assign(loaded, {"head.bias": torch.zeros(300)})
    assert not loaded.head.bias.any()


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
