"""Memory that ends at any point of a clone: an exception, nothing left behind, and the source as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).resolve().parents[1] / "faults/faults.cpp"

# Run in a process of its own: `fail_at(k)` lets the k-th allocation from now on fail, `failed()` says whether one has.
CHILD = """
import gc, sys
import torch
from torch import nn
import ramet
{setup}

torch.set_num_threads(1)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(300, 1000)
        self.head = nn.Linear(1000, 300)
        self.head.weight = self.embed.weight
        self.lstm = nn.LSTM(4, 4)
        base = torch.arange(40.0)
        self.register_buffer("base", base)
        self.register_buffer("part", base[5:9])
        self.register_buffer("table", torch.eye(3).to_sparse())
        self.log = {{"losses": [1.0], "name": "run", "seen": {{1, 2}}, "at": slice(1, 2)}}
        self.norm = nn.LayerNorm(4)
        self.norm.register_forward_hook(print)

model = Model()
model.norm(torch.ones(4)).sum().backward()
optimizer = torch.optim.Adam(model.norm.parameters())
optimizer.step()

def everything():
    found, work = {{}}, [model, optimizer]
    while work:
        held = work.pop()
        if id(held) in found:
            continue
        found[id(held)] = held
        if isinstance(held, (dict, list, tuple, set)):
            work += list(held.items() if isinstance(held, dict) else held)
        if isinstance(held, (nn.Module, torch.optim.Optimizer, torch.Tensor)):
            work.append(vars(held))
    return list(found.values())

def state():
    gc.collect()
    objects = everything()
    counts = [sys.getrefcount(it) for it in objects if isinstance(it, (nn.Module, torch.Tensor, torch.optim.Optimizer))]
    tensors = [it for it in objects if isinstance(it, torch.Tensor)]
    values = [(id(it), it._version, it._use_count(), it.requires_grad, float(it.detach().sum())) for it in tensors]
    return counts, values, len(objects), ramet.memory.stats().in_use, gc.isenabled()

MEMORY = (MemoryError, torch.OutOfMemoryError)

def fail_everywhere(run):
    for _ in range(3):
        run()
    before, thrown, k = state(), 0, 0
    while True:
        ramet.memory.empty_cache()
        gc.collect()
        error = None
        fail_at(k)
        try:
            run()
        except BaseException as it:
            error = type(it), str(it)
        more = failed()
        thrown += error is not None
        # torch's own allocator, which sparse tensors come from, and pybind11 raise a plain RuntimeError.
        of_memory = error and (issubclass(error[0], MEMORY) or "allocate" in error[1])
        assert error is None or of_memory, (k, error)
        assert state() == before, (k, error, state(), before)
        if not more:
            assert error is None, error
            return thrown
        k += 1

rules = {{"share": "norm", "alias": "base", "keep": "log.losses", "grads": "copy"}}
conversions = {{"untie": "head.weight", "freeze": "embed", "dtype": torch.float64}}
CALLS = [
    lambda: ramet._C.clones(model, 1, {{}}),
    lambda: ramet._C.clones(model, 2, rules),
    lambda: ramet._C.clones((model, optimizer), 1, {{}}),
    lambda: ramet._C.clones(model, 1, conversions),
]
if native:
    CALLS += [lambda: ramet.clone(model), lambda: ramet.plan(model, share="embed"), lambda: list(ramet.catalog(model))]
gc.collect()
gc.freeze()
for call in CALLS:
    assert fail_everywhere(call) > 10
"""

NATIVE = """
import ctypes
native = True
faults = ctypes.CDLL(None)
fail_at, failed = faults.ramet_fail_at, faults.ramet_failed
fail_at.argtypes, failed.restype = [ctypes.c_long], ctypes.c_bool
"""

# The engine's own calls only: neither CPython 3.11 nor pybind11's classes survive every failure of theirs.
PYTHON = """
import _testcapi
native, last = False, 0
def fail_at(k):
    global last
    last = k
    _testcapi.set_nomemory(k, k + 1)
def failed():
    _testcapi.remove_mem_hooks()
    return last < 1500  # more than any call here needs
"""

# What a process may have is little more than what it has.
LIMITED = """
import resource
import torch
from torch import nn
import ramet

torch.set_num_threads(1)
big, small = nn.Linear(4096, 4096), nn.Linear(8, 8)
ramet.clone(small)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
for limit in 0, 1 << 30:
    ramet.memory.set_limit(limit)
    before = ramet.memory.stats().in_use
    try:
        ramet.clone(big)
    except torch.OutOfMemoryError as error:
        assert "clone: cannot allocate 67" in str(error), error
    else:
        raise AssertionError("nothing was raised")
    assert ramet.memory.stats().in_use == before
    assert torch.equal(ramet.clone(small).weight, small.weight)
"""


def run(code: str, **environment: str) -> None:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, **environment}, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a compiler")
def test_native_memory_that_ends_at_any_point_leaves_nothing(tmp_path: Path) -> None:
    library = tmp_path / "libfaults.so"
    subprocess.run(["c++", "-std=c++20", "-O1", "-shared", "-fPIC", FAULTS, "-o", library], check=True)
    run(CHILD.format(setup=NATIVE), LD_PRELOAD=str(library))


def test_python_memory_that_ends_at_any_point_leaves_nothing() -> None:
    pytest.importorskip("_testcapi")
    run(CHILD.format(setup=PYTHON))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_process_that_may_have_no_more_memory_raises_and_goes_on() -> None:
    run(LIMITED)
