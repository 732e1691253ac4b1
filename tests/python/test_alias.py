"""alias: what it gives, what ties do; and what bites: what ends it without a word, and what autograd does not see."""

import copy
import io
import threading
from collections.abc import Callable

import pytest
import torch
from tests.python.tied import Tied
from torch import nn

import ramet

TOKENS = torch.tensor([1, 2])


@pytest.fixture
def model() -> Tied:
    return Tied()


class TestAlias:
    def test_values_are_the_sources_and_gradients_are_not(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=True)
        assert worker.norm.weight is not model.norm.weight
        assert worker.norm.weight.data_ptr() == model.norm.weight.data_ptr()
        assert isinstance(worker.norm.weight, nn.Parameter)
        worker(torch.tensor([1])).sum().backward()
        assert worker.norm.weight.grad is not None
        assert model.norm.weight.grad is None
        with torch.no_grad():
            worker.norm.weight.fill_(7)
        assert model.norm.weight.tolist() == [7] * 4

    def test_tied_slots_stay_one_tensor(self, model: Tied) -> None:
        worker = ramet.clone(model, alias="head")
        assert worker.head.weight is worker.embed.weight
        assert worker.embed.weight.data_ptr() == model.embed.weight.data_ptr()
        assert worker.norm.weight.data_ptr() != model.norm.weight.data_ptr()

    def test_the_version_counter_is_its_own(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=True)
        before = model.norm.weight._version
        with torch.no_grad():
            worker.norm.weight.add_(1)
        assert model.norm.weight._version == before

    def test_a_step_of_the_worker_trains_the_source(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=nn.Parameter)
        optimizer = torch.optim.SGD(worker.parameters(), lr=1.0)
        before = model.norm.bias.clone()
        worker(torch.tensor([1, 2]))[:, 0].sum().backward()
        optimizer.step()
        assert not torch.equal(model.norm.bias, before)

    def test_strides_offsets_and_flags_are_the_sources(self) -> None:
        holder = nn.Module()
        base = torch.arange(20.0)
        holder.register_buffer("part", base[3:11].view(2, 4).t())
        holder.weight = nn.Parameter(torch.ones(2), requires_grad=False)
        clone = ramet.clone(holder, alias=True)
        assert clone.part.stride() == holder.part.stride()
        assert torch.equal(clone.part, holder.part)
        assert not clone.weight.requires_grad

    def test_a_sparse_tensor_is_aliased_too(self) -> None:
        holder = nn.Module()
        holder.register_buffer("table", torch.eye(3).to_sparse())
        clone = ramet.clone(holder, alias=True)
        assert clone.table is not holder.table
        assert clone.table._values().data_ptr() == holder.table._values().data_ptr()


def write(model: Tied, value: float) -> None:
    with torch.no_grad():
        model.norm.weight.fill_(value)


def reaches(writer: Tied, reader: Tied) -> bool:
    """Whether a write to one is one to the other."""
    write(reader, 3)
    write(writer, 4)
    return bool((reader.norm.weight == 4).all())


def fresh(model: Tied) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


ENDS: dict[str, Callable[[Tied], object]] = {
    "to": lambda model: model.to(torch.float64),
    "double": lambda model: model.double(),
    "half": lambda model: model.half(),
    "load_state_dict(assign=True)": lambda model: model.load_state_dict(fresh(model), assign=True),
    "data": lambda model: setattr(model.norm.weight, "data", torch.ones(4)),
    "a new parameter": lambda model: setattr(model.norm, "weight", nn.Parameter(torch.ones(4))),
}

KEEPS: dict[str, Callable[[Tied], object]] = {
    "to where it is": lambda model: model.to("cpu", torch.float32),
    "load_state_dict": lambda model: model.load_state_dict(fresh(model)),
    "share_memory": lambda model: model.share_memory(),
    "requires_grad_": lambda model: model.requires_grad_(False),
    "train": lambda model: model.eval(),
}


class TestWhatEndsIt:
    @pytest.mark.parametrize("side", ["worker", "source"])
    @pytest.mark.parametrize("what", ENDS)
    def test_it_ends_without_a_word_and_relation_tells(self, model: Tied, what: str, side: str) -> None:
        worker = ramet.clone(model, alias=True)
        assert ramet.relation(model, worker)["norm.weight"] == "aliased"
        assert reaches(worker, model)
        assert reaches(model, worker)
        ENDS[what](worker if side == "worker" else model)
        assert ramet.relation(model, worker)["norm.weight"] in ("equal", "different")
        assert not reaches(worker, model)
        assert not reaches(model, worker)

    @pytest.mark.parametrize("side", ["worker", "source"])
    @pytest.mark.parametrize("what", KEEPS)
    def test_it_outlives_what_writes_in_place(self, model: Tied, what: str, side: str) -> None:
        worker = ramet.clone(model, alias=True)
        KEEPS[what](worker if side == "worker" else model)
        assert ramet.relation(model, worker).aliased == set(model.state_dict())
        assert reaches(worker, model)
        assert reaches(model, worker)

    def test_load_state_dict_on_one_side_loads_both(self, model: Tied) -> None:
        worker, other = ramet.clone(model, alias=True), Tied()
        worker.load_state_dict(other.state_dict())
        assert torch.equal(model.head.weight, other.head.weight)

    def test_the_worker_outlives_its_source(self) -> None:
        worker = ramet.clone(Tied(), alias=True)
        write(worker, 5)
        assert worker.norm.weight.tolist() == [5] * 4
        assert worker.head.weight is worker.embed.weight

    def test_an_alias_of_an_alias_is_one_of_the_source(self, model: Tied) -> None:
        second = ramet.clone(ramet.clone(model, alias=True), alias=True)
        assert ramet.relation(model, second).aliased == set(model.state_dict())
        assert reaches(second, model)
        assert reaches(model, second)

    def test_a_copy_of_a_worker_is_on_its_own(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=True)
        for apart in ramet.clone(worker), copy.deepcopy(worker):
            assert not ramet.relation(model, apart).aliased
            assert not reaches(apart, model)

    def test_one_file_keeps_it_and_two_do_not(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=True)

        def through_a_file(saved: object) -> object:
            file = io.BytesIO()
            torch.save(saved, file)
            file.seek(0)
            return torch.load(file, weights_only=False)

        a, b = through_a_file((model, worker))
        assert reaches(a, b)
        assert not reaches(through_a_file(model), through_a_file(worker))


class TestWhatAutogradSees:
    def loss(self, model: Tied) -> torch.Tensor:
        return model.norm.weight.pow(2).sum()

    @pytest.mark.parametrize("mode", ["alias", "share"])
    def test_a_write_between_forward_and_backward(self, model: Tied, mode: str) -> None:
        other = ramet.clone(model, **{mode: True})
        loss = self.loss(model)
        write(other, 5)
        if mode == "share":
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                loss.backward()
        else:
            loss.backward()
            assert model.norm.weight.grad.tolist() == [10] * 4  # of the forward's values it would be 2

    def test_the_worker_notices_its_own(self, model: Tied) -> None:
        worker = ramet.clone(model, alias=True)
        loss = self.loss(worker)
        write(worker, 5)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()

    def test_gradients_are_dropped_even_if_grads_are_copied(self, model: Tied) -> None:
        self.loss(model).backward()
        worker = ramet.clone(model, alias=True, grads="copy")
        assert worker.norm.weight.grad is None
        self.loss(worker).backward()
        worker.norm.weight.grad.zero_()
        assert model.norm.weight.grad.tolist() == [2] * 4

    def test_threads_have_gradients_of_their_own(self, model: Tied) -> None:
        workers = ramet.clones(model, 4, alias=True)

        def work(worker: Tied, times: int) -> None:
            for _ in range(times):
                worker(TOKENS).sum().backward()

        threads = [threading.Thread(target=work, args=(worker, i + 1)) for i, worker in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, worker in enumerate(workers):
            assert torch.allclose(worker.norm.bias.grad, (i + 1) * workers[0].norm.bias.grad)
        assert model.norm.bias.grad is None
