"""Garbage collection and threads: what a clone leaves behind, in ten thousand calls, on errors, and beside others."""

import gc
import sys
import threading
import weakref

import pytest
import torch
from torch import nn

import ramet


def in_ten_threads(run):
    """Calls run(0) to run(9), each in a thread, and waits for all."""
    threads = [threading.Thread(target=run, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Plain:
    """Plain state."""

    def __init__(self, value):
        self.value = value


class Net(nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.config = {"a": [1, {"b": Plain(2)}]}
        self.fc.register_forward_hook(self.hook)
        for name, value in attributes.items():
            setattr(self, name, value)

    def hook(self, *_):
        pass


class Raises(Plain):
    """Raises what it was made with when it is copied."""

    def __deepcopy__(self, memo):
        raise self.value


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
def test_collection_is_restored_on_every_way_out(error):
    net = Net(state=Raises(error))
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            with pytest.raises(type(error)):
                ramet.clone(net)
            assert gc.isenabled() == enabled
            ramet.clone(Net())
            assert gc.isenabled() == enabled
        finally:
            gc.enable()


def test_collection_is_restored_after_a_clone_within_a_clone():
    class Nested(Plain):
        def __deepcopy__(self, memo):
            self.seen = gc.isenabled()
            return Nested(ramet.clone(self.value))

    net = Net(state=Nested(nn.Linear(2, 2)))
    ramet.clone(net)
    assert not net.state.seen
    assert gc.isenabled()


def test_collection_is_restored_after_clones_in_many_threads():
    net = Net()
    in_ten_threads(lambda _: [ramet.clone(net) for _ in range(50)])
    assert gc.isenabled()


def test_clones_are_collected():
    net = Net()
    net.me = net
    clone = ramet.clone(net)
    gone = [weakref.ref(clone), weakref.ref(clone.fc.weight), weakref.ref(clone.config["a"][1]["b"])]
    del clone
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_thousand_clones_leave_nothing():
    net = Net()

    def run(times):
        for _ in range(times):
            ramet.clone(net)
            ramet.clone(net, share=True)
        gc.collect()
        return len(gc.get_objects()), resident_bytes()

    run(500)
    objects, resident = run(100)
    objects_after, resident_after = run(5000)
    assert objects_after <= objects + 10
    assert resident_after < resident + 2**22, "less than 420 bytes a clone"


def reference_counts(net):
    """Of all that a user can get at: modules, tensors, dicts, plain state."""
    objects = [*net.modules(), *net.parameters(), *net.buffers(), *(vars(module) for module in net.modules())]
    objects += [value for module in net.modules() for value in vars(module).values()]
    objects += [net.config["a"], net.config["a"][1], net.config["a"][1]["b"]]
    return [sys.getrefcount(it) for it in objects if not isinstance(it, (bool, int, float, str, type(None)))]


@pytest.mark.parametrize(
    "rules", [{}, {"share": True}, {"alias": True}, {"keep": "config"}, {"meta": True}, {"untie": True}]
)
def test_reference_counts_of_the_source_are_what_they_were(rules):
    net = Net()
    net.again = net.fc
    before = reference_counts(net)
    clone = ramet.clone(net, **rules)
    del clone
    gc.collect()
    assert reference_counts(net) == before
    for _ in range(2):
        net.state = Raises(ValueError("mine"))
        with pytest.raises(ValueError, match="mine"):
            ramet.clone(net, **rules)
        del net.state
    gc.collect()
    assert reference_counts(net) == before


def test_ten_threads_clone_one_source():
    net = nn.Sequential(*[nn.Linear(8, 8) for _ in range(50)])
    made, errors = [], []

    kinds = [{}, {"share": "0"}, {"alias": "*.bias"}, {"freeze": True}, {"dtype": torch.double}]

    def run(thread):
        try:
            made.extend(ramet.clone(net, **kinds[thread % 5]) for _ in range(20))
        except Exception as error:
            errors.append(error)

    in_ten_threads(run)
    assert not errors and len(made) == 200
    assert all(torch.equal(net[7].weight, clone[7].weight.float()) for clone in made)


def test_a_clone_beside_a_thread_that_trains_is_whole_or_an_error():
    """Modules that come and go meanwhile: the walk keeps what it has met."""
    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(200)])
    stop = threading.Event()

    def change():
        while not stop.is_set():
            net[100] = nn.Linear(4, 4)
            net[50].extra = {"a": [1]}
            del net[50].extra

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            try:
                clone = ramet.clone(net)
            except RuntimeError as error:
                assert "changed the source while it was being cloned" in str(error)
            else:
                assert clone(torch.ones(1, 4)).shape == (1, 4)
                assert ramet.relation(clone, clone).shared
    finally:
        stop.set()
        thread.join()


def test_user_code_may_change_the_source_or_fail_in_the_middle():
    class Changes(Plain):
        def __deepcopy__(self, memo):
            self.value()
            return Changes(None)

    net = Net()
    weight = net.fc.weight
    net.state = Changes(lambda: net.register_buffer("late", torch.ones(1)))
    clone = ramet.clone(net)
    assert not hasattr(clone, "late")
    net.state = Changes(lambda: delattr(net, "fc"))
    clone = ramet.clone(net)
    assert torch.equal(clone.fc.weight, weight)
    assert not hasattr(net, "fc")
