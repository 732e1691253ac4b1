"""What cannot be copied: found before anything is allocated, with path, type and the keep= to write."""

import asyncio
import concurrent.futures
import dataclasses
import logging
import mmap
import multiprocessing
import queue
import select
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from collections import deque
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn
from torch.utils.data import DataLoader

import ramet


async def coroutine():
    pass


async def asynchronous():
    yield


def finished_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process


def process_group():
    return torch.distributed.ProcessGroup(torch.distributed.HashStore(), 0, 1)


# What makes one, and the type that the error names: that of the whole, not of a lock somewhere within.
UNCLONEABLE = {
    "lock": (threading.Lock, "_thread.lock"),
    "reentrant lock": (threading.RLock, "_thread.RLock"),
    "file": (Path(__file__).open, "_io.TextIOWrapper"),
    "binary file": (partial(Path(__file__).open, "rb"), "_io.BufferedReader"),
    "temporary file": (tempfile.NamedTemporaryFile, "_TemporaryFileWrapper"),
    "socket": (socket.socket, "socket"),
    "mapped memory": (lambda: mmap.mmap(-1, 16), "mmap.mmap"),
    "view of memory": (lambda: memoryview(b"bytes"), "memoryview"),
    "poll": (select.poll, "select.poll"),
    "database": (lambda: sqlite3.connect(":memory:"), "sqlite3.Connection"),
    "generator": (lambda: (x for x in []), "generator"),
    "coroutine": (coroutine, "coroutine"),
    "asynchronous generator": (asynchronous, "async_generator"),
    "frame": (sys._getframe, "frame"),
    "mapping proxy": (lambda: types.MappingProxyType({}), "mappingproxy"),
    "thread": (threading.Thread, "Thread"),
    "timer": (lambda: threading.Timer(1, print), "Timer"),
    "event": (threading.Event, "Event"),
    "condition": (threading.Condition, "Condition"),
    "semaphore": (threading.Semaphore, "Semaphore"),
    "barrier": (lambda: threading.Barrier(1), "Barrier"),
    "thread's own": (threading.local, "_thread._local"),
    "queue": (queue.Queue, "Queue"),
    "simple queue": (queue.SimpleQueue, "_queue.SimpleQueue"),
    "executor": (lambda: concurrent.futures.ThreadPoolExecutor(1), "ThreadPoolExecutor"),
    "future": (concurrent.futures.Future, "Future"),
    "event loop": (asyncio.new_event_loop, "_UnixSelectorEventLoop"),
    "process": (multiprocessing.Process, "Process"),
    "lock of processes": (multiprocessing.Lock, "Lock"),
    "queue of processes": (multiprocessing.Queue, "Queue"),
    "subprocess": (finished_process, "Popen"),
    "log handler": (logging.Handler, "Handler"),
    "process group": (process_group, "torch._C._distributed_c10d.ProcessGroup"),
    "store": (torch.distributed.HashStore, "torch._C._distributed_c10d.HashStore"),
    "torch future": (torch.futures.Future, "Future"),
    "grad_fn": (lambda: (torch.ones(1, requires_grad=True) * 2).grad_fn, "MulBackward0"),
    "iterator of a loader": (lambda: iter(DataLoader([1])), "_SingleProcessDataLoaderIter"),
    "scripted function": (lambda: torch.jit.script(torch.nn.functional.relu), "ScriptFunction"),
}


@dataclasses.dataclass
class Trainer:
    model: nn.Module
    guard: object


@dataclasses.dataclass(frozen=True, slots=True)
class Sealed:
    model: nn.Module
    guard: object


class Plain:
    def __init__(self, guard):
        self.guard = guard


def module_with(it):
    model = nn.Sequential(nn.Linear(300, 300))
    model[0].held = it
    return model


# Where it may lie, and the path that keeps it.
PLACES = {
    "module": (module_with, "0.held"),
    "list of a module": (lambda it: module_with([1, it]), "0.held.1"),
    "dict in a dict": (lambda it: module_with({"a": {"b": it}}), "0.held.a.b"),
    "tuple in a deque": (lambda it: module_with(deque([(it,)])), "0.held.0.0"),
    "plain object": (lambda it: module_with(Plain([it])), "0.held.guard.0"),
    "tensor's attribute": (lambda it: module_with(Plain(attributed(it))), "0.held.guard.note"),
    "session": (lambda it: (nn.Linear(1, 1), it), "1"),
    "nested session": (lambda it: {"a": [nn.Linear(1, 1), {"it": it}]}, "a.1.it"),
    "dataclass": (lambda it: Trainer(nn.Linear(1, 1), it), "guard"),
    "frozen dataclass with slots": (lambda it: Sealed(nn.Linear(1, 1), [it]), "guard.0"),
    "optimizer": (lambda it: [optimizer_with(it)], "0.param_groups.0.note"),
}


def attributed(it):
    tensor = torch.ones(1)
    tensor.note = it
    return tensor


def optimizer_with(it):
    return torch.optim.SGD([{"params": [torch.ones(1)], "note": it}])


@pytest.mark.parametrize("kind", UNCLONEABLE)
def test_the_error_names_path_type_and_the_keep_to_write(kind):
    make, name = UNCLONEABLE[kind]
    held = make()
    model = module_with(held)
    before = ramet.memory.stats()
    for call in ramet.clone, ramet.plan:
        with pytest.raises(ramet.UncloneableError) as error:
            call(model)
        assert str(error.value).startswith(f"clone: slot '0.held': an object of type '{name}' cannot be copied (")
        assert str(error.value).endswith("; keep='0.held' lets the clone hold the source's own")
    after = ramet.memory.stats()
    assert (after.mapped, after.reused) == (before.mapped, before.reused)
    clone = ramet.clone(model, keep="0.held")
    assert clone[0].held is held and clone[0].weight is not model[0].weight
    assert ramet.clone(model, keep=held)[0].held is held
    getattr(held, "close", list)()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["lock", "queue"])
def test_it_is_found_wherever_it_lies(place, kind):
    put, path = PLACES[place]
    held = UNCLONEABLE[kind][0]()
    source = put(held)
    with pytest.raises(ramet.UncloneableError, match=rf"slot '{path}': an object of .*; keep='{path}' lets"):
        ramet.clone(source)
    ramet.clone(source, keep=path)
    ramet.clone(source, keep=held)


def test_a_lock_of_a_class_that_the_user_wrote_is_named_itself():
    with pytest.raises(ramet.UncloneableError, match=r"slot '0.held.guard': .*keep='0.held.guard'"):
        ramet.clone(module_with(Plain(threading.Lock())))

    class Worker(threading.Thread):
        pass

    with pytest.raises(ramet.UncloneableError, match=r"'0.held': an object of type 'Worker' .*within it: "):
        ramet.clone(module_with(Worker()))
    namespace = types.SimpleNamespace(lock=threading.Lock())
    with pytest.raises(ramet.UncloneableError, match=r"keep='0.held.lock'"):
        ramet.clone(module_with(namespace))


def test_what_has_no_path_is_named_by_what_holds_it():
    lock = threading.Lock()
    with pytest.raises(ramet.UncloneableError, match=r"slot '0.held': .*_thread.lock.*keep='0.held'"):
        ramet.clone(module_with({lock}))
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    optimizer.state[model.weight]["guard"] = Plain(lock)
    with pytest.raises(ramet.UncloneableError, match=r"slot '1': an object of type 'SGD' .*within it.*keep='1'"):
        ramet.clone((model, optimizer))
    assert ramet.clone((model, optimizer), keep="1")[1] is optimizer


def test_a_class_that_refuses_by_itself_says_why():
    class Refusing:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("only one of me")

    with pytest.raises(ramet.UncloneableError, match=r"'0.held': .*'Refusing' cannot be copied \(only one of me\)"):
        ramet.clone(module_with(Refusing()))


def test_an_interrupt_is_no_refusal():
    class Interrupting:
        def __reduce_ex__(self, protocol):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ramet.clone(module_with(Interrupting()))


def test_generators_of_torch_are_copied_with_their_state():
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    model = nn.Linear(1, 1)
    model.generator = generator
    source = (model, [generator], Trainer(model, generator))
    clone = ramet.clone(source)
    own = clone[0].generator
    assert own is not generator and own is clone[1][0] is clone[2].guard
    assert own.initial_seed() == 3 and own.device == generator.device
    expected = torch.rand(3, generator=generator)
    assert torch.equal(torch.rand(3, generator=own), expected)
    torch.rand(7, generator=own)
    a, b = ramet.clones(source, 2)
    assert torch.equal(torch.rand(3, generator=a[1][0]), torch.rand(3, generator=b[1][0]))
    assert ramet.clone(source, keep="1.0")[0].generator is generator
    gone = weakref.ref(own)
    del clone, own
    assert gone() is None
