"""The mode lazy: what it costs, what ends it, what cannot be lazy, and what it does beside other rules."""

import copy
import gc
import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn

import ramet


class Net(nn.Module):
    """Tied weights, views, BatchNorm."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 12)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(24.0).view(4, 6))
        self.register_buffer("row", self.table[1])

    def forward(self, words):
        return self.head(self.norm(self.embed(words))) + self.row.sum()


WORDS = torch.arange(12)


def place(tensor):
    """Where its bytes are. Asking by data_ptr() would be a write."""
    return torch._C._data_address(tensor)


def all_lazy(a, b):
    found = ramet.relation(a, b)
    return found.lazy == set(found)


def test_a_clone_looks_like_a_copy_and_has_the_sources_bytes():
    source = Net().eval()
    clone = ramet.clone(source, lazy=True)
    assert all_lazy(source, clone)
    ramet.testing.assert_independent(source, clone)
    assert clone.head.weight is clone.embed.weight
    assert clone.row.untyped_storage()._cdata == clone.table.untyped_storage()._cdata
    assert place(clone.table) == place(source.table)
    assert torch.equal(clone(WORDS), source(WORDS))
    assert ramet.relation(source, clone).ties_a == ()
    assert isinstance(clone.head.weight, nn.Parameter)
    assert clone.head.weight.requires_grad


def test_only_what_is_written_leaves():
    source = Net()
    clone = ramet.clone(source, lazy=True)
    with torch.no_grad():
        clone.head.weight.zero_()
        source.row.zero_()
    found = ramet.relation(source, clone)
    assert found.different == {"embed.weight", "head.weight", "table", "row"}
    assert found.lazy == set(found) - found.different
    assert clone.head.weight is clone.embed.weight
    with torch.no_grad():
        source.embed.weight.zero_()
    assert ramet.relation(source, clone)["head.weight"] == "equal"


def test_the_source_does_not_change():
    source = Net()
    versions = {name: tensor._version for name, tensor in source.state_dict(keep_vars=True).items()}
    values = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    state = torch.get_rng_state()
    clone = ramet.clone(source, lazy=True)
    with torch.no_grad():
        clone.head.weight.zero_()
    for name, tensor in source.state_dict(keep_vars=True).items():
        assert tensor._version == versions[name]
        assert torch.equal(tensor, values[name])
    assert clone.norm.weight._version == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_backward_of_the_source_is_not_disturbed_and_one_that_a_write_spoils_still_fails():
    source = Net()
    expected = torch.autograd.grad(source(WORDS).square().sum(), source.embed.weight)
    loss = source(WORDS).square().sum()
    clone = ramet.clone(source, lazy=True)
    with torch.no_grad():
        clone.embed.weight.zero_()
    assert torch.equal(torch.autograd.grad(loss, source.embed.weight)[0], expected[0])
    loss = source(WORDS).square().sum()
    clone = ramet.clone(source, lazy=True)
    with torch.no_grad():
        source.embed.weight.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_frozen_reference_takes_no_memory():
    """Neither from the system nor from the pool, also once its source has computed and it has itself."""
    script = """
import torch, ramet
from torch import nn

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

torch.set_num_threads(1)
model = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(8)])
x = torch.randn(1, 2048)
with torch.no_grad():
    model(x)
before, in_use = resident(), ramet.memory.stats().in_use
references = ramet.clones(model, 4, lazy=True, freeze=True)
with torch.no_grad():
    assert all(torch.equal(reference(x), model(x)) for reference in references)
assert ramet.plan(model, lazy=True).nbytes == 0
assert ramet.memory.stats().in_use == in_use, ramet.memory.stats()
assert resident() - before < 8 << 20, resident() - before
assert ramet.relation(model, references[3]).lazy == set(ramet.plan(model))
with torch.no_grad():
    model[0].weight.add_(1)
assert resident() - before < 32 << 20, resident() - before
assert resident() - before >= 16 << 20, resident() - before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(), torch.rand(1, 3, 8, 8)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16).eval(), torch.rand(2, 3, 8)),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 4)), torch.arange(9)),
        (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.ConvTranspose1d(4, 2, 3), nn.PReLU()), torch.rand(2, 4, 5)),
    ],
)
def test_computing_is_no_write(make, x):
    source = make()
    clone = ramet.clone(source, lazy=True, freeze=True)
    with torch.no_grad():
        clone(x)
    assert all_lazy(source, clone)
    source(x).sum().backward()
    assert all_lazy(source, clone)


@pytest.mark.parametrize(
    "use",
    [
        lambda net: net.table.numpy(),
        lambda net: net.table.data_ptr(),
        lambda net: torch.save(net.table, io.BytesIO()),
        lambda net: net.table.__dlpack__(),
        lambda net: net.table.share_memory_(),
    ],
)
def test_whoever_may_write_gets_memory_of_its_own(use):
    source = Net()
    clone = ramet.clone(source, lazy=True)
    use(clone)
    found = ramet.relation(source, clone)
    assert found.equal == {"table", "row"}
    assert found.lazy == set(found) - found.equal


def test_views_exported_before_the_clone_look_at_the_old_memory():
    """As documented: what numpy was given before goes on looking at, and writing to, the memory of before."""
    source = Net()
    before = source.table.numpy()
    clone = ramet.clone(source, lazy=True)
    before[0, 0] = 42
    assert source.table[0, 0] == clone.table[0, 0] == 42
    assert all_lazy(source, clone)
    source.table.add_(1)
    before[0, 0] = 7
    assert (source.table[0, 0], clone.table[0, 0]) == (43, 7)
    after = source.table.numpy()
    after[0, 0] = 3
    assert (source.table[0, 0], clone.table[0, 0]) == (3, 7)


def foreign_tensors(folder):
    numpy.arange(4, dtype=numpy.float32).tofile(folder / "raw")
    torch.save(torch.arange(4.0), folder / "saved")
    return {
        "from_numpy": torch.from_numpy(numpy.arange(4, dtype=numpy.float32)),
        "frombuffer": torch.frombuffer(bytearray(16), dtype=torch.float32),
        "from_file": torch.from_file(str(folder / "raw"), shared=True, size=4),
        "mapped": torch.load(folder / "saved", mmap=True),
        "shared memory": torch.arange(4.0).share_memory_(),
        "dlpack": torch.from_dlpack(numpy.arange(4, dtype=numpy.float32)),
    }


def test_memory_that_is_not_ours_to_share_is_copied(tmp_path):
    model = nn.ParameterDict(foreign_tensors(tmp_path))
    model["own"] = nn.Parameter(torch.arange(4.0))
    plan, clone = ramet.plan(model, lazy=True), ramet.clone(model, lazy=True)
    assert ramet.relation(model, clone).lazy == {"own"}
    for name, parameter in model.items():
        if name != "own":
            why = "lazy=True, copied: its memory is not ours to share"
            assert plan[name] == ("copy", why, 16)
        values = parameter.detach().clone()
        with torch.no_grad():
            clone[name].fill_(9)
        assert torch.equal(parameter, values), name
        with torch.no_grad():
            parameter.fill_(8)
        assert torch.equal(clone[name], torch.full((4,), 9.0)), name


def test_what_torch_loads_is_ours_to_share(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "net")
    source = Net()
    source.load_state_dict(torch.load(tmp_path / "net"), assign=True)
    assert all_lazy(source, ramet.clone(source, lazy=True))


@pytest.mark.filterwarnings("ignore:.*quantiz.*")
def test_what_no_memory_can_be_shared_of_is_copied():
    model = nn.Module()
    model.register_buffer("sparse", torch.eye(3).to_sparse())
    model.register_buffer("meta", torch.empty(3, device="meta"))
    model.register_buffer("empty", torch.empty(0, 3))
    model.register_buffer("quantized", torch.quantize_per_tensor(torch.rand(4), 0.1, 3, torch.quint8))
    plan = ramet.plan(model, lazy=True)
    assert {decision.mode for decision in plan.values()} == {"copy"}
    assert plan["sparse"].why == "lazy=True, copied: it is no plain view of memory"
    assert ramet.relation(model, ramet.clone(model, lazy=True)).equal == set(plan)


def test_device_and_dtype_copy_what_must_change():
    source = Net()
    plan = ramet.plan(source, lazy=True, dtype=torch.float64)
    assert plan["norm.num_batches_tracked"].mode == "lazy"
    assert plan["head.bias"] == ("copy", "lazy=True, copied: it changes device or dtype", 96)
    clone = ramet.clone(source, lazy=True, dtype=torch.float64)
    assert clone.head.weight.dtype == torch.float64
    assert clone.head.weight is clone.embed.weight
    assert ramet.relation(source, clone).lazy == {"norm.num_batches_tracked"}
    assert all_lazy(source, ramet.clone(source, lazy=True, device="cpu", dtype=torch.float32))


def test_rules_mix():
    source = Net()
    clone = ramet.clone(source, lazy=True, share="norm", copy="head.bias", alias="row", untie="head.weight")
    words = dict(ramet.relation(source, clone))
    assert words["norm.weight"] == words["norm.running_mean"] == "shared"
    assert (words["head.bias"], words["table"], words["row"]) == ("equal", "aliased", "aliased")
    assert words["embed.weight"] == words["head.weight"] == "lazy"
    assert clone.head.weight is not clone.embed.weight
    with torch.no_grad():
        clone.head.weight.zero_()
    assert clone.embed.weight.any()
    assert source.embed.weight.any()


def test_disagreements_and_errors_are_those_of_any_mode():
    source = Net()
    source.log = [1]
    with pytest.raises(ramet.PlanError, match=r"clone: slot 'head.bias': copy and lazy both name it"):
        ramet.clone(source, lazy="head*", copy="*bias")
    with pytest.raises(ramet.PlanError, match=r"lazy='log'|'log' .*keep"):
        ramet.clone(source, lazy="log")
    with pytest.raises(ramet.PlanError, match="matches nothing"):
        ramet.clone(source, lazy="heat")
    assert all_lazy(source, ramet.clone(source, lazy=[nn.Parameter, nn.Buffer]))


def test_gradients_and_frozen_tensors():
    source = Net()
    source(WORDS).sum().backward()
    clone = ramet.clone(source, lazy=True, freeze="head", grads="copy")
    assert not clone.head.weight.requires_grad
    assert clone.norm.weight.requires_grad
    assert torch.equal(clone.norm.weight.grad, source.norm.weight.grad)
    assert clone.norm.weight.grad is not source.norm.weight.grad
    assert all_lazy(source, clone)
    assert ramet.clone(source, lazy=True).norm.weight.grad is None


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_models_may_be_freed_in_any_order_and_the_last_keeps_its_bytes(order):
    source = Net()
    values = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    models = [source, ramet.clone(source, lazy=True)]
    models.append(ramet.clone(models[1], lazy=True))
    del source
    for number in order[:2]:
        models[number] = None
        gc.collect()
        for model in filter(None, models):
            assert all(torch.equal(tensor, values[name]) for name, tensor in model.state_dict().items())
    last = models[order[2]].embed.weight
    before = place(last)
    with torch.no_grad():
        last.zero_()
    assert place(last) == last.data_ptr() == before


@pytest.mark.parametrize("through", ["deepcopy", "save", "clone"])
def test_a_lazy_clone_is_copied_and_stored_as_any_other(through):
    source = Net()
    clone = ramet.clone(source, lazy=True)
    if through == "deepcopy":
        other = copy.deepcopy(clone)
    elif through == "clone":
        other = ramet.clone(clone)
        assert ramet.relation(source, other).equal == set(ramet.plan(source))
    else:
        file = io.BytesIO()
        torch.save(clone, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    with torch.no_grad():
        for tensor in other.state_dict(keep_vars=True).values():
            tensor.zero_()
    for model in (source, clone):
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Holder:
    """Clones itself, and holds a view that no walk sees."""

    def __init__(self, view):
        self.view = view

    def __deepcopy__(self, memo):
        return Holder(copy.deepcopy(self.view, memo))


def test_a_view_that_only_user_code_knows_stays_one():
    source = Net()
    source.holder = Holder(source.table[2])
    clone = ramet.clone(source, lazy=True)
    assert all_lazy(source, clone)
    clone.table.zero_()
    assert not clone.holder.view.any()
    assert source.holder.view.any()


def test_memo_and_within_know_lazy_clones():
    source = nn.Sequential(Net(), nn.Linear(2, 2))
    memo = {}
    clone = ramet.clone(source, lazy=True, memo=memo)
    assert memo[id(source[0].head.weight)] is clone[0].head.weight
    part = ramet.clone(source[0], lazy=True, within=source)
    assert all_lazy(source[0], part)


def test_threads_clone_and_write_at_once():
    source = Net()
    values = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    failures = []
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(30):
            clone = ramet.clone(source, lazy=True)
            again = ramet.clone(clone, lazy=True)
            with torch.no_grad():
                for tensor in clone.state_dict(keep_vars=True).values():
                    tensor.fill_(number)
            good = all((tensor == number).all() for tensor in clone.state_dict().values())
            good = good and all(torch.equal(tensor, values[name]) for name, tensor in again.state_dict().items())
            if not good:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert all(torch.equal(tensor, values[name]) for name, tensor in source.state_dict().items())


def test_training_beside_a_reference_takes_the_memory_of_one_model():
    model = nn.Linear(1024, 1024)
    reference = ramet.clone(model, lazy=True, freeze=True)
    in_use = ramet.memory.stats().in_use
    with torch.no_grad():
        model.weight.add_(1)
    assert 4 << 20 <= ramet.memory.stats().in_use - in_use < 5 << 20
    del reference
    with torch.no_grad():
        model.weight.add_(1)
    assert ramet.memory.stats().in_use - in_use < 5 << 20
