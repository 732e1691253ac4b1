"""What a clone of any model must be, asserted on all that the model holds; copy.deepcopy says what need not be its own.

A model comes as it is, with a function that runs it: from a model to the tensors that it gives, however held.
"""

import copy
import enum
import functools
import random
import types
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _WrappedHook
from torch.nn.utils import parametrize

import ramet
from ramet.testing import assert_independent, assert_shared

Run = Callable[[nn.Module], Any]
ATOMIC = (bool, int, float, complex, str, bytes, type(None), type, enum.Enum, torch.dtype, torch.device, torch.Size)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


class Held:
    """All that a module holds: its structure, in a form that can be compared; its tensors; its other objects, by id."""

    def __init__(self, module: nn.Module) -> None:
        self.tensors: list[Tensor] = []
        self.objects: dict[int, object] = {}
        self._places: dict[int, int] = {}
        self.structure = self._of(module)

    def _of(self, value: Any) -> Any:
        if isinstance(value, ATOMIC):
            return repr(value) if isinstance(value, float) else value
        if isinstance(value, FUNCTIONS):
            return id(value)
        if isinstance(value, types.MethodType):
            return value.__func__, self._of(value.__self__)
        if isinstance(value, weakref.ref):
            return "weak", self._of(value())
        if id(value) in self._places:
            return "again", self._places[id(value)]
        self._places[id(value)] = len(self._places)
        if isinstance(value, Tensor):
            return self._of_tensor(value)
        if not isinstance(value, tuple):
            self.objects[id(value)] = value
        return parametrize.type_before_parametrizations(value), self._contents(value)

    def _contents(self, value: Any) -> list[Any]:
        if isinstance(value, _WrappedHook):  # what its __getstate__ keeps
            return [self._of(value.hook), value.with_module, self._of(value.with_module and value.module)]
        # An RNN's __setstate__ changes their order, and its __getstate__ renews what tells it of a weight replaced.
        attributes = sorted(getattr(value, "__dict__", {}).items())
        contents = [(key, self._of(held)) for key, held in attributes if key != "_flat_weight_refs"]
        if isinstance(value, functools.partial):
            contents += map(self._of, (value.func, value.args, value.keywords))
        elif isinstance(value, set | frozenset):
            contents += sorted(map(self._of, value), key=repr)
        elif isinstance(value, Mapping):
            contents += [(self._of(key), self._of(held)) for key, held in value.items()]
        elif isinstance(value, list | tuple):
            contents += map(self._of, value)
        return contents

    def _of_tensor(self, tensor: Tensor) -> Any:
        facts = (type(tensor), tensor.dtype, tensor.requires_grad)
        if nn.parameter.is_lazy(tensor):
            return facts
        self.tensors.append(tensor)
        return *facts, tensor.shape, tensor.stride(), self._contents(tensor)


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().flatten().view(torch.uint8)


def assert_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype) and torch.equal(bits(a), bits(b))


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    """The same classes, names, order, values, strides, flags and aliasing, in plain state too."""
    a, b = Held(found), Held(expected)
    assert a.structure == b.structure
    assert_same_bits(a.tensors, b.tensors)


def slots(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a model, a tied one under each of its names."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def contents(model: nn.Module) -> list[Tensor]:
    """The parameters and buffers that have values by now."""
    return [tensor for tensor in slots(model).values() if not nn.parameter.is_lazy(tensor)]


def checksums(tensors: list[Tensor]) -> list[int]:
    return [zlib.crc32(bits(tensor).numpy()) for tensor in tensors]


def random_states() -> tuple[Any, ...]:
    return random.getstate(), torch.get_rng_state().tolist()


def assert_cloned(model: nn.Module) -> None:
    """A clone is its source all over again, and none of it; making it changes neither the source nor a random state."""
    source = Held(model)
    before = checksums(source.tensors), random_states()
    clone = ramet.clone(model)
    assert (checksums(source.tensors), random_states()) == before
    assert Held(model).structure == source.structure
    assert_same(clone, model)
    assert list(clone.state_dict()) == list(model.state_dict())
    assert list(ramet.catalog(clone)) == list(ramet.catalog(model))
    assert all(tensor.grad is None for tensor in clone.parameters())
    assert_independent(model, clone)
    if in_common := Held(clone).objects.keys() & source.objects.keys():
        of_its_kind = Held(copy.deepcopy(model)).objects.keys()
        assert [source.objects[each] for each in in_common - of_its_kind] == []


def assert_apart(model: nn.Module) -> None:
    """Two clones from one look are alike, and a write to one reaches neither the other nor the source."""
    one, two = ramet.clones(model, 2)
    assert_independent(one, two)
    before = checksums(contents(model))
    with torch.no_grad():
        for tensor in contents(one):
            tensor.copy_(torch.ones_like(tensor))
    assert checksums(contents(model)) == before
    assert_same(two, model)


def assert_shares_all(model: nn.Module, run: Run) -> None:
    """A clone that shares everything holds the very tensors, in modules of its own, and computes the same."""
    tower = ramet.clone(model, share=True)
    assert_shared(model, tower)
    mine, theirs = slots(model), slots(tower)
    assert list(mine) == list(theirs) and all(mine[path] is theirs[path] for path in mine)
    assert not {id(module) for module in model.modules()} & {id(module) for module in tower.modules()}
    with torch.no_grad():
        assert_same_bits(outputs(tower, run), outputs(model, run))


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for held in value.values():
            yield from tensors_in(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from tensors_in(held)


def outputs(model: nn.Module, run: Run) -> list[Tensor]:
    torch.manual_seed(0)
    return list(tensors_in(run(model)))


def results(model: nn.Module, run: Run, inputs: list[Tensor]) -> list[Tensor]:
    """The outputs, and the gradients of all parameters and inputs."""
    found = outputs(model, run)
    leaves = [*model.parameters(), *inputs]
    if with_history := [each for each in found if each.requires_grad and each.numel()]:
        sum(each.abs().square().sum() for each in with_history).backward()
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    return found + grads


def assert_computes_alike(model: nn.Module, run: Run, inputs: Iterable[Tensor] = ()) -> None:
    """A clone computes what its source does to the bit, gradients and changes of buffers too, each on its own side."""
    clone, inputs = ramet.clone(model), list(inputs)
    before = checksums(contents(model))
    found = results(clone, run, inputs)
    assert found and checksums(contents(model)) == before
    assert_same_bits(found, results(model, run, inputs))
    assert_same_bits(contents(clone), contents(model))
