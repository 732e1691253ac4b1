"""No write to a lazy clone reaches its source, and none to the source the clone, by whatever means it is made."""

import ctypes
import os

import pytest
import torch
from torch import nn
from torch.nn import functional

import ramet


class Net(nn.Module):
    """Tied weights, a buffer that is a view of another, BatchNorm's statistics, an LSTM's flat weights."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 4)
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 4)
        self.head = nn.Linear(4, 12, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(24.0).view(4, 6))
        self.register_buffer("row", self.table[1])

    def forward(self, words):
        hidden, _ = self.lstm(self.norm(self.embed(words)).unsqueeze(1))
        return self.head(hidden.squeeze(1)) + self.row.sum()


WORDS = torch.arange(12)


def loss_of(net):
    return net(WORDS).square().sum()


@torch.no_grad()
def write_to_storage(net):
    for tensor in [*net.parameters(), *net.buffers()]:
        tensor.untyped_storage().fill_(0)


@torch.no_grad()
def write_items(net):
    net.embed.weight.untyped_storage()[0] = 1
    net.table.untyped_storage()[3] = 1


def write_through_pointer(net):
    ctypes.memset(net.embed.weight.data_ptr(), 1, net.embed.weight.nbytes)
    ctypes.memset(net.table.data_ptr(), 1, net.table.nbytes)


def train_norm(net):
    net.norm.train()(torch.randn(5, 4) + 3)


def renormalise(net):
    functional.embedding(WORDS, net.embed.weight, max_norm=0.1)


def share_memory(net):
    net.share_memory()
    write(net)


def load(net):
    net.load_state_dict({name: value + 1 for name, value in net.state_dict().items()})


@torch.no_grad()
def write(net):
    for tensor in [*net.parameters(), *net.buffers()]:
        tensor.add_(1)


@torch.no_grad()
def write_by_foreach(net):
    torch._foreach_mul_(list(net.parameters()), 2.0)
    torch._foreach_zero_([net.table])


@torch.no_grad()
def write_by_out(net):
    torch.add(net.embed.weight, 1, out=net.embed.weight)
    torch.cumsum(net.table, 0, out=net.table)


@torch.no_grad()
def write_views(net):
    net.embed.weight.t()[1:].fill_(3)
    net.embed.weight.view(-1)[::5].mul_(2)
    net.row.zero_()
    net.table.unfold(0, 2, 2).add_(1)


@torch.no_grad()
def write_by_index(net):
    net.embed.weight[torch.tensor([1, 3])] = 5
    net.embed.weight.index_add_(0, torch.tensor([0]), torch.ones(1, 4))
    net.table.masked_fill_(net.table > 3, -1)
    net.table.scatter_(0, torch.zeros(1, 6, dtype=torch.long), 9.0)


def write_numpy(net):
    net.embed.weight.detach().numpy()[:] = 7
    net.table.numpy()[1] = 7


def write_dlpack(net):
    torch.from_dlpack(net.embed.weight.detach()).fill_(7)
    torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(net.table)).fill_(7)


def write_data(net):
    net.embed.weight.data.mul_(3)
    net.embed.weight.data[0] = 1
    net.table.data = net.table.data.add_(1)
    net.row = net.table[1]


def initialise(net):
    nn.init.normal_(net.embed.weight)
    nn.init.orthogonal_(net.table)
    net.lstm.reset_parameters()


@torch.no_grad()
def grow_storage(net):
    net.table.untyped_storage().resize_(400)
    net.table.fill_(1)


@torch.no_grad()
def bring_in_other_bytes(net):
    net.embed.weight.set_(torch.ones(12, 4))
    net.embed.weight.zero_()
    net.norm.weight.data = torch.zeros(4)


def copy_in(net):
    for tensor in [*net.parameters(), *net.buffers()]:
        tensor.detach().copy_(torch.full_like(tensor, 3))


def convert_there_and_back(net):
    net.double().float()
    write(net)
    net.head.weight = net.embed.weight
    net.row = net.table[1]


def backward_in_place(net):
    """What autograd saves is the writer's own, and what it writes too."""
    (loss_of(net) + net.embed.weight.exp().sum()).backward()
    with torch.no_grad():
        net.embed.weight.sub_(net.embed.weight.grad, alpha=0.1)


def tie_by_swap(net):
    torch.utils.swap_tensors(net.norm.weight, nn.Parameter(torch.zeros(4)))


WRITES = {
    name: write
    for name, write in sorted(globals().items())
    if callable(write) and getattr(write, "__module__", "") == __name__ and name not in {"Net", "loss_of"}
}

# Each optimizer that steps by a loss alone, in every form that it has on the CPU.
FORMS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
FUSED = {"SGD", "Adam", "AdamW", "Adagrad"}
OPTIMIZERS = [
    (name, form)
    for name in sorted(torch.optim.__all__)
    for form in FORMS
    if isinstance(getattr(torch.optim, name), type)
    and name not in {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
    and (form != "fused" or name in FUSED)
]


def tensors_of(net):
    return dict(net.state_dict(keep_vars=True))


def values_of(net):
    return {name: tensor.detach().clone() for name, tensor in tensors_of(net).items()}


def assert_same(net, values):
    for name, tensor in tensors_of(net).items():
        assert torch.equal(tensor.detach(), values[name]), name


@torch.no_grad()
def assert_tied(net):
    assert net.head.weight is net.embed.weight
    net.row[2] = 77
    assert net.table[1, 2] == 77
    assert net.lstm._flat_weights[0] is net.lstm.weight_ih_l0


def assert_apart(writer, other, write):
    """What `write` does to one side never shows in the other, nor what the other does afterwards in that one."""
    before = values_of(other)
    write(writer)
    assert_same(other, before)
    after = values_of(writer)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    with torch.no_grad():
        for tensor in tensors_of(other).values():
            tensor.fill_(5)
    assert_same(writer, after)
    assert_tied(other)
    assert_same(writer, after)
    assert_tied(writer)


@pytest.fixture(params=["clone writes", "source writes", "clone of clone writes", "one of many writes"])
def sides(request):
    """Who writes, and who must not see it. All tensors are lazy."""
    source = Net()
    if request.param == "one of many writes":
        clones = ramet.clones(source, 3, lazy=True)
        yield clones[1], clones[2]
        return
    clone = ramet.clone(source, lazy=True)
    assert ramet.relation(source, clone).lazy == set(ramet.plan(source))
    if request.param == "clone writes":
        yield clone, source
    elif request.param == "source writes":
        yield source, clone
    else:
        again = ramet.clone(clone, lazy=True)
        assert ramet.relation(source, again).lazy == set(ramet.plan(source))
        yield again, source


@pytest.mark.parametrize("name", WRITES)
def test_a_write_stays_on_its_side(sides, name):
    assert_apart(*sides, WRITES[name])


@pytest.mark.parametrize(("name", "form"), OPTIMIZERS)
@pytest.mark.parametrize("source_trains", [True, False])
def test_training_stays_on_its_side(source_trains, name, form):
    source = Net()
    clone = ramet.clone(source, lazy=True)
    writer, other = (source, clone) if source_trains else (clone, source)
    optimizer = getattr(torch.optim, name)(writer.parameters(), lr=0.1, **FORMS[form])

    def train(net):
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(net).backward()
            optimizer.step()

    assert_apart(writer, other, train)
    assert all(parameter.grad is None for parameter in other.parameters())


def step(net, optimizer):
    def closure():
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        return loss

    optimizer.step(closure)


def state_of(optimizer):
    """Its tensors, one by one."""

    def flat(value):
        if isinstance(value, torch.Tensor):
            yield value.clone()
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                yield from flat(item)

    return list(flat(optimizer.state_dict()["state"]))


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
@pytest.mark.parametrize("source_trains", [True, False])
def test_an_optimizers_state_is_lazy_and_stays_on_its_side(source_trains, name):
    options = {"SGD": {"lr": 0.1, "momentum": 0.9}, "Adam": {"lr": 0.1}, "LBFGS": {"lr": 0.01, "max_iter": 2}}[name]
    source = Net()
    optimizer = getattr(torch.optim, name)(source.parameters(), **options)
    step(source, optimizer)
    assert ramet.plan((source, optimizer), lazy=True).nbytes <= 8 * len(list(source.parameters()))  # Adam's counts
    pairs = [(source, optimizer), ramet.clone((source, optimizer), lazy=True)]
    (writer, writers), (other, others) = pairs if source_trains else pairs[::-1]
    before, values = state_of(others), values_of(other)
    step(writer, writers)
    step(writer, writers)
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(others), strict=True))
    assert_same(other, values)
    # The other goes on from where it was, as a copy would.
    twin, twins = ramet.clone((other, others))
    step(other, others)
    step(twin, twins)
    assert_same(twin, values_of(other))


@pytest.mark.parametrize("source_trains", [True, False])
def test_gradients_go_to_the_side_that_computes_them(source_trains):
    source = Net()
    loss_of(source).backward()
    clone = ramet.clone(source, lazy=True, grads="copy")
    writer, other = (source, clone) if source_trains else (clone, source)
    before = [parameter.grad.clone() for parameter in other.parameters()]
    loss_of(writer).backward()
    for parameter, twin, grad in zip(other.parameters(), writer.parameters(), before, strict=True):
        assert torch.equal(parameter.grad, grad)
        assert torch.allclose(twin.grad, 2 * grad, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("child_writes", ["clone", "source"])
def test_a_forked_child_writes_for_itself_alone(child_writes):
    source = Net()
    clone = ramet.clone(source, lazy=True)
    values = values_of(source)
    child = os.fork()
    if child == 0:
        wrong = 1
        try:
            torch.set_num_threads(1)
            writer, other = (clone, source) if child_writes == "clone" else (source, clone)
            assert_apart(writer, other, write)
            wrong = 0
        finally:
            os._exit(wrong)
    assert os.waitpid(child, 0)[1] == 0
    assert_same(source, values)
    assert_same(clone, values)
    assert ramet.relation(source, clone).lazy == set(ramet.plan(source))
    assert_apart(source, clone, write)
