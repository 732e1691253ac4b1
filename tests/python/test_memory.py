"""The memory of clones: reused after a drop, and like any other tensor's to whoever uses it."""

import io
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import ramet

MIB = 1 << 20


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    before = ramet.memory.set_limit(256 * MIB)
    ramet.memory.empty_cache()
    yield
    ramet.memory.empty_cache()
    ramet.memory.set_limit(before)


def big() -> nn.Linear:
    return nn.Linear(2048, 1024)


def test_a_dropped_clones_memory_serves_the_next() -> None:
    model = big()
    address = ramet.clone(model).weight.data_ptr()
    assert ramet.memory.stats().cached >= 8 * MIB
    reused = ramet.memory.stats().reused
    again = ramet.clone(model)
    assert again.weight.data_ptr() == address
    assert ramet.memory.stats().reused == reused + 1
    assert torch.equal(again.weight, model.weight)


def test_empty_cache_and_a_limit_of_zero_leave_nothing_cached() -> None:
    model = big()
    ramet.clone(model)
    ramet.memory.empty_cache()
    assert ramet.memory.stats().cached == 0
    ramet.memory.set_limit(0)
    ramet.clone(model)
    assert ramet.memory.stats().cached == 0


def test_a_negative_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"set_limit: a limit is a number of bytes, zero or more, not -1"):
        ramet.memory.set_limit(-1)


def limit_under(setting: str) -> tuple[int, str]:
    code = "import ramet; print(ramet.memory.stats().limit)"
    environment = {**os.environ, "RAMET_MEMORY_LIMIT": setting}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(run.stdout), run.stderr


def test_the_environment_sets_the_limit() -> None:
    assert limit_under("12345678")[0] == 12345678
    limit, warning = limit_under("1 GiB")
    assert limit > 0
    assert "RAMET_MEMORY_LIMIT is a number of bytes, not '1 GiB'" in warning


def test_what_is_in_use_goes_down_when_the_clone_does() -> None:
    before = ramet.memory.stats().in_use
    clone = ramet.clone(big())
    assert ramet.memory.stats().in_use >= before + 8 * MIB
    del clone
    assert ramet.memory.stats().in_use == before


@pytest.mark.parametrize("size", [(3, 5), (1200, 1000)], ids=["packed", "large"])
class TestAClonesTensorIsLikeAnyOther:
    @pytest.fixture
    def pair(self, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        holder = nn.Module()
        holder.register_buffer("it", torch.rand(size))
        return holder.it, ramet.clone(holder).it

    def test_it_grows_in_place(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        rows, columns = source.shape
        clone.resize_(rows * 2, columns)
        assert torch.equal(clone[:rows], source)

    def test_it_takes_another_storage(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        clone.set_(torch.ones(4))
        assert clone.tolist() == [1, 1, 1, 1]
        clone.data = source.clone()
        assert torch.equal(clone, source)

    def test_it_moves_to_shared_memory(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        clone.share_memory_()
        assert clone.is_shared()
        assert torch.equal(clone, source)

    def test_it_is_saved_and_pickled(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        file = io.BytesIO()
        torch.save(clone, file)
        file.seek(0)
        assert torch.equal(torch.load(file), source)
        assert torch.equal(pickle.loads(pickle.dumps(clone)), source)
        assert clone.untyped_storage().nbytes() == source.untyped_storage().nbytes()

    def test_numpy_and_dlpack_see_its_bytes(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        array = clone.numpy()
        assert np.array_equal(array, source.numpy())
        other = torch.from_dlpack(clone)
        other[0, 0] = 7
        assert array[0, 0] == 7
        assert source[0, 0] != 7

    def test_it_goes_through_a_queue_to_another_process(self, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
        source, clone = pair
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=lambda: queue.put(float(clone.double().sum())))
        process.start()
        assert queue.get(timeout=60) == float(source.double().sum())
        process.join()
